"""Makes mlx-lm 0.32.2 run on mlx 0.32.2, and says what is running."""

import platform
from importlib.metadata import version

import mlx.core as mx

_PACKAGES = ("mlx", "mlx-lm", "mlx-optiq", "transformers", "tokenizers", "jinja2", "numpy")


def prepare():
    """Bridges the one call that mlx-lm makes and mlx lacks; safe to call again."""
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
    """Package versions that decide the bits, and where they ran."""
    found = {name: version(name) for name in _PACKAGES}
    found["python"] = platform.python_version()
    return found


def backend():
    """`cpu`, `metal` or `cuda`: what the default device runs on."""
    if mx.default_device().type == mx.DeviceType.cpu:
        return "cpu"
    return "metal" if mx.metal.is_available() else "cuda"
