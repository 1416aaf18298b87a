"""Makes mlx-lm 0.32.2 run on mlx 0.32.2, and says what is running."""

from importlib.metadata import version

import mlx.core as mx
from mlx_lm import utils

# Python and NumPy only carry bits, so goldens do not name them: any version that the lock file allows will do.
_PACKAGES = ("mlx", "mlx-lm", "mlx-optiq", "transformers", "tokenizers", "jinja2")


def prepare():
    """Bridges the one call that mlx-lm makes and mlx lacks, and one name; safe to call again.

    mlx-lm reads the text model alone, but not under the name that transformers saves it by.
    """
    utils.MODEL_REMAPPING.setdefault("qwen3_5_text", "qwen3_5")
    inner = mx.gather_qmm
    if getattr(inner, "bridges_global_scale", False):
        return

    def gather_qmm(*args, **kwargs):
        if kwargs.pop("global_scale", None) is not None:
            raise NotImplementedError("mlx 0.32.2's gather_qmm has no global_scale")
        return inner(*args, **kwargs)

    gather_qmm.bridges_global_scale = True
    mx.gather_qmm = gather_qmm


def versions():
    """Versions of the packages that decide the bits."""
    return {name: version(name) for name in _PACKAGES}


def backend():
    """`cpu`, `metal` or `cuda`: what the default device runs on."""
    if mx.default_device().type == mx.DeviceType.cpu:
        return "cpu"
    return "metal" if mx.metal.is_available() else "cuda"
