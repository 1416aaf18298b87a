"""Raw bits of MLX arrays as NumPy arrays, and their digests."""

import hashlib

import mlx.core as mx
import numpy as np

_NAMES = {
    mx.bfloat16: "BF16", mx.float16: "F16", mx.float32: "F32", mx.uint32: "U32", mx.int32: "I32",
    mx.uint8: "U8", mx.uint16: "U16", mx.int64: "I64", mx.bool_: "BOOL",
}


def dtype_name(array):
    """The safetensors name of an array's dtype."""
    return _NAMES[array.dtype]


def to_numpy(array):
    """The array's bits in row-major order, as unsigned integers of the same width."""
    array = mx.contiguous(array)
    if array.dtype == mx.bfloat16:
        array = array.view(mx.uint16)
    values = np.ascontiguousarray(np.array(array))
    return values.view(f"u{values.dtype.itemsize}")


def digest(array):
    """sha256 of the row-major little-endian bytes."""
    return hashlib.sha256(to_numpy(array).tobytes()).hexdigest()
