"""Runs the scenarios through the official Python packages and prints what came back, a JSON line each.

    python driver.py SCENARIOS URL

Nothing is judged here: `run.py` does that, for this driver and for the one in JavaScript.
"""

import asyncio
import json
import sys
from pathlib import Path

import anthropic
import openai

KEY = "sk-any"
MODEL = "default_model"
_EFFORT = {True: "low", False: "none"}


def _error(error):
    return {"error": {"status": error.status_code, "message": str(error.message), "class": type(error).__name__}}


def _call(name, arguments, id_):
    return {"name": name, "arguments": arguments if isinstance(arguments, dict) else json.loads(arguments), "id": id_}


class OfOpenAI:
    """What both of its protocols share."""

    errors = openai.APIStatusError

    def __init__(self, url, table):
        self.client = openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0)
        self.table = table


class Chat(OfOpenAI):
    """Chat Completions."""

    name = "chat"

    def body(self, scenario):
        body = {"model": scenario.get("model", MODEL), "max_tokens": scenario.get("max_tokens", 300), "temperature": 0,
                "reasoning_effort": _EFFORT[scenario.get("thinking", False)], "extra_body": scenario.get("extra", {})}
        body |= {k: scenario[k] for k in ("temperature", "top_p", "stop") if k in scenario}
        if "choices" in scenario:
            body["n"] = scenario["choices"]
        if "top_logprobs" in scenario:
            body |= {"logprobs": True, "top_logprobs": scenario["top_logprobs"]}
        if "tools" in scenario:
            body["tools"] = [{"type": "function", "function": {"name": n, **self.table["tools"][n]}} for n in scenario["tools"]]
        choice = scenario.get("tool_choice")
        if choice:
            fixed = choice in ("required", "none", "auto")
            body["tool_choice"] = choice if fixed else {"type": "function", "function": {"name": choice}}
        if "parallel" in scenario:
            body["parallel_tool_calls"] = scenario["parallel"]
        schema = scenario.get("schema_inline") or self.table["schemas"].get(scenario.get("schema"))
        if schema:
            body["response_format"] = {"type": "json_schema", "json_schema": {"name": "shape", "schema": schema, "strict": True}}
        body["messages"] = [{"role": "system", "content": scenario["system"]}] if "system" in scenario else []
        return body

    def ask(self, body, turn, last):
        if "user" in turn:
            body["messages"].append({"role": "user", "content": turn["user"]})
        for call, result in zip(last["calls"] if last else [], turn.get("results", [])):
            body["messages"].append({"role": "tool", "tool_call_id": call["id"], "content": result})

    def answered(self, body, native):
        body["messages"].append(native)

    def whole(self, body):
        return self.read(self.client.chat.completions.create(**body))

    def stream(self, body):
        parts, usage = {}, None
        for chunk in self.client.chat.completions.create(**body, stream=True, stream_options={"include_usage": True}):
            usage = chunk.usage or usage
            for choice in chunk.choices:
                part = parts.setdefault(choice.index, {"text": "", "reasoning": "", "calls": {}, "finish": None, "logprobs": []})
                part["text"] += choice.delta.content or ""
                part["reasoning"] += getattr(choice.delta, "reasoning", None) or ""
                part["logprobs"] += choice.logprobs.content if choice.logprobs else []
                part["finish"] = choice.finish_reason or part["finish"]
                for delta in choice.delta.tool_calls or []:
                    call = part["calls"].setdefault(delta.index, {"id": "", "name": "", "arguments": ""})
                    call["id"] += delta.id or ""
                    call["name"] += delta.function.name or ""
                    call["arguments"] += delta.function.arguments or ""
        first = parts[0]
        calls = list(first["calls"].values())
        native = {"role": "assistant", "content": first["text"]}
        if calls:
            native["tool_calls"] = [{"id": c["id"], "type": "function", "function": {k: c[k] for k in ("name", "arguments")}} for c in calls]
        return self.result(first["text"], first["reasoning"], [_call(c["name"], c["arguments"], c["id"]) for c in calls],
                           first["finish"], usage, first["logprobs"], len(parts)), native

    def helper(self, body):
        with self.client.chat.completions.stream(**body, stream_options={"include_usage": True}) as events:
            try:
                for _ in events:
                    pass
                return self.read(events.get_final_completion())
            except openai.LengthFinishReasonError as error:
                # So the package tells an answer that was cut off; what there is of it comes along.
                return self.read(error.completion)

    def read(self, reply):
        message = reply.choices[0].message
        calls = [_call(c.function.name, c.function.arguments, c.id) for c in message.tool_calls or []]
        native = {"role": "assistant", "content": message.content}
        if calls:
            native["tool_calls"] = [{"id": c.id, "type": "function", "function": {"name": c.function.name, "arguments": c.function.arguments}}
                                    for c in message.tool_calls]
        logprobs = reply.choices[0].logprobs
        return self.result(message.content or "", getattr(message, "reasoning", None) or "", calls, reply.choices[0].finish_reason,
                           reply.usage, logprobs.content if logprobs else [], len(reply.choices)), native

    def result(self, text, reasoning, calls, finish, usage, logprobs, choices):
        return {"text": text, "reasoning": reasoning, "calls": calls, "finish": finish, "choices": choices,
                "logprobs": [len(entry.top_logprobs) for entry in logprobs or []],
                "usage": {"input": usage.prompt_tokens, "output": usage.completion_tokens,
                          "cached": usage.prompt_tokens_details.cached_tokens}}


