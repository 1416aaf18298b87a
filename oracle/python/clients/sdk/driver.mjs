// Runs the scenarios through the official JavaScript packages and prints what came back, a JSON line each.
//
//     node driver.mjs SCENARIOS URL
//
// Nothing is judged here: `run.py` does that, for this driver and for the one in Python.

import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const [, , scenariosPath, url, packages, crowd] = process.argv;
const table = JSON.parse(readFileSync(scenariosPath, 'utf8'));
const from = createRequire(pathToFileURL(join(packages, 'package.json')));
const { default: OpenAI } = await import(pathToFileURL(from.resolve('openai')));
const { default: Anthropic } = await import(pathToFileURL(from.resolve('@anthropic-ai/sdk')));

const MODEL = 'default_model';
const apiKey = 'sk-any';
const effort = (scenario) => (scenario.thinking ? 'low' : 'none');
const schemaOf = (scenario) => scenario.schema_inline ?? table.schemas[scenario.schema];
const toolsOf = (scenario) => scenario.tools.map((name) => ({ name, ...table.tools[name] }));
const pick = (scenario, ...names) => Object.fromEntries(names.filter((n) => n in scenario).map((n) => [n, scenario[n]]));
const fixed = (choice) => ['required', 'none', 'auto'].includes(choice);
const parsed = (name, args, id) => ({ name, arguments: typeof args === 'string' ? JSON.parse(args) : args, id });
const assert = (condition, what) => { if (!condition) throw new Error(what); };

class Chat {
  name = 'chat';
  constructor(more) { this.client = new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0, ...more }); }

  body(scenario) {
    const body = {
      model: scenario.model ?? MODEL, max_tokens: scenario.max_tokens ?? 300, temperature: 0, reasoning_effort: effort(scenario),
      ...pick(scenario, 'temperature', 'top_p', 'stop'), ...scenario.extra,
      messages: scenario.system ? [{ role: 'system', content: scenario.system }] : [],
    };
    if (scenario.choices) body.n = scenario.choices;
    if (scenario.top_logprobs) Object.assign(body, { logprobs: true, top_logprobs: scenario.top_logprobs });
    if (scenario.tools) body.tools = toolsOf(scenario).map((tool) => ({ type: 'function', function: tool }));
    const choice = scenario.tool_choice;
    if (choice) body.tool_choice = fixed(choice) ? choice : { type: 'function', function: { name: choice } };
    if ('parallel' in scenario) body.parallel_tool_calls = scenario.parallel;
    const schema = schemaOf(scenario);
    if (schema) body.response_format = { type: 'json_schema', json_schema: { name: 'shape', schema, strict: true } };
    return body;
  }

  ask(body, turn, last) {
    if (turn.user) body.messages.push({ role: 'user', content: turn.user });
    (turn.results ?? []).forEach((content, i) => body.messages.push({ role: 'tool', tool_call_id: last.calls[i].id, content }));
  }

  answered(body, native) { body.messages.push(native); }

  async whole(body) { return this.read(await this.client.chat.completions.create(body)); }

  async stream(body) {
    const choices = [];
    let usage;
    for await (const chunk of await this.client.chat.completions.create({ ...body, stream: true, stream_options: { include_usage: true } })) {
      usage = chunk.usage ?? usage;
      for (const { index, delta, finish_reason, logprobs } of chunk.choices) {
        const choice = (choices[index] ??= { message: { role: 'assistant', content: '', reasoning: '' }, calls: [], logprobs: { content: [] } });
        choice.message.content += delta.content ?? '';
        choice.message.reasoning += delta.reasoning ?? '';
        choice.logprobs.content.push(...(logprobs?.content ?? []));
        choice.finish_reason = finish_reason ?? choice.finish_reason;
        for (const part of delta.tool_calls ?? []) {
          const call = (choice.calls[part.index] ??= { id: '', type: 'function', function: { name: '', arguments: '' } });
          call.id += part.id ?? '';
          call.function.name += part.function?.name ?? '';
          call.function.arguments += part.function?.arguments ?? '';
        }
      }
    }
    for (const choice of choices) if (choice.calls.length) choice.message.tool_calls = choice.calls;
    return this.read({ choices, usage });
  }

  async helper(body) {
    const stream = this.client.chat.completions.stream({ ...body, stream_options: { include_usage: true } });
    // The package joins the fields that it knows; of `reasoning` it would keep the last piece.
    let reasoning = '';
    for await (const chunk of stream) reasoning += chunk.choices[0]?.delta.reasoning ?? '';
    const reply = await stream.finalChatCompletion();
    return this.read({ ...reply, choices: reply.choices.map((choice) => ({ ...choice, message: { ...choice.message, reasoning } })) });
  }

  read(reply) {
    const { message, finish_reason, logprobs } = reply.choices[0];
    const { usage } = reply;
    const native = { role: 'assistant', content: message.content };
    if (message.tool_calls?.length) {
      native.tool_calls = message.tool_calls.map((c) => ({ id: c.id, type: 'function', function: { name: c.function.name, arguments: c.function.arguments } }));
    }
    const calls = (message.tool_calls ?? []).map((c) => parsed(c.function.name, c.function.arguments, c.id));
    return [{
      text: message.content ?? '', reasoning: message.reasoning ?? '', calls, finish: finish_reason, choices: reply.choices.length,
      logprobs: (logprobs?.content ?? []).map((entry) => entry.top_logprobs.length),
      usage: { input: usage.prompt_tokens, output: usage.completion_tokens, cached: usage.prompt_tokens_details.cached_tokens },
    }, native];
  }

  cancel() {
    const end = { 1: -100, 1531: -100 };
    return this.client.chat.completions.create({ model: MODEL, max_tokens: 4000, messages: [{ role: 'user', content: 'Hi' }], stream: true, logit_bias: end });
  }

  short() {
    return this.client.chat.completions.create({ model: MODEL, messages: [{ role: 'user', content: 'What is 2 plus 3?' }], max_tokens: 100, reasoning_effort: 'none' });
  }
}

