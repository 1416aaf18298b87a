"""Small adapters for the demo model, made of random numbers."""

import json

import numpy as np
from safetensors.numpy import save_file

_RANK = 4
_KEYS = ("self_attn.q_proj", "self_attn.v_proj")


def make(model, folder, name, seed):
    """An adapter folder in mlx-lm's form; loud enough to change answers."""
    config = json.loads((model / "config.json").read_text())
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    width = config.get("head_dim", hidden // heads)
    out = {"self_attn.q_proj": heads * width, "self_attn.v_proj": config["num_key_value_heads"] * width}
    rng = np.random.default_rng(seed)
    layers = config["num_hidden_layers"]
    tensors = {}
    for layer in range(layers):
        for key in _KEYS:
            path = f"model.layers.{layer}.{key}"
            tensors[f"{path}.lora_a"] = rng.normal(0, 0.2, (hidden, _RANK)).astype(np.float32)
            tensors[f"{path}.lora_b"] = rng.normal(0, 0.5, (_RANK, out[key])).astype(np.float32)
    home = folder / name
    home.mkdir(parents=True)
    save_file(tensors, home / "adapters.safetensors")
    (home / "adapter_config.json").write_text(json.dumps(
        {"fine_tune_type": "lora", "num_layers": layers, "lora_parameters": {"rank": _RANK, "scale": 1.0, "dropout": 0.0, "keys": list(_KEYS)}}))
    return home
