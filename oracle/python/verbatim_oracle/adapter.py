"""Adapters on the reference: mlx-lm's own `load_adapters`, for PEFT's folders too.

A PEFT folder becomes mlx-lm's format first: both factors are transposed, `lora_alpha / r` (with
`use_rslora`, over the root of `r`) is the scale, module names go through the model's own `sanitize`.
PEFT's DoRA has the same formula as mlx-lm's; its magnitudes are taken as they are.
"""

import json
import math
import tempfile
from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.utils import load_adapters

_PREFIX = "base_model.model."
_PARTS = {
    ".lora_A.weight": "lora_a",
    ".lora_B.weight": "lora_b",
    ".lora_embedding_A": "lora_a",
    ".lora_embedding_B": "lora_b",
    ".lora_magnitude_vector.weight": "m",
}


def mount(model, folder):
    """Mounts the adapter of `folder` as `mlx_lm.load(adapter_path=...)` does."""
    if (folder / "adapter_model.safetensors").exists():
        with tempfile.TemporaryDirectory() as scratch:
            _convert(model, folder, Path(scratch))
            _load(model, Path(scratch))
    else:
        _load(model, folder)


def _load(model, folder):
    load_adapters(model, str(folder))
    model.eval()
    # A product without tensors would stay random; made adapters have all of them.
    given = set(mx.load(str(folder / "adapters.safetensors")))
    leaves = {name for name, _ in tree_flatten(model.parameters())
              if name.rsplit(".", 1)[-1] in ("lora_a", "lora_b", "m")}
    if missing := leaves - given:
        raise ValueError(f"the adapter lacks {sorted(missing)[:5]}")


def _convert(model, folder, out):
    config = json.loads((folder / "adapter_config.json").read_text())
    rank, alpha = config["r"], config["lora_alpha"]
    tensors, modules = {}, set()
    for name, array in mx.load(str(folder / "adapter_model.safetensors")).items():
        suffix = next(s for s in _PARTS if name.endswith(s))
        module = _renamed(model, name.removeprefix(_PREFIX).removesuffix(suffix))
        part = _PARTS[suffix]
        tensors[f"{module}.{part}"] = array if part == "m" else mx.contiguous(array.T)
        modules.add(module)
    mx.save_safetensors(str(out / "adapters.safetensors"), tensors)
    (out / "adapter_config.json").write_text(json.dumps({
        "fine_tune_type": "dora" if config.get("use_dora") else "lora",
        "num_layers": -1,
        "lora_parameters": {
            "rank": rank,
            "scale": alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank,
            "dropout": 0.0,
            "keys": sorted(modules),
        },
    }))


def _renamed(model, module):
    """The module's path in `model`, by the rules for the checkpoint's tensors."""
    (name,) = model.sanitize({f"{module}.weight": mx.zeros((2, 2))})
    return name.removesuffix(".weight")
