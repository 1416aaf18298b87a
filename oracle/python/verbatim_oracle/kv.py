"""A case's key-value mode: mlx-lm's own `kv_bits`, or mlx-optiq's per-layer configuration.

mlx-optiq installs itself into mlx-lm for as long as the process lives. What decides the bits is taken out again after
each case; the rest only matters to cases with packed keys and values, so those run after all others.
"""

import sys
from contextlib import contextmanager
from types import SimpleNamespace

import mlx_lm.generate  # noqa: F401  `mlx_lm.generate` the name is a function

_GENERATE = sys.modules["mlx_lm.generate"]


@contextmanager
def mode(spec):
    """Arguments for `generate_step`, valid within the block; `spec` is the case's `kv`."""
    if spec == "bf16":
        yield {}
        return
    [(name, setting)] = spec.items()
    if name == "uniform":
        yield {"kv_bits": setting["bits"], "kv_group_size": setting["group_size"],
               "quantized_kv_start": setting["start"]}
        return
    with _optiq(setting, fused=name == "fused"):
        # mlx-optiq's hook looks the bits up by layer, but only runs where some are given.
        yield {"kv_bits": 8, "quantized_kv_start": 0}


@contextmanager
def _optiq(layers, fused):
    from optiq import serve
    from optiq.runtime import fused_quant_sdpa

    before = _GENERATE.maybe_quantize_kv_cache
    if fused:
        fused_quant_sdpa.install()
    try:
        serve.install_mixed_kv([SimpleNamespace(**layer) for layer in layers], 0)
        yield
    finally:
        _GENERATE.maybe_quantize_kv_cache = before
        fused_quant_sdpa.uninstall()
