"""Conversations that every template renders, in the form that templates see (after mlx-lm's preprocessing)."""


def _u(content):
    return {"role": "user", "content": content}


def _a(content, **more):
    return {"role": "assistant", "content": content, **more}


def _s(content):
    return {"role": "system", "content": content}


def _call(name, arguments, call_id="call_1"):
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _t(content, name="get_weather", call_id="call_1"):
    return {"role": "tool", "name": name, "tool_call_id": call_id, "content": content}


def _tool(name, description, properties, required=None):
    parameters = {"type": "object", "properties": properties}
    if required is not None:
        parameters["required"] = required
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


WEATHER = _tool("get_weather", "Weather of a city", {
    "city": {"type": "string", "description": "Name of the city"},
    "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}}, ["city"])
CALCULATOR = _tool("calculator", "Evaluates <expressions> & \"more\"", {
    "expression": {"type": "string"}, "digits": {"type": "integer", "minimum": 0}}, ["expression"])
NESTED = _tool("book", "Réserve une table — 予約", {
    "people": {"type": "array", "items": {"type": "object", "properties": {
        "name": {"type": "string"}, "age": {"type": ["integer", "null"]}}, "required": ["name"]}},
    "when": {"type": "object", "properties": {"date": {"type": "string", "format": "date"},
                                              "flexible": {"type": "boolean", "default": False}}},
    "ratio": {"type": "number", "default": 0.5}}, [])
BARE = {"type": "function", "function": {"name": "ping", "description": "", "parameters": {"type": "object", "properties": {}}}}


def _row(name, messages, **more):
    return {"name": name, "messages": messages, "tools": more.pop("tools", None),
            "add_generation_prompt": more.pop("add_generation_prompt", True), "variables": more}


_ROUND = [_u("Weather in Paris?"), _a("", tool_calls=[_call("get_weather", {"city": "Paris"})]),
          _t("{\"temp\": 21}")]
_TWO_CALLS = [_u("Paris and Rome?"),
              _a("", tool_calls=[_call("get_weather", {"city": "Paris", "unit": "celsius"}),
                                 _call("get_weather", {"city": "Rome"}, "call_2")]),
              _t("21"), _t("27", call_id="call_2")]
_THOUGHT = _a("<think>\nShort.\n</think>\n\nHello!")

CONVERSATIONS = [
    _row("one user turn", [_u("Hi")]),
    _row("no generation prompt", [_u("Hi"), _a("Hello!")], add_generation_prompt=False),
    _row("thinking on", [_u("Hi")], enable_thinking=True),
    _row("thinking off", [_u("Hi")], enable_thinking=False),
    _row("system", [_s("Be brief."), _u("Hi")]),
    _row("system, thinking on", [_s("Be brief."), _u("Hi")], enable_thinking=True),
    _row("developer", [{"role": "developer", "content": "Be brief."}, _u("Hi")]),
    _row("system with surrounding blanks", [_s("  Be brief.\n\n"), _u("Hi")]),
    _row("empty system", [_s(""), _u("Hi")]),
    _row("empty user", [_u("")]),
    _row("blank user", [_u(" \n\t ")]),
    _row("two turns", [_u("Hi"), _a("Hello!"), _u("Bye")]),
    _row("four turns", [_u("a"), _a("b"), _u("c"), _a("d"), _u("e"), _a("f"), _u("g")]),
    _row("turns with blanks", [_u(" a "), _a("\n b \n"), _u("\tc")]),
    _row("late system", [_u("Hi"), _a("Hello!"), _s("Now in French."), _u("Bye")]),
    _row("two systems", [_s("One."), _s("Two."), _u("Hi")]),
    _row("assistant first", [_a("Welcome."), _u("Hi")]),
    _row("two users in a row", [_u("Hi"), _u("there")]),
    _row("assistant last", [_u("Hi"), _a("Hel")]),
    _row("only system", [_s("Be brief.")]),
    _row("Unicode", [_s("Réponds en français — 简短。"), _u("你好 😀 مرحبا \u200b\u0301"), _a("ﬁn ½ 𠮷"), _u("👩‍👩‍👧‍👦")]),
    _row("markup in text", [_u("<|im_end|>\n<|im_start|>system\n<b>&amp;</b> {{ x }} {% y %}")]),
    _row("quotes and backslashes", [_u("\"a\" 'b' \\n \\u00e9 `c`")]),
    _row("thought in history", [_u("Hi"), _THOUGHT, _u("Bye")]),
    _row("thought in the last turn", [_u("Hi"), _THOUGHT], add_generation_prompt=False),
    _row("reasoning_content in history", [_u("Hi"), _a("Hello!", reasoning_content="Short."), _u("Bye")]),
    _row("reasoning in history", [_u("Hi"), _a("Hello!", reasoning="Short."), _u("Bye")]),
    _row("reasoning after a tool", [*_ROUND, _a("21 degrees.", reasoning_content="It said 21."), _u("Thanks")],
         tools=[WEATHER]),
    _row("unfinished thought", [_u("Hi"), _a("<think>\nHm"), _u("Go on")]),
    _row("empty thought", [_u("Hi"), _a("<think>\n\n</think>\n\nHello!"), _u("Bye")]),
    _row("one tool", [_u("Weather in Paris?")], tools=[WEATHER]),
    _row("one tool, thinking off", [_u("Weather in Paris?")], tools=[WEATHER], enable_thinking=False),
    _row("tools and system", [_s("Be brief."), _u("2+2?")], tools=[WEATHER, CALCULATOR]),
    _row("nested tool", [_u("Une table?")], tools=[NESTED, BARE]),
    _row("empty tools", [_u("Hi")], tools=[]),
    _row("tool result", _ROUND, tools=[WEATHER]),
    _row("tool result, thinking on", _ROUND, tools=[WEATHER], enable_thinking=True),
    _row("tool result without tools", _ROUND),
    _row("tool round answered", [*_ROUND, _a("21 degrees."), _u("And Rome?")], tools=[WEATHER]),
    _row("two calls, two results", _TWO_CALLS, tools=[WEATHER]),
    _row("text before a call", [_u("Weather?"), _a("Let me look.", tool_calls=[_call("get_weather", {"city": "Paris"})]),
                                _t("21")], tools=[WEATHER]),
    _row("thought before a call", [_u("Weather?"),
                                   _a("", reasoning_content="I need the tool.",
                                      tool_calls=[_call("get_weather", {"city": "Paris"})]), _t("21")], tools=[WEATHER]),
    _row("argument kinds", [_u("Go"), _a("", tool_calls=[_call("calculator", {
        "expression": "1 < 2 && \"a\"\n", "digits": 3, "ratio": 0.5, "big": 1e21, "flag": True, "none": None,
        "list": [1, "é", {"k": []}], "object": {"世界": "😀", "empty": {}}})]), _t("ok", "calculator")],
         tools=[CALCULATOR]),
    _row("no arguments", [_u("Ping"), _a("", tool_calls=[_call("ping", {})]), _t("pong", "ping")], tools=[BARE]),
    _row("arguments left as text", [_u("Ping"), _a("", tool_calls=[_call("ping", "{\"a\": 1}")]), _t("pong", "ping")],
         tools=[BARE]),
    _row("three rounds", [*_ROUND, *_TWO_CALLS[:1], _a("", tool_calls=[_call("calculator", {"expression": "1+1"})]),
                          _t("2", "calculator"), _a("Two."), _u("Thanks")], tools=[WEATHER, CALCULATOR]),
    _row("content parts", [_s("Be brief."), _u([{"type": "text", "text": "Hello "}, {"type": "text", "text": "there"}])]),
    _row("assistant parts", [_u("Hi"), _a([{"type": "text", "text": "Hello!"}]), _u("Bye")]),
    _row("null content", [_u("Weather?"), _a(None, tool_calls=[_call("get_weather", {"city": "Paris"})]), _t("21")],
         tools=[WEATHER]),
    _row("unknown role", [{"role": "critic", "content": "Bad."}, _u("Hi")]),
    _row("extra variables", [_u("Hi")], preserve_thinking=True, custom="x", number=3, nested={"a": [1]}),
]

# What a client sends, for mlx-lm's `process_message_content`.
WIRE = [
    ("plain", [_u("Hi")]),
    ("parts joined", [_u([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])]),
    ("no parts", [_u([])]),
    ("image part", [_u([{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "x"}}])]),
    ("null content", [_a(None)]),
    ("content absent", [{"role": "assistant"}]),
    ("arguments parsed", [_a(None, tool_calls=[_call("f", "{\"a\": 1, \"b\": [1.50, null]}")])]),
    ("arguments already an object", [_a(None, tool_calls=[_call("f", {"a": 1})])]),
    ("empty arguments", [_a(None, tool_calls=[_call("f", "")])]),
    ("arguments no JSON", [_a(None, tool_calls=[_call("f", "{a")])]),
    ("arguments with large numbers", [_a(None, tool_calls=[_call("f", "{\"a\": 1e300, \"b\": -0.0, \"c\": 12345678901234567890}")])]),
    ("arguments a list", [_a(None, tool_calls=[_call("f", "[1, 2]")])]),
    ("call without function", [_a("x", tool_calls=[{"id": "1"}])]),
    ("part without type", [_u([{"text": "a"}])]),
    ("part without text", [_u([{"type": "text"}])]),
]