class Responses {
  name = 'responses';
  constructor(more) { this.client = new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0, ...more }); }

  body(scenario) {
    const body = {
      model: scenario.model ?? MODEL, max_output_tokens: scenario.max_tokens ?? 300, temperature: 0, reasoning: { effort: effort(scenario) },
      ...pick(scenario, 'temperature', 'top_p'), ...scenario.extra,
    };
    if (scenario.system) body.instructions = scenario.system;
    if (scenario.top_logprobs) Object.assign(body, { top_logprobs: scenario.top_logprobs, include: ['message.output_text.logprobs'] });
    if (scenario.tools) body.tools = toolsOf(scenario).map((tool) => ({ type: 'function', strict: true, ...tool }));
    const choice = scenario.tool_choice;
    if (choice) body.tool_choice = fixed(choice) ? choice : { type: 'function', name: choice };
    if ('parallel' in scenario) body.parallel_tool_calls = scenario.parallel;
    const schema = schemaOf(scenario);
    if (schema) body.text = { format: { type: 'json_schema', name: 'shape', schema, strict: true } };
    return body;
  }

  ask(body, turn, last) {
    body.input = turn.user ?? turn.results.map((output, i) => ({ type: 'function_call_output', call_id: last.calls[i].id, output }));
  }

  answered(body, native) { body.previous_response_id = native; }

  async whole(body) { return this.read(await this.client.responses.create(body)); }

  async stream(body) {
    let count = 0, text = '', last;
    for await (const event of await this.client.responses.create({ ...body, stream: true })) {
      assert(event.sequence_number === count, `sequence number ${event.sequence_number} at ${count}`);
      count += 1;
      if (event.type === 'response.output_text.delta') text += event.delta;
      last = event;
    }
    const [result, native] = this.read(last.response);
    assert(text === result.text, `deltas ${text} are not the text ${result.text}`);
    return [result, native];
  }

  async helper(body) { return this.read(await this.client.responses.stream(body).finalResponse()); }

  read(reply) {
    const of = (type) => reply.output.filter((item) => item.type === type);
    const calls = of('function_call').map((item) => parsed(item.name, item.arguments, item.call_id));
    const parts = of('message').flatMap((item) => item.content);
    const { usage } = reply;
    return [{
      text: parts.map((part) => part.text ?? '').join(''), calls, choices: 1,
      reasoning: of('reasoning').flatMap((item) => item.content ?? []).map((part) => part.text).join(''),
      finish: calls.length ? 'tool_calls' : ({ completed: 'stop', incomplete: 'length' }[reply.status] ?? reply.status),
      logprobs: parts.flatMap((part) => part.logprobs ?? []).map((entry) => entry.top_logprobs.length),
      usage: {
        input: usage.input_tokens, output: usage.output_tokens, cached: usage.input_tokens_details.cached_tokens,
        reasoning: usage.output_tokens_details.reasoning_tokens,
      },
    }, reply.id];
  }

  cancel() { return this.client.responses.create({ model: MODEL, max_output_tokens: 4000, input: 'Hi', stream: true }); }

  short() { return this.client.responses.create({ model: MODEL, input: 'What is 2 plus 3?', max_output_tokens: 100, reasoning: { effort: 'none' } }); }
}

class Messages {
  name = 'messages';
  constructor(more) { this.client = new Anthropic({ baseURL: url, apiKey, maxRetries: 0, ...more }); }

