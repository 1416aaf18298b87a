"""The Llama architecture of MiniCPM5 in plain PyTorch, and its Hugging Face file layout."""

import json
import math
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class Shape:
    vocab_size: int = 1536
    hidden_size: int = 256
    intermediate_size: int = 512
    num_hidden_layers: int = 6
    num_attention_heads: int = 8
    num_key_value_heads: int = 2
    head_dim: int = 64
    rope_theta: float = 5e6
    rms_norm_eps: float = 1e-6


class Norm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(size)), eps

    def forward(self, x):
        return F.rms_norm(x.float(), self.weight.shape, self.weight.float(), self.eps).to(x.dtype)


def rotate(x, cos, sin):
    """Half-split rotary embedding; x is [B, heads, T, head_dim]."""
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1).to(x.dtype)


class Attention(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.s = s
        self.q_proj = nn.Linear(s.hidden_size, s.num_attention_heads * s.head_dim, bias=False)
        self.k_proj = nn.Linear(s.hidden_size, s.num_key_value_heads * s.head_dim, bias=False)
        self.v_proj = nn.Linear(s.hidden_size, s.num_key_value_heads * s.head_dim, bias=False)
        self.o_proj = nn.Linear(s.num_attention_heads * s.head_dim, s.hidden_size, bias=False)

    def forward(self, x, cos, sin, mask):
        batch, length, _ = x.shape

        def heads(y):
            return y.view(batch, length, -1, self.s.head_dim).transpose(1, 2)

        q, k, v = rotate(heads(self.q_proj(x)), cos, sin), rotate(heads(self.k_proj(x)), cos, sin), heads(self.v_proj(x))
        groups = self.s.num_attention_heads // self.s.num_key_value_heads
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        return self.o_proj(y.transpose(1, 2).reshape(batch, length, -1))


class MLP(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.gate_proj = nn.Linear(s.hidden_size, s.intermediate_size, bias=False)
        self.up_proj = nn.Linear(s.hidden_size, s.intermediate_size, bias=False)
        self.down_proj = nn.Linear(s.intermediate_size, s.hidden_size, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.input_layernorm, self.self_attn = Norm(s.hidden_size, s.rms_norm_eps), Attention(s)
        self.post_attention_layernorm, self.mlp = Norm(s.hidden_size, s.rms_norm_eps), MLP(s)

    def forward(self, x, cos, sin, mask):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask)
        return x + self.mlp(self.post_attention_layernorm(x))


class Body(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.embed_tokens = nn.Embedding(s.vocab_size, s.hidden_size)
        self.layers = nn.ModuleList(Layer(s) for _ in range(s.num_hidden_layers))
        self.norm = Norm(s.hidden_size, s.rms_norm_eps)


class Llama(nn.Module):
    """Parameter names are Hugging Face's. ``mask`` is a bool [B, 1, T, T] or None for plain causal."""

    def __init__(self, shape=None):
        super().__init__()
        self.shape = shape or Shape()
        self.model = Body(self.shape)
        self.lm_head = nn.Linear(self.shape.hidden_size, self.shape.vocab_size, bias=False)
        scale = 1 / math.sqrt(2 * self.shape.num_hidden_layers)
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                nn.init.normal_(weight, std=0.03 * (scale if name.endswith(("o_proj.weight", "down_proj.weight")) else 1))

    def forward(self, ids, mask=None):
        s = self.shape
        inverse = s.rope_theta ** (-torch.arange(0, s.head_dim, 2, device=ids.device, dtype=torch.float32) / s.head_dim)
        angles = torch.arange(ids.shape[1], device=ids.device, dtype=torch.float32)[:, None] * inverse
        x, cos, sin = self.model.embed_tokens(ids), angles.cos(), angles.sin()
        for layer in self.model.layers:
            x = layer(x, cos, sin, mask)
        return self.lm_head(self.model.norm(x))

    def config(self, max_positions=4096):
        """The config.json of the family: MiniCPM5 is a plain LlamaForCausalLM."""
        ids = {"bos_token_id": 0, "eos_token_id": [1, 1531], "pad_token_id": 1}
        fixed = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "attention_bias": False, "attention_dropout": 0.0, "mlp_bias": False,
                 "max_position_embeddings": max_positions, "initializer_range": 0.03, "rope_scaling": None, "tie_word_embeddings": False, "torch_dtype": "bfloat16", "use_cache": True}
        return dict(sorted({**fixed, **ids, **asdict(self.shape)}.items()))


def save(model, folder):
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: w.detach().to("cpu", torch.bfloat16).contiguous() for name, w in model.state_dict().items()}
    save_file(weights, str(folder / "model.safetensors"), metadata={"format": "mlx"})
    (folder / "config.json").write_text(json.dumps(model.config(), indent=2) + "\n")
    generation = {"bos_token_id": 0, "do_sample": False, "eos_token_id": [1, 1531], "pad_token_id": 1}
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")