class Responses(OfOpenAI):
    """Responses; every turn after the first names the one before."""

    name = "responses"

    def body(self, scenario):
        body = {"model": scenario.get("model", MODEL), "max_output_tokens": scenario.get("max_tokens", 300), "temperature": 0,
                "reasoning": {"effort": _EFFORT[scenario.get("thinking", False)]}, "extra_body": scenario.get("extra", {})}
        body |= {k: scenario[k] for k in ("temperature", "top_p") if k in scenario}
        if "system" in scenario:
            body["instructions"] = scenario["system"]
        if "top_logprobs" in scenario:
            body |= {"top_logprobs": scenario["top_logprobs"], "include": ["message.output_text.logprobs"]}
        if "tools" in scenario:
            body["tools"] = [{"type": "function", "name": n, "strict": True, **self.table["tools"][n]} for n in scenario["tools"]]
        choice = scenario.get("tool_choice")
        if choice:
            body["tool_choice"] = choice if choice in ("required", "none", "auto") else {"type": "function", "name": choice}
        if "parallel" in scenario:
            body["parallel_tool_calls"] = scenario["parallel"]
        schema = scenario.get("schema_inline") or self.table["schemas"].get(scenario.get("schema"))
        if schema:
            body["text"] = {"format": {"type": "json_schema", "name": "shape", "schema": schema, "strict": True}}
        return body

    def ask(self, body, turn, last):
        if "user" in turn:
            body["input"] = turn["user"]
        else:
            body["input"] = [{"type": "function_call_output", "call_id": call["id"], "output": result}
                             for call, result in zip(last["calls"], turn["results"])]

    def answered(self, body, native):
        body["previous_response_id"] = native

    def whole(self, body):
        return self.read(self.client.responses.create(**body))

    def stream(self, body):
        events = list(self.client.responses.create(**body, stream=True))
        numbers = [event.sequence_number for event in events]
        if numbers != list(range(len(events))):
            raise AssertionError(f"sequence numbers {numbers}")
        said = "".join(e.delta for e in events if e.type == "response.output_text.delta")
        result, native = self.read(events[-1].response)
        if said != result["text"]:
            raise AssertionError(f"deltas {said!r} are not the text {result['text']!r}")
        return result, native

    def helper(self, body):
        with self.client.responses.stream(**body) as events:
            last = [event for event in events][-1]
        return self.read(last.response)

    def read(self, reply):
        calls = [_call(item.name, item.arguments, item.call_id) for item in reply.output if item.type == "function_call"]
        reasoning = "".join(part.text for item in reply.output if item.type == "reasoning" for part in item.content or [])
        logprobs = [entry for item in reply.output if item.type == "message" for part in item.content for entry in part.logprobs or []]
        finish = "tool_calls" if calls else {"completed": "stop", "incomplete": "length"}.get(reply.status, reply.status)
        usage = reply.usage
        return {"text": reply.output_text, "reasoning": reasoning, "calls": calls, "finish": finish, "choices": 1,
                "logprobs": [len(entry.top_logprobs) for entry in logprobs],
                "usage": {"input": usage.input_tokens, "output": usage.output_tokens,
                          "cached": usage.input_tokens_details.cached_tokens,
                          "reasoning": usage.output_tokens_details.reasoning_tokens}}, reply.id