  body(scenario) {
    const body = {
      model: scenario.model ?? MODEL, max_tokens: scenario.max_tokens ?? 2048, messages: [], temperature: 0,
      thinking: scenario.thinking ? { type: 'enabled', budget_tokens: 1024 } : { type: 'disabled' },
      ...pick(scenario, 'temperature', 'top_p'), ...scenario.extra,
    };
    if (scenario.stop) body.stop_sequences = scenario.stop;
    if (scenario.system) body.system = [{ type: 'text', text: scenario.system, cache_control: { type: 'ephemeral' } }];
    if (scenario.tools) body.tools = toolsOf(scenario).map(({ name, description, parameters }) => ({ name, description, input_schema: parameters }));
    const choice = scenario.tool_choice;
    const kinds = { required: 'any', none: 'none', auto: 'auto' };
    if (choice || 'parallel' in scenario) {
      body.tool_choice = !choice || kinds[choice] ? { type: kinds[choice ?? 'auto'] } : { type: 'tool', name: choice };
    }
    if (scenario.parallel === false) body.tool_choice.disable_parallel_tool_use = true;
    const schema = schemaOf(scenario);
    if (schema) body.output_config = { format: { type: 'json_schema', schema } };
    return body;
  }

  ask(body, turn, last) {
    const results = () => turn.results.map((content, i) => ({ type: 'tool_result', tool_use_id: last.calls[i].id, content }));
    body.messages.push({ role: 'user', content: turn.user ?? results() });
  }

  answered(body, native) { body.messages.push({ role: 'assistant', content: native }); }

  async whole(body) {
    const [result, native] = this.read(await this.client.messages.create(body));
    const counted = await this.client.messages.countTokens(pick(body, 'model', 'messages', 'system', 'tools', 'tool_choice', 'thinking'));
    assert(body.output_config || counted.input_tokens === result.usage.input, `counted ${counted.input_tokens}, used ${result.usage.input}`);
    return [result, native];
  }

  async stream(body) {
    const kinds = [];
    let text = '';
    for await (const event of await this.client.messages.create({ ...body, stream: true })) {
      kinds.push(event.type);
      if (event.type === 'content_block_delta' && event.delta.type === 'text_delta') text += event.delta.text;
    }
    assert(kinds[0] === 'message_start' && kinds.at(-2) === 'message_delta' && kinds.at(-1) === 'message_stop', `events ${kinds}`);
    const [result, native] = await this.helper(body);
    return [{ ...result, text }, native];
  }

  async helper(body) { return this.read(await this.client.messages.stream(body).finalMessage()); }

  read(reply) {
    const of = (type) => reply.content.filter((block) => block.type === type);
    const { usage } = reply;
    const cached = usage.cache_read_input_tokens ?? 0;
    return [{
      text: of('text').map((b) => b.text).join(''), reasoning: of('thinking').map((b) => b.thinking).join(''), choices: 1, logprobs: [],
      calls: of('tool_use').map((b) => parsed(b.name, b.input, b.id)), stopped_by: reply.stop_sequence,
      finish: { end_turn: 'stop', max_tokens: 'length', tool_use: 'tool_calls', stop_sequence: 'stop_string' }[reply.stop_reason],
      usage: { input: usage.input_tokens + cached + (usage.cache_creation_input_tokens ?? 0), output: usage.output_tokens, cached },
    }, reply.content];
  }

  cancel() { return this.client.messages.create({ model: MODEL, max_tokens: 4000, messages: [{ role: 'user', content: 'Hi' }], stream: true }); }

  short() { return this.client.messages.create({ model: MODEL, messages: [{ role: 'user', content: 'What is 2 plus 3?' }], max_tokens: 100 }); }
}

const say = (told) => process.stdout.write(`${JSON.stringify(told)}\n`);

async function turns(api, scenario, mode) {
  const body = api.body(scenario);
  const results = [];
  let last = null;
  for (const turn of scenario.turns) {
    api.ask(body, turn, last);
    let native;
    try {
      [last, native] = await api[mode](body);
    } catch (error) {
      if (!error?.status) throw error;
      results.push({ error: { status: error.status, message: error.message, class: error.constructor.name } });
      break;
    }
    results.push(last);
    api.answered(body, native);
  }
  return results;
}

const kinds = [Chat, Responses, Messages];
if (crowd) {
  const apis = kinds.map((kind) => new kind({ maxRetries: 8 }));
  const replies = await Promise.all(Array.from({ length: Number(crowd) }, (_, i) => apis[i % apis.length].short()));
  say({ crowd: replies.length });
} else {
  for (const api of kinds.map((kind) => new kind())) {
    for (const scenario of table.scenarios) {
      if (!(scenario.apis ?? [api.name]).includes(api.name)) continue;
      for (const mode of ['whole', 'stream', 'helper']) {
        let told;
        try { told = { turns: await turns(api, scenario, mode) }; } catch (error) { told = { broken: `${error?.name}: ${error?.message}` }; }
        say({ api: api.name, scenario: scenario.name, mode, ...told });
      }
    }
    const stream = await api.cancel();
    for await (const _ of stream) break;
    stream.controller.abort();
    say({ api: api.name, cancelled: true });
  }
}
