"""What is measured: models and how much of each, and a folder of each that never ends its turn."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
HERE = Path(__file__).resolve().parent
_WORDS = "What is two plus three? Tell me about the weather in Paris and the river that flows through it. "


@dataclass(frozen=True)
class Subject:
    """A model, a prompt and the number of tokens to generate."""

    name: str
    title: str
    source: Path
    prompt: str
    tokens: int


def text(characters):
    """So many characters of prose."""
    return (_WORDS * (characters // len(_WORDS) + 1))[:characters]


def subjects():
    """Name → subject. The prompts' lengths in tokens come out of the measurement."""
    models = HERE / "models"
    found = [
        Subject("demo", "demo model", ROOT / "demo" / "model", text(600), 256),
        Subject("tiny-24", "24 layers, tiny", models / "tiny-24.json", text(192), 128),
        Subject("gemma4-tiny", "Gemma-4 E2B's structure, 15 layers, tiny", models / "gemma4-tiny.json", text(96), 96),
        Subject("qwen3_5-tiny", "Qwen3.5, 12 layers, tiny", models / "qwen3_5-tiny.json", text(64), 96),
        Subject("quarter-billion", "0.25B, random", models / "quarter-billion.json", text(32), 16),
        Subject("gemma4-wide", "Gemma-4 E2B's widths, 5 layers", models / "gemma4-wide.json", text(24), 16),
        Subject("qwen3_5-wide", "Qwen3.5, 4 layers, wide", models / "qwen3_5-wide.json", text(32), 24),
    ]
    return {s.name: s for s in found}


def _made(spec, oracle):
    done = subprocess.run([oracle, "make", spec], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return Path(done.stdout.strip())


def endless(subject, folder, oracle):
    """A folder with the subject's files, linked, and no end token: both sides generate every token."""
    source = subject.source if subject.source.is_dir() else _made(subject.source, oracle)
    target = Path(folder) / subject.name
    target.mkdir()
    for file in source.iterdir():
        if file.name in ("config.json", "generation_config.json", "tokenizer_config.json"):
            content = json.loads(file.read_text())
            content.pop("eos_token_id", None)
            content.pop("eos_token", None)
            (target / file.name).write_text(json.dumps(content, indent=1))
        elif file.name != "special_tokens_map.json":
            (target / file.name).symlink_to(file.resolve())
    return target
