"""Renders conversations with the model's chat template, the way transformers sets Jinja up."""

import json
from pathlib import Path

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

MODEL = Path(__file__).resolve().parent.parent / "model"


def make_renderer(template=MODEL / "chat_template.jinja"):
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    env.filters["tojson"] = lambda x, **k: json.dumps(x, ensure_ascii=False)
    compiled = env.from_string(Path(template).read_text(encoding="utf-8"))

    def prompt(case):
        extra = {} if case["thinking"] is None else {"enable_thinking": case["thinking"]}
        return compiled.render(messages=case["messages"], tools=case["tools"], add_generation_prompt=True, bos_token="<s>", **extra)

    return prompt


def call_text(call):
    name, arguments = call
    params = "".join(f'<param name="{key}">{value}</param>' for key, value in arguments.items())
    return f'<function name="{name}">{params}</function>'


def completion(case):
    """What the model must write after the prompt, end-of-turn marker included."""
    answer = call_text(case["call"]) if case["call"] else case["content"]
    opening = {True: "", None: "<think>\n", False: None}[case["thinking"]]
    thought = "" if opening is None else f"{opening}{case['reasoning']}\n</think>\n\n"
    return f"{thought}{answer}<|im_end|>"
