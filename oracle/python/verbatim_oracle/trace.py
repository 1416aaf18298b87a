"""One case on the reference: mlx-lm's own `generate_step`, watched from outside.

Nothing of its loop is repeated here. The model's class is replaced by a subclass that notes what
`__call__` returned; the values noted are those that the loop itself computed.
"""

import re
from pathlib import Path

import mlx.core as mx
from mlx_lm.generate import generate_step
from mlx_lm.models.cache import can_trim_prompt_cache, make_prompt_cache, trim_prompt_cache
from mlx_lm.sample_utils import make_logits_processors, make_sampler
from mlx_lm.utils import load_model

from . import adapter, compat, kv, raw

_LAYER = re.compile(r"(^|\.)model\.(embed_tokens|layers\.\d+|norm)$")


def watch(module, note):
    """Makes `module(...)` also call `note(output)`; its methods and attributes stay as they are."""
    original = type(module)

    def call(self, *args, **kwargs):
        out = original.__call__(self, *args, **kwargs)
        note(out)
        return out

    module.__class__ = type(original.__name__, (original,), {"__call__": call})


class Watcher:
    """Collects the outputs of calls by number; `first_step` is the call that yields the first token."""

    def __init__(self, model, first_step, calls, layers):
        self.first_step, self.calls = first_step, calls
        self.done = 0
        self.steps, self.layers = [], {}
        if layers:
            for path, module in model.named_modules():
                if _LAYER.search(path):
                    watch(module, lambda out, path=path: self._layer(path, out))
        watch(model, self._model)

    def _layer(self, path, out):
        if self.done < self.calls:
            self.layers[f"call{self.done}.{path}"] = out[0] if isinstance(out, tuple) else out

    def _model(self, out):
        if self.first_step <= self.done < self.calls:
            self.steps.append(out[0, -1])
        self.done += 1


def samplers(sampling):
    """mlx-lm's sampler and processors from a case's `sampling`; absent fields take mlx-lm's defaults."""
    fields = dict(sampling)
    bias = fields.pop("logit_bias", None)
    fields.pop("seed", None)
    chain = {"temp": fields.pop("temperature", 0.0)}
    for name in ("top_p", "top_k", "min_p", "min_tokens_to_keep", "xtc_probability", "xtc_threshold",
                 "xtc_special_tokens"):
        if name in fields:
            chain[name] = fields.pop(name)
    if bias:
        fields["logit_bias"] = {int(token): value for token, value in bias.items()}
    return make_sampler(**chain), make_logits_processors(**fields)


def go_through(model, past, chunk, options):
    """Runs `past` greedily on fresh caches and trims them; returns the caches, the tokens and how many were trimmed."""
    cache = make_prompt_cache(model)
    stream = generate_step(mx.array(past["prompt"], mx.uint32), model, max_tokens=past["steps"],
                           prompt_cache=cache, prefill_step_size=chunk, **options)
    tokens = [int(token) for token, _ in stream]
    can_trim = can_trim_prompt_cache(cache)
    trimmed = trim_prompt_cache(cache, past["trim"])
    if can_trim != (trimmed > 0):
        raise RuntimeError(f"can_trim_prompt_cache says {can_trim}, {trimmed} tokens were trimmed")
    return cache, tokens, trimmed


def run(spec):
    """Runs one case.

    `spec`: `model_dir`, `adapter_dir` (or `None`), `prompt` (ids), `steps`, `prefill_step_size`, `sampling`, `kv`,
    `logits`, `layers`, `past` (`prompt`, `steps` and `trim` of what runs before on the same caches, or `None`).
    Returns `(tokens, {tensor name: (dtype name, array)}, past)`, `past` being its tokens and how many were trimmed.
    """
    compat.prepare()
    model, _ = load_model(Path(spec["model_dir"]))
    if spec["adapter_dir"]:
        adapter.mount(model, Path(spec["adapter_dir"]))
    prompt, steps, chunk = spec["prompt"], spec["steps"], spec["prefill_step_size"]
    cache, past = None, None
    first_step = -(-(len(prompt) - 1) // chunk)
    sampler, processors = samplers(spec["sampling"])
    with kv.mode(spec["kv"]) as options:
        if spec["past"]:
            cache, *past = go_through(model, spec["past"], chunk, options)
        watcher = Watcher(model, first_step, first_step + steps, spec["layers"])
        if (seed := spec["sampling"].get("seed")) is not None:
            mx.random.seed(seed)
        stream = generate_step(mx.array(prompt, mx.uint32), model, max_tokens=steps, sampler=sampler,
                               logits_processors=processors or None, prompt_cache=cache, prefill_step_size=chunk,
                               **options)
        tokens = [int(token) for token, _ in stream]
    # The loop dispatches one step more than it yields.
    if watcher.done != first_step + steps + 1 or len(tokens) != steps:
        raise RuntimeError(f"expected {first_step} + {steps} + 1 model calls, saw {watcher.done}")
    tensors = {}
    if spec["logits"]:
        tensors["logits"] = mx.stack(watcher.steps)
    tensors.update(watcher.layers)
    arrays = {name: (raw.dtype_name(a), raw.to_numpy(a)) for name, a in tensors.items()}
    return tokens, arrays, past and tuple(past)
