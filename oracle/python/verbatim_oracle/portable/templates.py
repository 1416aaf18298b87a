"""Rendered chat templates, through mlx-lm's call of transformers' `apply_chat_template`."""

import copy
import hashlib
import json
from pathlib import Path

from mlx_lm.tokenizer_utils import load

from .conversations import CONVERSATIONS, WIRE
from .expressions import SNIPPETS, VARIABLES
from .tokens import folders

# Template → (file, tokenizer whose special tokens it sees). Those of `shared` are not part of the
# checkout: of what they render only digests are kept.
SHARED = {"gemma4": ("gemma4.jinja", "spm"), "qwen3.5": ("qwen3.5-community.jinja", "byte-level")}
CHATML = """{%- if messages[0].role == 'system' %}{{- '<|im_start|>system\\n' ~ messages[0].content ~ '<|im_end|>\\n' }}{%- set rest = messages[1:] %}{%- else %}{%- set rest = messages %}{%- endif %}
{%- for m in rest %}
    {%- if m.role not in ['user', 'assistant', 'tool', 'system', 'developer'] %}{{ raise_exception('Unknown role: ' + m.role) }}{% endif %}
    {{- '<|im_start|>' + m.role + '\\n' }}
    {%- if m.content is string %}{{ m.content | trim }}{% else %}{% for p in m.content or [] %}{{ p.text }}{% endfor %}{% endif %}
    {%- for c in m.tool_calls or [] %}
        {{- '\\n<tool_call>\\n' }}{{ {'name': c.function.name, 'arguments': c.function.arguments} | tojson }}{{ '\\n</tool_call>' }}
    {%- endfor %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if tools %}{{ tools | tojson(indent=2) }}{% endif %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% if enable_thinking %}{{ '<think>\\n' }}{% endif %}{% endif %}
"""
STRICT = """{{ bos_token }}{% for message in messages %}
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
{% endif %}
{% if message['role'] == 'user' %}[INST] {{ message['content'].strip() }} [/INST]{% elif message['role'] == 'assistant' %} {{ message['content'] }}{{ eos_token }}{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}
{% endfor %}
"""
HANDMADE = {"chatml": (CHATML, "byte-level"), "strict": (STRICT, "byte-level-bos")}


def _render(tokenizer, row):
    """The text, or the message of the template's own exception, or the kind of any other."""
    try:
        text = tokenizer.apply_chat_template(
            copy.deepcopy(row["messages"]), tools=copy.deepcopy(row["tools"]), tokenize=False,
            add_generation_prompt=row["add_generation_prompt"], **row["variables"])
        return {"text": text}
    except Exception as error:  # noqa: BLE001 - any failure of a template is a result here
        if type(error).__name__ == "TemplateError":
            return {"raised": str(error)}
        return {"error": type(error).__name__}


def _effective(tokenizer, row):
    """Variables beside messages and tools, as mlx-lm's wrapper passes them on."""
    return {"enable_thinking": tokenizer.has_thinking, **row["variables"]}


def _table(tokenizer, template, keep_text):
    tokenizer.chat_template = template
    rows = []
    for row in CONVERSATIONS:
        out = _render(tokenizer, row)
        if "text" in out and not keep_text:
            text = out["text"].encode()
            out = {"sha256": hashlib.sha256(text).hexdigest(), "bytes": len(text)}
        rows.append({"name": row["name"], **out})
    return rows


def _special(tokenizer):
    return dict(tokenizer.special_tokens_map)


def _dump(head, rows):
    lines = ",\n".join("  " + json.dumps(r, ensure_ascii=False, separators=(",", ":")) for r in rows)
    head = json.dumps(head, ensure_ascii=False, indent=1)
    return head[:-2] + ("," if len(head) > 3 else "") + f'\n "rows": [\n{lines}\n ]\n}}\n'


def _conversations(tokenizer):
    rows = [{**row, "variables": _effective(tokenizer, row)} for row in CONVERSATIONS]
    return _dump({"about": "What every template of this folder renders."}, rows)


def _wire():
    """mlx-lm's preprocessing of messages that a client sent."""
    from mlx_lm.server import process_message_content

    rows = []
    for name, messages in WIRE:
        row = {"name": name, "sent": copy.deepcopy(messages)}
        messages = copy.deepcopy(messages)
        try:
            process_message_content(messages)
            row["messages"] = messages
        except (ValueError, KeyError, TypeError) as error:
            row["error"] = f"{type(error).__name__}: {error}"
        rows.append(row)
    return _dump({"about": "Messages as sent, and as the template sees them."}, rows)


def _snippets(tokenizer):
    rows = []
    for snippet in SNIPPETS:
        tokenizer.chat_template = snippet
        row = {"messages": [{"role": "user", "content": "x"}], "tools": None, "add_generation_prompt": False,
               "variables": VARIABLES}
        rows.append({"template": snippet, **_render(tokenizer, row)})
    return _dump({"about": "One trait of Jinja2 each.", "special_tokens": _special(tokenizer),
                  "variables": VARIABLES}, rows)


def build(paths):
    """`templates/*.json`: conversations, expressions, and a table for every template."""
    where = folders(paths)
    files = {"templates/wire.json": _wire(),
             "templates/conversations.json": _conversations(load(where["byte-level"])),
             "templates/expressions.json": _snippets(load(where["byte-level"]))}
    jobs = [(name, text, kind, None) for name, (text, kind) in HANDMADE.items()]
    if "demo" in where:
        jobs.append(("demo", (where["demo"] / "chat_template.jinja").read_text(), "demo", None))
    for name, (file, kind) in SHARED.items():
        path = Path(paths["shared"]) / file
        if path.is_file():
            jobs.append((name, path.read_text(), kind, file))
    for name, template, kind, shared in jobs:
        tokenizer = load(where[kind])
        rows = _table(tokenizer, template, shared is None)
        head = {"special_tokens": _special(tokenizer), "tokenizer": kind,
                "template_sha256": hashlib.sha256(template.encode()).hexdigest()}
        if shared:
            head["shared_file"] = shared
        elif name != "demo":
            head["template"] = template
        files[f"templates/{name}.json"] = _dump(head, rows)
    return files


def left_out(paths):
    """Tables that cannot be built here."""
    return {f"templates/{name}.json": f"{file} is not there" for name, (file, _) in SHARED.items()
            if not (Path(paths["shared"]) / file).is_file()}
