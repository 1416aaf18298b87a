"""Renders chat templates with mlx-lm and transformers, for the engine's tests.

    python templates.py OUT.json [--templates DIR]

`OUT.json` holds the small templates of corpus.py, the conversations of conversations.py, and what
the reference renders: every text is a list of indices into the shared list `pieces`, so that the
file stays small. A rendering that fails is `null`, or the message that the template raised.
`DIR` holds whole templates (`*.jinja`); only what they render is written, not the templates.
"""

import argparse
import copy
import hashlib
import json
import logging
import pathlib
import re
import sys
import tempfile

import jinja2
from mlx_lm import tokenizer_utils
from mlx_lm.server import process_message_content

import conversations
import corpus

TOKENIZERS = {
    "plain": ["<unk>", "<s>", "</s>", "<pad>"],
    "qwen3.5-community": ["<unk>", "<|endoftext|>", "<|im_end|>", "<think>", "</think>"],
    "gemma4": ["<unk>", "<bos>", "<eos>", "<pad>", "<|channel>", "<channel|>"],
}
SPECIAL = {
    "plain": {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"},
    "qwen3.5-community": {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
    "gemma4": {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"},
}


def model_files(name, template):
    vocab = {token: i for i, token in enumerate(TOKENIZERS[name])}
    added = [
        {"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        for t, i in vocab.items()
    ]
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"},
    }
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **SPECIAL[name]}
    if template is not None:
        config["chat_template"] = template
    return {"tokenizer.json": tokenizer, "tokenizer_config.json": config}


def load(name, template):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for file, content in model_files(name, template).items():
            (folder / file).write_text(json.dumps(content))
        return tokenizer_utils.load(folder)


def render(tokenizer, messages, tools, add_generation_prompt, kwargs):
    """The text, or the message of a template's own exception, or None."""
    messages = copy.deepcopy(messages)
    try:
        process_message_content(messages)
        return {"text": tokenizer.apply_chat_template(
            messages, tools=tools, add_generation_prompt=add_generation_prompt, tokenize=False, **kwargs
        )}
    except jinja2.exceptions.TemplateError as error:
        if type(error) is jinja2.exceptions.TemplateError:
            return {"raised": str(error)}
        return {"failed": type(error).__name__}
    except Exception as error:
        return {"failed": type(error).__name__}


class Pieces:
    """Texts as lists of shared pieces: lines, and words of long lines."""

    def __init__(self):
        self.index = {}

    def add(self, text):
        pieces = []
        for line in re.findall(r"[^\n]*\n|[^\n]+", text):
            pieces += re.findall(r".{1,60}?[ >}\n]|.{1,60}|\n", line, re.DOTALL) if len(line) > 60 else [line]
        assert "".join(pieces) == text
        return [self.index.setdefault(p, len(self.index)) for p in pieces]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--templates", type=pathlib.Path)
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)

    pieces = Pieces()

    def stored(result):
        return {"text": pieces.add(result["text"])} if "text" in result else {"raised": result.get("raised")}

    small = []
    for template in corpus.TEMPLATES:
        result = render(load("plain", template), corpus.MESSAGES, None, False, corpus.VARIABLES)
        if "failed" in result:
            print(f"{result['failed']}: {template[:70]!r}", file=sys.stderr)
        small.append({"template": template, **stored(result)})

    whole = {}
    for path in sorted(args.templates.glob("*.jinja")) if args.templates else []:
        source = path.read_text()
        tokenizer = load(path.stem, source)
        whole[path.name] = {
            "sha256": hashlib.sha256(source.encode()).hexdigest(),
            "model": model_files(path.stem, None),
            "cases": {
                name: stored(render(tokenizer, messages, tools, prompt, kwargs))
                for name, (messages, tools, prompt, kwargs) in conversations.CONVERSATIONS.items()
            },
        }
    result = {
        "model": model_files("plain", None),
        "messages": corpus.MESSAGES,
        "variables": corpus.VARIABLES,
        "small": small,
        "conversations": {
            name: {"messages": m, "tools": t, "add_generation_prompt": p, "kwargs": k}
            for name, (m, t, p, k) in conversations.CONVERSATIONS.items()
        },
        "whole": whole,
        "pieces": list(pieces.index),
    }
    temporary = args.out.with_suffix(".tmp")
    temporary.write_text(json.dumps(result, ensure_ascii=False, separators=(",", ":")) + "\n")
    temporary.replace(args.out)


if __name__ == "__main__":
    main()
