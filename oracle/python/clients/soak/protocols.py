"""The same question in three protocols, and the text of the answer's stream."""


def chat(question, tokens, adapters):
    body = {"messages": [{"role": "user", "content": question}], "max_tokens": tokens, "reasoning_effort": "none",
            "stream_options": {"include_usage": True}}
    return "/v1/chat/completions", body | ({"adapters": adapters} if adapters else {})


def messages(question, tokens, adapters):
    body = {"model": "default_model", "messages": [{"role": "user", "content": question}], "max_tokens": tokens,
            "thinking": {"type": "disabled"}}
    return "/v1/messages", body | ({"adapters": adapters} if adapters else {})


def responses(question, tokens, adapters):
    body = {"model": "default_model", "input": question, "max_output_tokens": tokens, "reasoning": {"effort": "none"}, "store": False}
    return "/v1/responses", body | ({"adapters": adapters} if adapters else {})


ALL = (chat, messages, responses)


def text(path, events):
    """Text of a complete stream; an error in it or a missing end raises."""
    failed = [e for e in events if e.get("error") or e.get("type") in ("error", "response.failed")]
    if failed:
        raise RuntimeError(f"the stream failed: {failed[0]}")
    if path == "/v1/messages":
        ended = events[-1]["type"] == "message_stop"
        said = [e["delta"]["text"] for e in events if e["type"] == "content_block_delta" and e["delta"]["type"] == "text_delta"]
    elif path == "/v1/responses":
        ended = events[-1]["type"] in ("response.completed", "response.incomplete")
        said = [e["delta"] for e in events if e["type"] == "response.output_text.delta"]
    else:
        choices = [choice for e in events for choice in e["choices"]]
        ended = any(choice["finish_reason"] for choice in choices) and "usage" in events[-1]
        said = [choice["delta"].get("content") or "" for choice in choices]
    if not ended:
        raise RuntimeError(f"the stream has no end: {events[-1]}")
    return "".join(said)
