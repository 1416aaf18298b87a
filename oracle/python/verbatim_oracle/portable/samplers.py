"""Draws and filtered rows of mlx-lm's samplers and logits processors.

Rows come from integers, exactly, so that any machine can rebuild them; filters only compare and replace,
processors only add, multiply and divide. Kernels can therefore not make a difference, short of a tie.
"""

import json

import mlx.core as mx
import numpy as np
from mlx_lm import sample_utils

from .. import raw

_MASK = (1 << 64) - 1
_DTYPES = {"f32": mx.float32, "bf16": mx.bfloat16, "f16": mx.float16}


def _mix(value):
    """The finalizer of splitmix64."""
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def row(seed, size, signed):
    """`[1, size]` f32. Value i is `mix(seed * 2^32 + i) >> 48`, 16 bits, divided by -4096 (a
    log-probability, -16 to 0), or less 32768 and divided by 4096 (a logit, -8 to 8)."""
    bits = [_mix((seed << 32) + i) >> 48 for i in range(size)]
    values = [(b - 32768) / 4096 if signed else -b / 4096 for b in bits]
    return mx.array(np.array([values], np.float32))


_CHAINS = [
    {"temp": 0.0}, {"temp": 1.0}, {"temp": 0.7}, {"temp": 1.3}, {"temp": 0.05},
    {"temp": 1.0, "top_p": 0.9}, {"temp": 0.8, "top_p": 0.5}, {"temp": 1.0, "top_p": 0.05}, {"temp": 1.0, "top_p": 1.0},
    {"temp": 1.0, "top_p": 0.999}, {"temp": 1.0, "top_k": 1}, {"temp": 1.0, "top_k": 5}, {"temp": 0.6, "top_k": 40},
    {"temp": 1.0, "min_p": 0.05}, {"temp": 1.0, "min_p": 0.5}, {"temp": 1.0, "min_p": 1.0},
    {"temp": 1.0, "min_p": 0.9, "min_tokens_to_keep": 4}, {"temp": 1.0, "xtc_probability": 1.0, "xtc_threshold": 0.05},
    {"temp": 1.0, "xtc_probability": 0.5, "xtc_threshold": 0.02},
    {"temp": 1.0, "xtc_probability": 0.5, "xtc_threshold": 0.0, "xtc_special_tokens": [0, 3, 11]},
    {"temp": 1.0, "xtc_probability": 1.0, "xtc_threshold": 0.5}, {"temp": 0.9, "top_p": 0.95, "min_p": 0.02, "top_k": 20},
    {"temp": 0.7, "top_p": 0.8, "top_k": 20, "xtc_probability": 0.3, "xtc_threshold": 0.01},
    {"temp": 1.0, "top_p": 0.9, "min_p": 0.1, "xtc_probability": 0.9, "xtc_threshold": 0.03, "top_k": 50,
     "min_tokens_to_keep": 3, "xtc_special_tokens": [2]},
]
_PENALTIES = [
    {"logit_bias": {"3": 5.0, "0": -2.5, "96": 0.3}}, {"logit_bias": {"5": float(-100)}},
    {"repetition_penalty": 1.3}, {"repetition_penalty": 0.7}, {"repetition_penalty": 1.0},
    {"repetition_penalty": 1.1, "repetition_context_size": 4}, {"repetition_penalty": 1.1, "repetition_context_size": 0},
    {"presence_penalty": 0.6}, {"presence_penalty": -0.6, "presence_context_size": 3},
    {"frequency_penalty": 0.4}, {"frequency_penalty": -0.2, "frequency_context_size": 7},
    {"frequency_penalty": 0.1, "frequency_context_size": 1000}, {"presence_penalty": 1.0, "frequency_penalty": 0.5},
    {"logit_bias": {"7": 1.5, "8": -1.5}, "repetition_penalty": 1.2, "presence_penalty": 0.3, "frequency_penalty": 0.25,
     "repetition_context_size": 10, "presence_context_size": 6, "frequency_context_size": 12},
]
_TOKENS = [5, 7, 7, 0, 96, 12, 12, 12, 3, 40, 41, 42, 5, 5, 60, 61, 62, 63, 64, 65, 66, 67, 68, 8, 7]


class _Filtered:
    """Notes what the sampler hands to its last stage, which draws."""

    def __enter__(self):
        self.rows, self._inner = [], sample_utils.categorical_sampling

        def draw(logits, temp):
            self.rows.append(logits)
            return self._inner(logits, temp)

        sample_utils.categorical_sampling = draw
        return self

    def __exit__(self, *_):
        sample_utils.categorical_sampling = self._inner


def _draws(chain, size, dtype, seed, count):
    sampler = sample_utils.make_sampler(**chain)
    mx.random.seed(seed)
    ids, kept = [], []
    with _Filtered() as seen:
        for i in range(count):
            ids.append(sampler(row(seed + i, size, False).astype(_DTYPES[dtype])).item())
        for filtered in seen.rows:
            kept.append(int((filtered > -mx.inf).sum().item()))
    digests = [raw.digest(f)[:16] for f in seen.rows]
    return {"sampler": chain, "size": size, "dtype": dtype, "seed": seed, "ids": ids, "kept": kept,
            "filtered_sha256": digests}


def _processed(options, dtype, seed, tokens):
    arguments = dict(options)
    if "logit_bias" in arguments:
        arguments["logit_bias"] = {int(k): v for k, v in arguments["logit_bias"].items()}
    logits = row(seed, 97, True).astype(_DTYPES[dtype])
    for processor in sample_utils.make_logits_processors(**arguments):
        logits = processor(mx.array(tokens), logits)
    return {"processors": options, "size": 97, "dtype": dtype, "seed": seed, "tokens": tokens,
            "result_dtype": raw.dtype_name(logits), "sha256": raw.digest(logits)}


def _lines(rows):
    return "[\n" + ",\n".join(json.dumps(r, separators=(",", ":")) for r in rows) + "\n]\n"


def build(_paths):
    """`samplers/draws.json` and `samplers/processors.json`."""
    draws = []
    for number, chain in enumerate(_CHAINS):
        for dtype, size in (("f32", 97), ("bf16", 97), ("f16", 97), ("bf16", 1000)):
            draws.append(_draws(chain, size, dtype, 1000 * number + size, 12))
    processed = [_processed(options, dtype, 77 + n, tokens)
                 for n, options in enumerate(_PENALTIES) for dtype in _DTYPES
                 for tokens in (_TOKENS, _TOKENS[:3])]
    return {"samplers/draws.json": _lines(draws), "samplers/processors.json": _lines(processed)}
