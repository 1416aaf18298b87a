"""Our server beside mlx-lm's on the same model: its documented requests, the same shape, the same text.

Differences that are wanted: the role comes with a stream's first delta only, errors are OpenAI's
objects with mlx-lm's text (but for the JSON parser's own words), health and the model list say more, a
plain completion keeps what lies between reasoning markers, a stop string ends the generation wherever
it stands in the text (mlx-lm looks at whole tokens), and text before it is not lost; usage says how many
tokens were reasoning, and log-probabilities name tokens by their text, not by the vocabulary's piece.
"""

import json
import re

from tokenizers import Tokenizer

import suite
import wire
from shapes import differences
from suite import Skip, check

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
SAY = {"messages": [{"role": "user", "content": "Say this is a test!"}]}
HELLO = {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello!"}]}
PROMPT = {"prompt": "Hello, my name is"}
# mlx-lm repeats the role in every delta; and it holds no text back in the last one.
DELTA = ("$.choices[].delta.role", "$.choices[].delta.content", "$.choices[].delta.reasoning")
LOGPROBS = ("$.choices[].logprobs",)
USAGE = ("$.usage.completion_tokens_details",)


def _both(servers, path, body):
    if servers.peer is None:
        raise Skip("mlx_lm.server was not asked for")
    ours, theirs = wire.post(servers.ours, path, body), wire.post(servers.peer, path, body)
    suite.equal(ours[0], theirs[0], f"status ({ours[1]} / {theirs[1]})")
    return ours[1], theirs[1]


def _same_shape(ours, theirs, allowed=()):
    suite.equal(differences(ours, theirs, allowed=(*USAGE, *allowed)), [], "shape")


def _answer(reply):
    """What must be equal in a greedy answer."""
    choice = reply["choices"][0]
    usage = reply["usage"]
    return {**{k: choice.get(k) for k in ("text", "message", "finish_reason", "logprobs")},
            "usage": [usage[k] for k in ("prompt_tokens", "completion_tokens", "total_tokens")]}


def _without_reasoning(answer):
    """What mlx-lm leaves of a plain completion."""
    if answer["text"] is not None:
        answer["text"] = re.sub(r"<think>.*?(</think>|$)", "", answer["text"], flags=re.DOTALL)
    return answer


def _same(servers, path, body, allowed=()):
    ours, theirs = _both(servers, path, body)
    suite.equal(_without_reasoning(_answer(ours)), _without_reasoning(_answer(theirs)), "answer")
    _same_shape(ours, theirs, allowed)


@check
def documented_chat_example(servers):
    """`curl localhost:8080/v1/chat/completions -d …` of SERVER.md, word for word."""
    ours, theirs = _both(servers, CHAT, {**SAY, "temperature": 0.7, "max_tokens": 40})
    # The texts are drawn: either may end with nothing said, or call reasoning what the other says.
    _same_shape(ours, theirs, ("$.choices[].message.content", "$.choices[].message.reasoning"))


@check
def documented_models_example(servers):
    if servers.peer is None:
        raise Skip("mlx_lm.server was not asked for")
    ours, theirs = (wire.request(s, "GET", "/v1/models") for s in (servers.ours, servers.peer))
    suite.equal(ours[0], theirs[0], "status")
    lines = [d for d in differences(ours[1], theirs[1]) if "extra" not in d]
    suite.equal(lines, [], "shape")


@check
def greedy_chats(servers):
    for body in (SAY, HELLO, {**SAY, "max_tokens": 1}, {**HELLO, "max_completion_tokens": 7},
                 {**SAY, "chat_template_kwargs": {"enable_thinking": False}},
                 {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi "}, {"type": "text", "text": "there 😀"}]}]},
                 {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}, {"role": "user", "content": "Bye"}]}):
        _same(servers, CHAT, {"max_tokens": 40, **body})


@check
def greedy_completions(servers):
    for body in (PROMPT, {"prompt": "2 + 2 ="}, {"prompt": "你好 😀"}, {**PROMPT, "max_tokens": 1}):
        _same(servers, TEXT, {"max_tokens": 40, **body})


@check
def penalties_and_bias(servers):
    for body in ({"repetition_penalty": 1.3}, {"presence_penalty": 0.7, "presence_context_size": 5},
                 {"frequency_penalty": 0.5, "frequency_context_size": 50}, {"logit_bias": {"20": 8, "21": -3.5}},
                 {"repetition_penalty": 1.1, "repetition_context_size": 3, "frequency_penalty": 0.2}):
        _same(servers, TEXT, {**PROMPT, "max_tokens": 24, **body})


@check
def seeded_draws(servers):
    for body in ({"temperature": 0.8}, {"temperature": 1.0, "top_p": 0.9}, {"temperature": 1.0, "top_k": 20},
                 {"temperature": 1.2, "min_p": 0.05}, {"temperature": 1.0, "xtc_probability": 0.5, "xtc_threshold": 0.05},
                 {"temperature": 0.9, "top_p": 0.95, "top_k": 40, "min_p": 0.01, "repetition_penalty": 1.1}):
        for seed in (0, 12345):
            _same(servers, TEXT, {**PROMPT, "max_tokens": 24, "seed": seed, **body})


@check
def logprobs(servers):
    ours, theirs = _both(servers, CHAT, {**SAY, "max_tokens": 6, "logprobs": True})
    suite.equal(*[[e["logprob"] for e in r["choices"][0]["logprobs"]["content"]] for r in (ours, theirs)], "logprobs")
    ours, theirs = _both(servers, CHAT, {**SAY, "max_tokens": 6, "logprobs": True, "top_logprobs": 4})
    rows = [[sorted(t["logprob"] for t in e["top_logprobs"]) for e in r["choices"][0]["logprobs"]["content"]]
            for r in (ours, theirs)]
    # Of equally probable tokens the last place may go to either: which they are is not compared.
    suite.equal(*rows, "top logprobs")


