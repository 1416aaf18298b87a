"""Token ids and detokenizer streams, as mlx-lm gets them."""

import json
import random
from pathlib import Path

from mlx_lm.tokenizer_utils import load

from .small_tokenizers import KINDS
from .texts import TEXTS

# A tokenizer that is not generated here, relative to the checkout.
DEMO = "demo/model"


def folders(paths):
    """Tokenizer name → folder. `paths["any"]` holds the generated ones."""
    found = {kind: Path(paths["any"]) / "tokenizers" / kind for kind in KINDS}
    demo = Path(paths["root"]) / DEMO
    if (demo / "tokenizer.json").is_file():
        found["demo"] = demo
    return found


def _ids(tokenizer):
    """Both ways that mlx-lm encodes: a prompt (special tokens added) and a rendered template (not)."""
    return [{"text": text, "ids": tokenizer.encode(text, add_special_tokens=False),
             "with_special": tokenizer.encode(text)} for text in TEXTS]


def _sequences(tokenizer, seed):
    """Id sequences: real texts, texts cut inside a character, random ids, single ids, ids out of range."""
    rng = random.Random(seed)
    size = len(tokenizer)
    out = [tokenizer.encode(text, add_special_tokens=False) for text in TEXTS if 0 < len(text) < 60]
    for text in ("😀 世界 é", "👩‍👩‍👧‍👦", "한글世", "𠮷 🏳️‍🌈 x"):
        ids = tokenizer.encode(text, add_special_tokens=False)
        out += [ids[1:], ids[:-1], ids[2:-1], ids[::-1]]
    out += [[rng.randrange(size) for _ in range(rng.randint(1, 24))] for _ in range(60)]
    pieces = tokenizer.convert_ids_to_tokens(list(range(size)))
    # Pieces that end or begin inside a character, or are blank, are where streaming is hard.
    hard = [i for i, p in enumerate(pieces) if p and (p.startswith("<0x") or len(p) == 1 or not p.isascii())]
    out += [[rng.choice(hard) for _ in range(rng.randint(2, 16))] for _ in range(60)]
    out += [[rng.choice(hard) if rng.random() < 0.6 else rng.randrange(size) for _ in range(12)] for _ in range(30)]
    return [ids for ids in out if ids]


def _stream(tokenizer, ids):
    """What `last_segment` gives after every token and after `finalize`; an exception's name in its place."""
    detokenizer = tokenizer.detokenizer
    segments = []
    try:
        for token in ids:
            detokenizer.add_token(token)
            segments.append(detokenizer.last_segment)
        detokenizer.finalize()
        return {"ids": ids, "segments": segments, "tail": detokenizer.last_segment}
    except (KeyError, IndexError, TypeError) as error:
        return {"ids": ids, "segments": segments, "error": type(error).__name__}


def _streams(name, tokenizer):
    sequences = _sequences(tokenizer, f"detokenizer {name}")
    if type(tokenizer.detokenizer).__name__ == "BPEStreamingDetokenizer":
        size = len(tokenizer)
        sequences += [[size], [5, size + 3, 6], [300, size, 300]]
    return [_stream(tokenizer, ids) for ids in sequences]


def _rows(rows):
    """A JSON list with one row a line."""
    return "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows) + "\n]\n"


def build(paths):
    """`tokens/<name>.json` and `detokenizers/<name>.json`."""
    files = {}
    for name, folder in folders(paths).items():
        tokenizer = load(folder)
        files[f"tokens/{name}.json"] = _rows(_ids(tokenizer))
        files[f"detokenizers/{name}.json"] = _rows(_streams(name, tokenizer))
    return files