class Messages:
    """Anthropic's Messages."""

    name = "messages"
    errors = anthropic.APIStatusError

    def __init__(self, url, table):
        self.client = anthropic.Anthropic(base_url=url, api_key=KEY, max_retries=0)
        self.table = table

    def body(self, scenario):
        thinking = {"type": "enabled", "budget_tokens": 1024} if scenario.get("thinking") else {"type": "disabled"}
        extra = scenario.get("extra", {})
        body = {"model": scenario.get("model", MODEL), "max_tokens": scenario.get("max_tokens", 2048), "thinking": thinking,
                "extra_body": {"temperature": scenario.get("temperature", 0), **extra}, "messages": []}
        if "top_p" in scenario:
            body["extra_body"]["top_p"] = scenario["top_p"]
        if "stop" in scenario:
            body["stop_sequences"] = scenario["stop"]
        if "system" in scenario:
            body["system"] = [{"type": "text", "text": scenario["system"], "cache_control": {"type": "ephemeral"}}]
        if "tools" in scenario:
            body["tools"] = [{"name": n, "description": t["description"], "input_schema": t["parameters"]}
                             for n, t in self.table["tools"].items() if n in scenario["tools"]]
        choice = scenario.get("tool_choice")
        if choice or "parallel" in scenario:
            kinds = {"required": "any", "none": "none", "auto": "auto", None: "auto"}
            body["tool_choice"] = {"type": kinds[choice]} if choice in kinds else {"type": "tool", "name": choice}
        if scenario.get("parallel") is False:
            body["tool_choice"]["disable_parallel_tool_use"] = True
        schema = scenario.get("schema_inline") or self.table["schemas"].get(scenario.get("schema"))
        if schema:
            body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
        return body

    def ask(self, body, turn, last):
        content = turn.get("user") or [{"type": "tool_result", "tool_use_id": call["id"], "content": result}
                                       for call, result in zip(last["calls"], turn["results"])]
        body["messages"].append({"role": "user", "content": content})

    def answered(self, body, native):
        body["messages"].append({"role": "assistant", "content": native})

    def whole(self, body):
        reply = self.client.messages.create(**body)
        kept = {k: body[k] for k in ("model", "messages", "system", "tools", "tool_choice", "thinking") if k in body}
        counted = self.client.messages.count_tokens(**kept).input_tokens
        result, native = self.read(reply)
        if "output_config" not in body and counted != result["usage"]["input"]:
            raise AssertionError(f"counted {counted}, used {result['usage']}")
        return result, native

    def stream(self, body):
        kinds, text = [], ""
        for event in self.client.messages.create(**body, stream=True):
            kinds.append(event.type)
            if event.type == "content_block_delta" and event.delta.type == "text_delta":
                text += event.delta.text
        if kinds[0] != "message_start" or kinds[-2:] != ["message_delta", "message_stop"]:
            raise AssertionError(f"events {kinds}")
        result, native = self.helper(body)
        # Both are greedy unless the scenario says otherwise.
        return {**result, "text": text}, native

    def helper(self, body):
        with self.client.messages.stream(**body) as events:
            for _ in events:
                pass
            return self.read(events.get_final_message())

    def read(self, reply):
        kind = lambda name: [block for block in reply.content if block.type == name]  # noqa: E731
        calls = [_call(block.name, block.input, block.id) for block in kind("tool_use")]
        finish = {"end_turn": "stop", "max_tokens": "length", "tool_use": "tool_calls", "stop_sequence": "stop_string"}[reply.stop_reason]
        usage = reply.usage
        cached = usage.cache_read_input_tokens or 0
        return {"text": "".join(b.text for b in kind("text")), "reasoning": "".join(b.thinking for b in kind("thinking")),
                "calls": calls, "finish": finish, "stopped_by": reply.stop_sequence, "choices": 1, "logprobs": [],
                "usage": {"input": usage.input_tokens + cached + (usage.cache_creation_input_tokens or 0),
                          "output": usage.output_tokens, "cached": cached}}, \
            [block.model_dump(exclude_none=True, exclude={"parsed_output"}) for block in reply.content]