def _call(call):
    """Arguments are JSON in a string: blanks in it mean nothing."""
    return call["function"]["name"], json.loads(call["function"]["arguments"])


def _joined(chunks):
    """Text by kind, finish reasons and tool calls of a stream."""
    out = {"text": "", "content": "", "reasoning": "", "reasons": []}
    calls = {}
    for chunk in chunks:
        for choice in chunk["choices"]:
            delta = choice.get("delta", {})
            out["text"] += choice.get("text", "")
            out["content"] += delta.get("content") or ""
            out["reasoning"] += delta.get("reasoning") or ""
            for call in delta.get("tool_calls", []):
                function = calls.setdefault(call["index"], {"name": "", "arguments": ""})
                for key, text in call["function"].items():
                    function[key] += text
            out["reasons"] += [choice["finish_reason"]] if choice["finish_reason"] else []
    out["calls"] = [_call({"function": function}) for function in calls.values()]
    return out


@check
def streams(servers):
    if servers.peer is None:
        raise Skip("mlx_lm.server was not asked for")
    for path, body in ((CHAT, SAY), (CHAT, HELLO), (TEXT, PROMPT), (TEXT, {"prompt": "你好 😀"})):
        sent = {**body, "max_tokens": 30, "stream_options": {"include_usage": True}}
        (s1, ours, done1), (s2, theirs, done2) = (wire.events(s, path, sent) for s in (servers.ours, servers.peer))
        suite.equal((s1, done1), (s2, done2), "status and end")
        suite.equal(_joined(ours), _joined(theirs), "stream")
        _same_shape(ours[0], theirs[0], DELTA)
        _same_shape(ours[-2], theirs[-2], DELTA)
        _same_shape(ours[-1], theirs[-1])
        suite.equal(ours[-1]["usage"]["total_tokens"], theirs[-1]["usage"]["total_tokens"], "usage")


def _single_tokens(servers, text):
    """Pieces of the text that are one token each, also by themselves."""
    tokenizer = Tokenizer.from_file(str(servers.model / "tokenizer.json"))
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    pieces = [(i, tokenizer.decode([i])) for i in ids[2:]]
    return [p for i, p in pieces if p and text.count(p) and tokenizer.encode(p, add_special_tokens=False).ids == [i]]


@check
def stop_strings(servers):
    body = {**HELLO, "max_tokens": 32, "chat_template_kwargs": {"enable_thinking": False}}
    whole = wire.post(servers.ours, CHAT, body)[1]["choices"][0]["message"]["content"] or ""
    pieces = _single_tokens(servers, whole)
    if len(pieces) < 3:
        raise Skip("the model says too little")
    for stop in (pieces[0], pieces[-1], [pieces[1], "never said"], [pieces[2]], "never said"):
        _same(servers, CHAT, {**body, "stop": stop})


@check
def tool_calls(servers):
    if not servers.trained:
        raise Skip("needs the trained demo model")
    from openai_package import TOOLS

    body = {"messages": [{"role": "user", "content": "What is the weather in Paris?"}], "tools": TOOLS, "max_tokens": 200}
    ours, theirs = _both(servers, CHAT, body)
    calls = []
    for reply in (ours, theirs):
        calls.append([(c["type"], _call(c)) for c in reply["choices"][0]["message"].get("tool_calls", [])])
    suite.equal(*calls, "calls")
    suite.equal(ours["choices"][0]["finish_reason"], theirs["choices"][0]["finish_reason"], "finish reason")
    _same_shape(ours, theirs)


@check
def error_texts(servers):
    if servers.peer is None:
        raise Skip("mlx_lm.server was not asked for")
    bad = [(CHAT, {**SAY, **field}) for field in (
        {"temperature": -1}, {"temperature": "hot"}, {"top_p": 1.5}, {"top_k": -1}, {"top_k": 1.5}, {"min_p": 2},
        {"max_tokens": 0}, {"max_tokens": "x"}, {"repetition_penalty": -1}, {"repetition_context_size": -1},
        {"presence_penalty": "x"}, {"frequency_context_size": -2}, {"logprobs": 1}, {"top_logprobs": -2},
        {"xtc_threshold": 0}, {"xtc_probability": 2.0}, {"seed": 1.5}, {"logit_bias": [1]}, {"logit_bias": {"a": 1}},
        {"stream": 1}, {"model": 3})]
    bad += [(CHAT, {}), (TEXT, {}), (CHAT, b"{"), (CHAT, b"[1]"), (CHAT, b"\"x\""), ("/v1/nothing", {})]
    wrong = []
    for path, body in bad:
        (s1, ours), (s2, theirs) = (wire.request(s, "POST", path, body, raw=True) for s in (servers.ours, servers.peer))
        if s1 != s2:
            wrong.append(f"{body}: status {s1}, theirs {s2} ({ours[:120]} / {theirs[:120]})")
        elif theirs.startswith(b"{"):
            texts = [wire.error_text(json.loads(t)) for t in (ours, theirs)]
            if texts[0] != texts[1] and not all(t.startswith("Invalid JSON in request body: ") for t in texts):
                wrong.append(f"{body}: {texts[0]!r}, theirs {texts[1]!r}")
    suite.equal(wrong, [], "errors")


@check
def health(servers):
    if servers.peer is None:
        raise Skip("mlx_lm.server was not asked for")
    (s1, ours), (s2, theirs) = (wire.request(s, "GET", "/health") for s in (servers.ours, servers.peer))
    suite.equal((s1, ours["status"]), (s2, theirs["status"]), "health")
