"""The `openai` package against our server."""

import json
import threading
import time

import openai

import suite
import wire
from suite import Skip, check

TOOLS = [{"type": "function", "function": {
    "name": "get_weather", "description": "Get the weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]


def _client(servers):
    return openai.OpenAI(base_url=f"{servers.ours.url}/v1", api_key="none", max_retries=0, timeout=120)


def _ask(servers, text, **more):
    return _client(servers).chat.completions.create(
        model=more.pop("model", "default_model"), messages=[{"role": "user", "content": text}],
        temperature=0, max_tokens=more.pop("max_tokens", 48), **more)


def _need_demo(servers):
    if not servers.trained:
        raise Skip("needs the trained demo model")


@check
def lists_the_model(servers):
    models = _client(servers).models.list().data
    suite.equal(len(models), 1, "number of models")
    suite.equal(_client(servers).models.retrieve(models[0].id).id, models[0].id, "model")


@check
def streams_a_chat(servers):
    whole = _ask(servers, "Hello! Who are you?")
    stream = _ask(servers, "Hello! Who are you?", stream=True, stream_options={"include_usage": True})
    text, reasoning, reasons, usage, role = "", "", [], None, None
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            role = choice.delta.role or role
            text += choice.delta.content or ""
            reasoning += getattr(choice.delta, "reasoning", None) or ""
            reasons += [choice.finish_reason] if choice.finish_reason else []
    message = whole.choices[0].message
    suite.equal(role, "assistant", "role")
    suite.equal(text, message.content or "", "streamed text")
    suite.equal(reasoning, getattr(message, "reasoning", None) or "", "streamed reasoning")
    suite.equal(reasons, [whole.choices[0].finish_reason], "finish reasons")
    suite.equal((usage.prompt_tokens, usage.completion_tokens),
                (whole.usage.prompt_tokens, whole.usage.completion_tokens), "usage")
    suite.true(text or reasoning, "nothing was said")


@check
def calls_a_tool_and_answers_from_its_result(servers):
    _need_demo(servers)
    client, question = _client(servers), "What is the weather in Paris?"
    messages = [{"role": "user", "content": question}]
    options = {"model": "default_model", "tools": TOOLS, "temperature": 0, "max_tokens": 200}
    first = client.chat.completions.create(messages=messages, **options)
    suite.equal(first.choices[0].finish_reason, "tool_calls", "finish reason")
    call = first.choices[0].message.tool_calls[0]
    suite.equal(call.function.name, "get_weather", "function")
    suite.equal(json.loads(call.function.arguments), {"city": "Paris"}, "arguments")
    messages += [first.choices[0].message.model_dump(exclude_none=True),
                 {"role": "tool", "tool_call_id": call.id, "content": "{\"temperature\": 23, \"condition\": \"sunny\"}"}]
    second = client.chat.completions.create(messages=messages, **options)
    suite.equal(second.choices[0].finish_reason, "stop", "finish reason")
    suite.true("23" in second.choices[0].message.content, f"no 23 in {second.choices[0].message.content!r}")


@check
def streams_a_tool_call(servers):
    _need_demo(servers)
    calls, reasons = [], []
    for chunk in _ask(servers, "What is the weather in Rome?", tools=TOOLS, stream=True, max_tokens=200):
        for choice in chunk.choices:
            calls += choice.delta.tool_calls or []
            reasons += [choice.finish_reason] if choice.finish_reason else []
    suite.equal([c.function.name for c in calls if c.id], ["get_weather"], "calls")
    arguments = "".join(c.function.arguments for c in calls)
    suite.equal(json.loads(arguments), {"city": "Rome"}, "arguments")
    suite.equal(({c.index for c in calls}, reasons), ({0}, ["tool_calls"]), "index and finish reason")


@check
def gets_validation_errors(servers):
    client, say = _client(servers), [{"role": "user", "content": "Hi"}]
    for field, value in (("temperature", -1), ("top_p", 2), ("max_tokens", 0), ("top_logprobs", 50),
                         ("seed", "x"), ("logit_bias", {"a": 1})):
        try:
            client.chat.completions.create(model="default_model", messages=say, **{field: value})
        except openai.BadRequestError as error:
            suite.equal(error.status_code, 400, "status")
            suite.true(field in error.message, f"{field} is not named in {error.message!r}")
            suite.equal(error.type, "invalid_request_error", "type")
        else:
            raise AssertionError(f"{field}={value!r} was accepted")
    try:
        client.embeddings.create(model="default_model", input="x")
    except openai.NotFoundError:
        pass
    else:
        raise AssertionError("/v1/embeddings exists")


@check
def completes_a_text(servers):
    reply = _client(servers).completions.create(model="default_model", prompt="Hello", max_tokens=8, temperature=0)
    suite.equal(reply.object, "text_completion", "object")
    streamed = "".join(c.choices[0].text for c in _client(servers).completions.create(
        model="default_model", prompt="Hello", max_tokens=8, temperature=0, stream=True) if c.choices)
    suite.equal(streamed, reply.choices[0].text, "streamed text")
    suite.true(1 <= reply.usage.completion_tokens <= 8, "completion tokens")


@check
def reports_logprobs(servers):
    reply = _ask(servers, "Hi", max_tokens=4, logprobs=True, top_logprobs=3)
    content = reply.choices[0].logprobs.content
    suite.equal(len(content), reply.usage.completion_tokens, "entries")
    for entry in content:
        suite.true(entry.logprob <= 0 and len(entry.top_logprobs) == 3, f"odd entry {entry}")
        best = max(t.logprob for t in entry.top_logprobs)
        suite.equal(entry.logprob, best, "greedy picks the most probable token")


@check
def stops_at_a_string(servers):
    full = _ask(servers, "Hello! Who are you?", max_tokens=32, extra_body={"chat_template_kwargs": {"enable_thinking": False}})
    text = full.choices[0].message.content or ""
    if len(text) < 6:
        raise Skip("the model says too little")
    stop = text[3:5]
    cut = _ask(servers, "Hello! Who are you?", max_tokens=32, stop=[stop],
               extra_body={"chat_template_kwargs": {"enable_thinking": False}})
    suite.equal(cut.choices[0].message.content or "", text[:text.index(stop)], "text before the stop string")
    suite.equal(cut.choices[0].finish_reason, "stop", "finish reason")


@check
def seeds_repeat(servers):
    def draw(seed):
        reply = _client(servers).chat.completions.create(
            model="default_model", messages=[{"role": "user", "content": "Hi"}], temperature=4.0, seed=seed, max_tokens=24)
        return reply.choices[0].message

    suite.equal(draw(7).to_dict(), draw(7).to_dict(), "the same seed")
    suite.true(any(draw(7).to_dict() != draw(s).to_dict() for s in (8, 9, 10)), "seeds make no difference")


@check
def answers_at_the_same_time(servers):
    texts = ["Hello!", "Who are you?", "What is 2 plus 3?", "Good morning"]
    alone = [_ask(servers, text).choices[0].message.to_dict() for text in texts]
    together = [None] * len(texts)

    def ask(i):
        together[i] = _ask(servers, texts[i]).choices[0].message.to_dict()

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(texts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    suite.equal(together, alone, "answers")


def _health(servers):
    return wire.request(servers.ours, "GET", "/health")[1]


@check
def a_disconnect_ends_the_generation(servers):
    bans = {str(i): -100 for i in servers.end_tokens}
    stream = _client(servers).chat.completions.create(
        model="default_model", messages=[{"role": "user", "content": "Hi"}], stream=True, temperature=1,
        max_tokens=100_000 if servers.long else 3000, logit_bias=bans)
    # A chunk carries at least one token, so this measures how long a token takes.
    iterator, started = iter(stream), None
    for number in range(12):
        next(iterator)
        started = started or time.monotonic()
    per_chunk = (time.monotonic() - started) / 11
    suite.equal(_health(servers)["active"], 1, "active generations")
    stream.close()
    closed = time.monotonic()
    while _health(servers)["active"]:
        suite.true(time.monotonic() - closed < 5, "the generation goes on after the disconnect")
        time.sleep(0.001)
    waited = time.monotonic() - closed
    # One token to notice, one in flight, and the polling's own requests.
    suite.true(waited < 3 * per_chunk + 0.25, f"{waited:.3f} s to end, {per_chunk:.4f} s per chunk")
    suite.true(_ask(servers, "Hello!").choices[0].finish_reason in ("stop", "length"), "the next request")
