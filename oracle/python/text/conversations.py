"""Conversations that whole chat templates are rendered over."""

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather at a place.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "City \u2014 e.g. \"Z\u00fcrich\""},
                "unit": {"type": "string", "enum": ["c", "f"]},
                "days": {"type": "integer", "description": "Days ahead", "nullable": True},
            },
            "required": ["city"],
        },
    },
}
SEARCH = {
    "type": "function",
    "function": {
        "name": "search",
        "description": "Full-text search",
        "parameters": {
            "type": "object",
            "properties": {
                "queries": {"type": "array", "items": {"type": "string"}, "description": "Queries"},
                "options": {
                    "type": "object",
                    "description": "Options",
                    "properties": {
                        "limit": {"type": "number", "description": "At most"},
                        "exact": {"type": "boolean"},
                        "range": {"type": "object", "properties": {"from": {"type": "string"}}, "required": ["from"]},
                    },
                    "required": ["limit"],
                },
                "points": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}},
                "any": {"type": ["string", "null"]},
            },
        },
        "response": {"type": "object", "description": "Hits"},
    },
}
BARE = {"type": "function", "function": {"name": "now", "description": "", "parameters": {"type": "object", "properties": {}}}}


def _m(role, content, **more):
    return {"role": role, "content": content, **more}


def _call(name, arguments, **more):
    return {"type": "function", "function": {"name": name, "arguments": arguments}, **more}


HELLO = [_m("user", "Hello")]
SYSTEM = [_m("system", "  You are terse.\n"), _m("user", "Hi \u4f60\u597d \U0001f44b\U0001f3fd e\u0301")]
CHAT = [
    _m("system", "Sys"),
    _m("user", "one"),
    _m("assistant", "two"),
    _m("user", "three\n\nfour"),
    _m("assistant", "<think>\nhmm\n</think>\n\nfive"),
    _m("user", "six"),
]
TOOL_ROUND = [
    _m("user", "Weather in Z\u00fcrich?"),
    _m("assistant", "", tool_calls=[_call("get_weather", {"city": "Z\u00fcrich", "unit": "c", "days": 2}, id="c1")]),
    _m("tool", '{"temp": 21.5, "sky": "clear"}', tool_call_id="c1", name="get_weather"),
]
PARALLEL = [
    _m("user", "Two cities"),
    _m(
        "assistant",
        "Looking.",
        reasoning_content="two calls",
        tool_calls=[
            _call("get_weather", {"city": "Bern"}, id="a"),
            _call("search", {"queries": ["x", "y\"z"], "options": {"limit": 5, "exact": False, "range": {"from": "a<b"}}, "any": None}, id="b"),
        ],
    ),
    _m("tool", "cold", tool_call_id="a"),
    _m("tool", "3 hits", tool_call_id="b"),
    _m("assistant", "Cold, 3 hits."),
    _m("user", "Thanks"),
]

