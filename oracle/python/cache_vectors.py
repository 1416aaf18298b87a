"""Prints what mlx-lm's RotatingKVCache does to short sequences of updates and trims, as JSON.

    python oracle/python/cache_vectors.py > engine/tests/data/rotating_cache.json
    python oracle/python/cache_vectors.py --file engine/tests/data/cache.safetensors

Each row of keys holds its token's position plus one, so that the order of the rows can be read off;
values hold the same plus 1000. A mask is null, "causal", or its rows as strings of 0 and 1.

With --file, saves caches of both kinds as mlx-lm does instead.
"""

import json
import random
import sys

import mlx.core as mx
from mlx_lm.models.cache import KVCache, RotatingKVCache, save_prompt_cache

# (max_size, keep, window or None, updates; a negative number trims)
FIXED = [
    (4, 0, 4, [1, 1, 1, 1, 1, 1, 1, 1, 1]),
    (4, 0, 4, [7, 1, 1, 1, 1, 1, 3, 1, 2, 1]),
    (8, 0, 8, [3, 1, 2, -2, 1, 1, 5, 1, 1]),
    (8, 0, 8, [1, 1, 1, -2, 4, -1, 1, 9, 1]),
    (5, 2, 5, [3, 1, 1, 1, 1, 1, 4, 1, 1]),
    (6, 0, 3, [2, 1, 1, 1, 1, 1, 1, 1, 2, 1]),
    (7, 0, None, [6, 1, 1, 1, 8, 1, 1]),
    (300, 0, 300, [1, 1, 258, 1, 1]),
]


def drawn(rng):
    max_size = rng.choice([2, 3, 5, 8])
    keep = rng.choice([0, 0, 0, 1])
    window = rng.choice([max_size, max_size, None])
    return max_size, keep, window, [rng.choice([1, 1, 1, 2, 3, 6, 11]) for _ in range(9)]


def rows(array):
    return [int(v) for v in array[0, 0, :, 0].tolist()]


def runs(values):
    """Consecutive values as [first, count], which keeps long caches short."""
    out = []
    for v in values:
        if out and v == sum(out[-1]):
            out[-1][1] += 1
        else:
            out.append([v, 1])
    return out


def mask_of(mask):
    if mask is None or isinstance(mask, str):
        return mask
    mask = mask if mask.ndim == 2 else mask[None]
    return ["".join("01"[v] for v in row) for row in mask.tolist()]


def case(max_size, keep, window, updates):
    cache, steps = RotatingKVCache(max_size, keep), []
    for n in updates:
        step = {"n": n}
        if n < 0:
            step["trimmed"] = cache.trim(-n)
        else:
            step["mask"] = mask_of(cache.make_mask(n, window_size=window)) if max_size < 100 else "-"
            positions = mx.arange(cache.offset, cache.offset + n).astype(mx.float32) + 1
            keys = mx.broadcast_to(positions[None, None, :, None], (1, 1, n, 2))
            k, v = cache.update_and_fetch(keys, keys + 1000)
            assert rows(v) == [r + 1000 for r in rows(k)]
            step["rows"] = runs(rows(k))
        step.update(offset=cache.offset, trimmable=cache.is_trimmable(), size=cache.size(),
                    capacity=cache.keys.shape[2])
        steps.append(step)
    return {"max_size": max_size, "keep": keep, "window": window, "steps": steps}


def save(path):
    caches = [KVCache(), RotatingKVCache(4), RotatingKVCache(300)]
    for cache in caches:
        for n in (3, 1, 2, 1, 1):
            numbers = mx.arange(cache.offset * 4, (cache.offset + n) * 4).reshape(1, 1, n, 4)
            keys = (numbers + mx.array([0, 10000])[None, :, None, None]).astype(mx.float32)
            cache.update_and_fetch(keys.astype(mx.float16), (keys + 0.5).astype(mx.float16))
    save_prompt_cache(path, [*caches, KVCache()], {"model": "tiny"})


def main():
    if sys.argv[1:2] == ["--file"]:
        return save(sys.argv[2])
    rng = random.Random(20260101)
    cases = [case(*c) for c in FIXED] + [case(*drawn(rng)) for _ in range(24)]
    lines = [json.dumps(c, separators=(",", ":")) for c in cases]
    print("[\n" + ",\n".join(lines) + "\n]")


if __name__ == "__main__":
    main()
