"""Quantized model directories, written by `mlx_lm.convert` itself."""

import contextlib
import io
import shutil
from pathlib import Path

import mlx.core as mx
from mlx_lm.convert import convert as mlx_lm_convert

from . import compat, raw


def _per_module(default, overrides):
    def predicate(path, _module):
        if path not in overrides:
            return dict(default)
        return False if overrides[path] is None else dict(overrides[path])

    return predicate


def _arguments(quantization):
    """`mlx_lm.convert`'s arguments for a case's `quantization`."""
    (kind, spec), = quantization.items()
    if kind == "uniform":
        return {"q_bits": spec["bits"], "q_group_size": spec["group_size"], "q_mode": spec["mode"]}
    if kind == "recipe":
        return {"quant_predicate": spec["name"], "q_group_size": spec.get("group_size")}
    if kind == "per_module":
        default = spec["default"]
        return {"q_bits": default["bits"], "q_group_size": default["group_size"], "q_mode": default["mode"],
                "quant_predicate": _per_module(default, spec["overrides"])}
    raise ValueError(f"unknown quantization {kind}")


def convert(dense_dir, out_dir, quantization):
    """Quantizes `dense_dir` into `out_dir`, which must not exist; it appears whole or not at all."""
    compat.prepare()
    out, staged = Path(out_dir), Path(f"{out_dir}.tmp")
    shutil.rmtree(staged, ignore_errors=True)
    with contextlib.redirect_stdout(io.StringIO()):
        mlx_lm_convert(str(dense_dir), staged, quantize=True, **_arguments(quantization))
    staged.rename(out)


def tensors(model_dir):
    """`{name: {dtype, shape, sha256}}` of all weights of a directory."""
    found = {}
    for file in sorted(Path(model_dir).glob("model*.safetensors")):
        for name, array in mx.load(str(file)).items():
            found[name] = {"dtype": raw.dtype_name(array), "shape": list(array.shape),
                           "sha256": raw.digest(array)}
    return dict(sorted(found.items()))
