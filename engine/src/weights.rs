//! Model directories: configuration, checked safetensors headers, lazy weights.