def _turns(api, scenario, mode):
    body, results, last = api.body(scenario), [], None
    for turn in scenario["turns"]:
        api.ask(body, turn, last)
        try:
            last, native = getattr(api, mode)(body)
        except api.errors as error:
            results.append(_error(error))
            break
        results.append(last)
        api.answered(body, native)
    return results


def _cancel(api_name, url):
    """Leaves a long stream after its first events."""
    if api_name == "messages":
        client = anthropic.Anthropic(base_url=url, api_key=KEY)
        stream = client.messages.create(model=MODEL, max_tokens=4000, messages=[{"role": "user", "content": "Hi"}], stream=True)
    elif api_name == "chat":
        client = openai.OpenAI(base_url=f"{url}/v1", api_key=KEY)
        stream = client.chat.completions.create(model=MODEL, max_tokens=4000, messages=[{"role": "user", "content": "Hi"}], stream=True,
                                                logit_bias={"1": -100, "1531": -100})
    else:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key=KEY)
        stream = client.responses.create(model=MODEL, max_output_tokens=4000, input="Hi", stream=True)
    next(iter(stream))
    stream.close()


async def _crowd(url, count):
    """More requests at once than the server takes; the packages try again by themselves."""
    chat = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=8)
    claude = anthropic.AsyncAnthropic(base_url=url, api_key=KEY, max_retries=8)
    say = [{"role": "user", "content": "What is 2 plus 3?"}]
    asks = []
    for i in range(count):
        if i % 3 == 0:
            asks.append(chat.chat.completions.create(model=MODEL, messages=say, max_tokens=100, reasoning_effort="none"))
        elif i % 3 == 1:
            asks.append(chat.responses.create(model=MODEL, input=say[0]["content"], max_output_tokens=100, reasoning={"effort": "none"}))
        else:
            asks.append(claude.messages.create(model=MODEL, messages=say, max_tokens=100))
    replies = await asyncio.gather(*asks)
    return len(replies)


def main():
    table, url = json.loads(Path(sys.argv[1]).read_text()), sys.argv[2]
    if len(sys.argv) > 3:
        print(json.dumps({"crowd": asyncio.run(_crowd(url, int(sys.argv[3])))}), flush=True)
        return
    for api in (Chat(url, table), Responses(url, table), Messages(url, table)):
        for scenario in table["scenarios"]:
            if api.name not in scenario.get("apis", [api.name]):
                continue
            for mode in ("whole", "stream", "helper"):
                try:
                    told = {"turns": _turns(api, scenario, mode)}
                except Exception as error:  # noqa: BLE001 - whatever a package raises is the result
                    told = {"broken": f"{type(error).__name__}: {error}"}
                print(json.dumps({"api": api.name, "scenario": scenario["name"], "mode": mode, **told}), flush=True)
        _cancel(api.name, url)
        print(json.dumps({"api": api.name, "cancelled": True}), flush=True)


if __name__ == "__main__":
    main()