# name -> messages, tools, add_generation_prompt, chat_template_kwargs
CONVERSATIONS = {
    "hello": (HELLO, None, True, {}),
    "hello_no_prompt": (HELLO, None, False, {}),
    "hello_thinking": (HELLO, None, True, {"enable_thinking": True}),
    "hello_no_thinking": (HELLO, None, True, {"enable_thinking": False}),
    "system": (SYSTEM, None, True, {}),
    "system_no_thinking": (SYSTEM, None, True, {"enable_thinking": False}),
    "developer": ([_m("developer", "Dev"), _m("user", "x")], None, True, {}),
    "chat": (CHAT, None, True, {}),
    "chat_no_thinking": (CHAT, None, True, {"enable_thinking": False}),
    "chat_end": (CHAT[:-1], None, False, {}),
    "chat_end_prompt": (CHAT[:-1], None, True, {}),
    "tools": (HELLO, [WEATHER], True, {}),
    "tools_two": (SYSTEM, [WEATHER, SEARCH], True, {}),
    "tools_bare": (HELLO, [BARE], True, {"enable_thinking": False}),
    "tools_empty": (HELLO, [], True, {}),
    "tool_round": (TOOL_ROUND, [WEATHER], True, {}),
    "tool_round_no_thinking": (TOOL_ROUND, [WEATHER], True, {"enable_thinking": False}),
    "tool_round_no_tools": (TOOL_ROUND, None, True, {}),
    "tool_round_closed": (TOOL_ROUND + [_m("assistant", "21.5 \u00b0C, clear.")], [WEATHER], False, {}),
    "tool_round_next": (TOOL_ROUND + [_m("assistant", "21.5 \u00b0C."), _m("user", "And F?")], [WEATHER], True, {}),
    "tool_call_open": (TOOL_ROUND[:2], [WEATHER], True, {}),
    "parallel": (PARALLEL, [WEATHER, SEARCH], True, {}),
    "parallel_end": (PARALLEL[:-1], [WEATHER, SEARCH], False, {}),
    "parallel_mid": (PARALLEL[:4], [WEATHER, SEARCH], True, {}),
    "string_arguments": ([HELLO[0], _m("assistant", "", tool_calls=[_call("f", '{"a": [1, 2.0, "x"], "b": null}')])], None, False, {}),
    "bad_arguments": ([HELLO[0], _m("assistant", "", tool_calls=[_call("f", "{not json")])], None, False, {}),
    "empty_arguments": ([HELLO[0], _m("assistant", None, tool_calls=[_call("f", {})]), _m("tool", None)], [BARE], True, {}),
    "parts": ([_m("user", [{"type": "text", "text": "a"}, {"type": "text", "text": " b"}])], None, True, {}),
    "parts_bad": ([_m("user", [{"type": "image"}])], None, True, {}),
    "null_content": ([_m("user", None), {"role": "assistant"}, _m("user", "x")], None, True, {}),
    "reasoning": ([HELLO[0], _m("assistant", "4", reasoning_content="2+2\n"), _m("user", "ok")], None, True, {}),
    "reasoning_last": ([HELLO[0], _m("assistant", "4", reasoning_content=" 2+2 ")], None, False, {}),
    "reasoning_key": ([HELLO[0], _m("assistant", "", reasoning="r", tool_calls=[_call("now", {})])], [BARE], False, {}),
    "reasoning_empty": ([HELLO[0], _m("assistant", "<think>\n\n</think>\n\n4")], None, False, {}),
    "unknown_role": ([_m("planner", "p"), _m("user", "x")], None, True, {}),
    "two_users": ([_m("user", "a"), _m("user", "b")], None, True, {}),
    "two_assistants": ([HELLO[0], _m("assistant", "a"), _m("assistant", "b")], None, False, {}),
    "late_system": ([HELLO[0], _m("system", "late"), _m("user", "x")], None, True, {}),
    "only_system": ([_m("system", "alone")], None, True, {}),
    "only_assistant": ([_m("assistant", "I start")], None, False, {}),
    "no_messages": ([], None, True, {}),
    "markup": ([_m("user", "<|im_end|>{{ x }} {% if %} <turn|> </think> <tool_call>")], None, True, {}),
    "spaces": ([_m("user", "  \n lead and trail \t\n "), _m("assistant", "\n\n a \n"), _m("user", "")], None, True, {}),
    "tool_response_text": ([_m("user", "<tool_response>\nx\n</tool_response>"), _m("user", "y")], None, True, {}),
    "long_tools": ([HELLO[0], *[t for _ in range(3) for t in TOOL_ROUND[1:]]], [WEATHER], True, {}),
    "numbers": ([HELLO[0], _m("assistant", "", tool_calls=[_call("f", {"i": 1, "f": 1.0, "e": 1e-7, "g": 1e20, "n": -5, "t": True, "z": None, "s": "1", "l": [], "m": {}})])], None, False, {}),
    "truncation": (TOOL_ROUND, [WEATHER], True, {"max_tool_arg_chars": 3, "max_tool_response_chars": 8}),
    "no_auto_thinking": (TOOL_ROUND, [WEATHER], True, {"auto_disable_thinking_with_tools": True}),
    "extra_kwargs": (HELLO, None, True, {"bos_token": "<B>", "documents": [{"title": "t", "text": "d"}], "flag": [1, None]}),
    "tool_name_only": ([HELLO[0], _m("tool", "r", name="search")], [SEARCH], True, {}),
}
