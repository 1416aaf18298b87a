"""The reference side of mlx-verbatim: runs mlx-lm as it is and hands raw bits to Rust.

Every function here is called by `oracle` (Rust, through pyo3) with JSON or NumPy arguments and returns
JSON-able values or NumPy arrays. bf16 crosses as uint16, since NumPy has no such type.
"""
