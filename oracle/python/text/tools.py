"""Runs mlx-lm's tool parsers over made-up bodies, for the engine's tests.

    python tools.py OUT.json

A case is [body, calls]; a call is [name, arguments as JSON text, id]. `null` stands for calls that
the reference cannot read or cannot write as JSON.
"""

import argparse
import json
import pathlib
import random
import warnings

from mlx_lm.tool_parsers import gemma4, json_tools, minicpm5, qwen3_coder

PARSERS = {"gemma4": gemma4, "json_tools": json_tools, "minicpm5": minicpm5, "qwen3_coder": qwen3_coder}

TYPES = {
    "s": {"type": "string"},
    "i": {"type": "integer"},
    "n": {"type": "number"},
    "b": {"type": "boolean"},
    "o": {"type": "object"},
    "a": {"type": "array", "items": {"type": "integer"}},
    "u": {"type": ["integer", "null"]},
    "v": {"anyOf": [{"type": "number"}, {"type": "string"}]},
    "e": {"enum": [1, 2.5, "x", None, True]},
    "t": {"type": "Int64"},
    "x": {"type": "any"},
    "y": {},
    "z": {"description": "no type"},
    "w": {"oneOf": [{"type": "null"}, {"allOf": [{"type": "array"}]}]},
    "d": {"type": "dict[str, int]"},
    "q": True,
    "p\u00e9": {"type": "Boolean"},
}
TOOLS = [
    {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": TYPES}}},
    {"type": "function", "function": {"name": "g", "parameters": {}}},
    {"type": "function", "function": {"name": "f", "description": "again, without parameters"}},
    {"type": "function"},
]
VALUES = [
    "", " ", "x", "42", " 42 ", "-7", "+5", "007", "1_000", "9007199254740993", "12345678901234567890123", "3.0", "3.5", "-0.0", "1e3", "1e400", "inf", "-Infinity", "nan", "0x1F", "1.", ".5",
    "true", "True", "yes", "off", "0", "1", "none", "None", "nil", "null", "NULL", "TRUE ", "False",
    '{"k": [1, 2.0, "\u00e9\\n"], "z": null}', '{"a": 1, "a": 2}', "[1, 2, 3]", "[]", "{}", '"quoted"', "[1, 2,]", "{bad", "[NaN, Infinity, 1e-7, 1E5, 1e22]", '"\\ud83d\\ude00 \\u00e9"', '{"a": "tab\there"}', "[1] x", "-", "01", "[-0]", "[1.0e+2]",
    "{'k': 'v', 1: [None, True, False]}", "('a', 2)", "1, 2", "(1)", "(1,)", "()", "'it''s'", '"a" \'b\'', "r'\\n'", "'\\x41\\u00e9\\101\\q\\\n'", "'''a\nb'''", "b'x'", "{1, 2}", "set()", "1j", "1 + 2", "[0b101, 0o17, 0xFF, 1_0.5]", "{'a': 1 , }", "[\n 1, # one\n 2\n]", "-True", "--1", "+1.5", "- 2", "f(x)", "lambda: 0", "'unclosed", "{'a' 1}", "{[1]: 2}", "{1.5: 2, None: 3, True: 4}", "...", "u'x'", "[1 2]", "'a'\n", " 'b'", "00", "{'a': {'b': ('c',)}}", "[[[1]]]", "1e5", "True, None", "'\\N{DASH}'", "0_0", "1__0", "1_",
    "line one\nline two", "\n\nx\n\n", "a < b && c > d", "\u4f60\u597d \U0001f600", "  padded  ", "]]>", "<![CDATA[a < b\n ]]>", "<![CDATA[]]>", "<![CDATA[x]]> tail", " <![CDATA[5]]> ", "<![CDATA[[1, 2]]]>", "<![CDATA[a]]>b]]>", "{\"k\": \"<|\\\"|>\"}", "\\", '"', "\u00a05\u00a0",
]
KEYS = list(TYPES) + ["unknown", "a-b"]


def minicpm5_body(rng):
    quote = rng.choice(['"', "'", ""])
    name = rng.choice(["f", "f", "f", "g", "h", "a.b", "\u4f60"])
    params = "".join(
        f"<param{rng.choice([' ', '  ', chr(10)])}name={rng.choice(['', ' '])}{quote}{rng.choice(KEYS)}{quote}>{rng.choice(VALUES)}</param>{rng.choice(['', chr(10)])}"
        for _ in range(rng.randrange(4))
    )
    head = rng.choice(["", "", "", "<function name=", "<function  name = ", "name="])
    return f"{head}{quote}{name}{quote}{rng.choice(['', ' '])}>{params}{rng.choice(['', '', '</function>'])}"


def qwen_body(rng):
    name = rng.choice(["f", "f", "f", "g", "h"])
    params = "".join(
        f"<parameter={rng.choice(KEYS)}{rng.choice(['>', '>', ' '])}{rng.choice([chr(10), ''])}{rng.choice(VALUES)}{rng.choice([chr(10), ''])}</parameter>{rng.choice(['', chr(10)])}"
        for _ in range(rng.randrange(4))
    )
    return f"{rng.choice(['', chr(10)])}<function={name}>{rng.choice(['', chr(10)])}{params}</function>{rng.choice(['', chr(10), chr(10) * 2])}"


def gemma_value(rng, depth=0):
    kind = rng.randrange(8 if depth < 3 else 4)
    if kind < 2:
        return '<|"|>' + rng.choice(["", "x", "{", "}", "a,b:c", "\u00e9\u4f60", "line\nbreak", "\\", '"', "1"]) + '<|"|>'
    if kind == 2:
        return rng.choice(["1", "-2.5", "true", "false", "null", "1e3", "bare", "1.0", "007"])
    if kind == 3:
        return rng.choice(["[]", "{}", '""', "x:1"])
    if kind < 6:
        return "[" + ",".join(gemma_value(rng, depth + 1) for _ in range(rng.randrange(3))) + "]"
    return "{" + rng.choice([",", ",", ", "]).join(f"{rng.choice(['a', 'b_1', 'caf' + chr(233), 'x-y', '<|' + chr(34) + '|>k<|' + chr(34) + '|>'])}:{gemma_value(rng, depth + 1)}" for _ in range(rng.randrange(3))) + "}"


def gemma_body(rng):
    body = "".join(
        f"call:{rng.choice(['f', 'get-it', 'a_b', chr(233)])}" + "{" + ",".join(f"{k}:{gemma_value(rng)}" for k in rng.sample("abcd", rng.randrange(4))) + "}"
        for _ in range(rng.choice([1, 1, 1, 2]))
    )
    return rng.choice(["", " ", "x"]) + body + rng.choice(["", "\n", "}"])


def json_body(rng):
    arguments = rng.choice(VALUES[40:62] + ["{}", '{"a": 1}', '{"b": [1.0, 1e2, "\\u00e9"], "c": {"d": null}}'])
    body = rng.choice([
        f'{{"name": "f", "arguments": {arguments}}}',
        f'{{"arguments": {arguments}, "name": "g", "id": "call_1"}}',
        f'[{{"name": "f", "arguments": {arguments}}}, {{"name": "h", "arguments": {{}}}}]',
        f'{{"name": "f", "parameters": {arguments}}}',
        arguments,
    ])
    return rng.choice(["", "\n", " "]) + body + rng.choice(["", "\n"])


BODIES = {"gemma4": gemma_body, "json_tools": json_body, "minicpm5": minicpm5_body, "qwen3_coder": qwen_body}


def mutate(body, rng):
    for _ in range(rng.randrange(1, 3)):
        at = rng.randrange(len(body) + 1)
        body = rng.choice([body[:at], body[:at] + body[at + 1:], body[:at] + rng.choice(["<", ">", '"', "'", "{", "}", "\n", "name=", "</param>", '<|"|>', "call:", "\u4f60"]) + body[at:]])
    return body


def run(parser, body):
    try:
        parsed = parser.parse_tool_call(body, TOOLS)
        calls = []
        for call in parsed if isinstance(parsed, list) else [parsed]:
            assert isinstance(call["name"], str)
            arguments = json.dumps(call["arguments"], ensure_ascii=False)
            arguments.encode()
            calls.append([call["name"], arguments, call.get("id")])
        return calls
    except Exception:
        return None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--cases", type=int, default=130, help="per format")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    result = {"tools": TOOLS}
    for name, module in PARSERS.items():
        rng = random.Random(name)
        bodies = []
        if name == "minicpm5":
            bodies += [f'"f"><param name="{k}">{v}</param>' for v in VALUES for k in rng.sample(KEYS[:-2], 2)]
        if name == "qwen3_coder":
            bodies += [f"<function=f>\n<parameter={k}>\n{v}\n</parameter>\n</function>" for v in VALUES for k in rng.sample(KEYS[:-2], 2)]
        bodies += [BODIES[name](rng) for _ in range(args.cases)]
        bodies += [mutate(BODIES[name](rng), rng) for _ in range(args.cases)]
        # On a schema of `true` qwen3_coder's parser fails with an error that its server lets through.
        bodies = [b for b in bodies if name != "qwen3_coder" or "=q" not in b]
        result[name] = [[body, run(module, body)] for body in bodies]
    temporary = args.out.with_suffix(".tmp")
    temporary.write_text(json.dumps(result, ensure_ascii=False, separators=(",", ":")) + "\n")
    temporary.replace(args.out)


if __name__ == "__main__":
    main()
