"""Examples in Markdown: a page's fenced blocks, and whether an output is what the page shows of it.

What an example prints may be shown in the block that follows it:

- `json`: an object that the output holds. It may have more fields; texts, truth values and nulls have to be the same,
  numbers have to be numbers.
- `text`: lines that come in this order, others between them.

`…` stands for anything inside a text or a line, and at the end of a list for any more items.

>>> def held(language, code, output):
...     return difference(Block("page", 1, language, None, code, None), output)
>>> held("text", "a…c\\nd\\n", "abc\\nx\\nd\\n")
>>> held("text", "d\\na\\n", "a\\nd\\n")
"the output lacks the line 'a'"
>>> held("json", '{"a": [{"b": "x…"}, "…"], "n": 1, "t": true, "z": null}', 'data: {"a": [{"b": "xy"}, 2], "n": 7, "t": true, "z": null}')
>>> held("json", '{"a": {"b": "x"}}', '{"a": {"b": "y"}}')
"the object.a.b is 'y' instead of 'x'"
>>> held("json", '{"a": 1}', '{"a": true}')
'the object.a is True instead of 1'
>>> held("json", '{"a": [1]}', '{"a": [1, 2]}{"b": 1}')
"the object.a has 2 items; the object lacks ['a']"
>>> held("json", '{"a": 1}', "nothing")
'the output has no JSON object'
>>> error('{"error": null}{"a": {"error": "x"}}')
>>> error('data: {"error": {"code": 1}}')
{'error': {'code': 1}}
"""

import json
import re
from dataclasses import dataclass

_BLOCK = re.compile(r"(?:^<!-- not run: (?P<reason>.*?) -->\n)?^```(?P<language>\w*)(?: (?P<file>\S+))?\n(?P<code>.*?)^```$",
                    re.MULTILINE | re.DOTALL)
_ANY = "…"


@dataclass
class Block:
    """A fenced block; `file` is the name behind its language, `reason` why it cannot be run."""

    page: str
    line: int
    language: str
    file: str | None
    code: str
    reason: str | None

    @property
    def name(self):
        return f"{self.page}:{self.line} ({self.language})"


def blocks(page):
    """The blocks of a Markdown file."""
    text = page.read_text()
    return [Block(page.name, text[:m.start("language")].count("\n") + 1, m["language"], m["file"], m["code"], m["reason"])
            for m in _BLOCK.finditer(text)]


def difference(shown, output):
    """What an output lacks of the block that shows it, or nothing."""
    return _json_difference(shown.code, output) if shown.language == "json" else _text_difference(shown.code, output)


def error(output):
    """The first answer in an output that is an error."""
    return next((found for found in _objects(output) if isinstance(found.get("error"), (dict, str))), None)


def shows_error(shown):
    """Whether a page says that the example is answered with an error."""
    return shown is not None and shown.language == "json" and isinstance(json.loads(shown.code).get("error"), dict)


def _text_difference(code, output):
    lines = iter(output.splitlines())
    for wanted in code.splitlines():
        if wanted.strip() != _ANY and not any(_matches(wanted, line) for line in lines):
            return f"the output lacks the line {wanted!r}"
    return None


def _json_difference(code, output):
    wanted = json.loads(code)
    problems = [_misfit(wanted, found, "the object") for found in _objects(output)]
    return None if None in problems else "; ".join(problems) or "the output has no JSON object"


def _objects(output):
    """Every JSON object in a text, be it an event of a stream or pretty-printed."""
    decoder, at = json.JSONDecoder(), 0
    while (at := output.find("{", at)) >= 0:
        try:
            value, at = decoder.raw_decode(output, at)
            yield value
        except ValueError:
            at += 1


def _misfit(wanted, found, where):
    """The first place where a value is not as shown."""
    if isinstance(wanted, dict):
        if not isinstance(found, dict):
            return f"{where} is {found!r}, no object"
        parts = [(wanted[key], found.get(key), f"{where}.{key}") if key in found else key for key in wanted]
        lacking = [part for part in parts if isinstance(part, str)]
        return f"{where} lacks {lacking}" if lacking else _first(parts)
    if isinstance(wanted, list):
        if not isinstance(found, list):
            return f"{where} is {found!r}, no list"
        open_end = wanted[-1:] == [_ANY]
        wanted = wanted[:-1] if open_end else wanted
        if len(found) < len(wanted) or (len(found) > len(wanted) and not open_end):
            return f"{where} has {len(found)} items"
        return _first([(w, f, f"{where}[{i}]") for i, (w, f) in enumerate(zip(wanted, found))])
    if isinstance(wanted, str):
        good = isinstance(found, str) and _matches(wanted, found)
    elif isinstance(wanted, bool) or wanted is None:
        good = found is wanted
    else:
        good = isinstance(found, (int, float)) and not isinstance(found, bool)
    return None if good else f"{where} is {found!r} instead of {wanted!r}"


def _first(parts):
    return next((problem for part in parts if (problem := _misfit(*part))), None)


def _matches(wanted, found):
    return re.fullmatch(".*".join(map(re.escape, wanted.split(_ANY))), found, re.DOTALL) is not None
