"""InternLM2 in its plainest form, to pretrain the tiny base and to check what was exported.

A LLaMA block with q, k and v in one matrix `wqkv`, grouped per kv head (the group's query heads,
then its key, then its value), and w1/w2/w3 for gate, down and up. Tensor names and layout are those
of InternLM2's checkpoints.
"""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from butler.demo.tiny_tokenizer import BOS, EOS, IM_END, MODEL_MAX_LENGTH
from butler.files import atomic_write_json


@dataclass(frozen=True)
class TinyConfig:
    """Sizes. head_dim is 128 because LMDeploy 0.7.3 takes no other for InternLM2; every input
    width is a multiple of 128, the group size of the W4 stage."""

    vocab_size: int
    hidden_size: int = 256
    intermediate_size: int = 768
    num_hidden_layers: int = 8
    num_attention_heads: int = 2
    num_key_value_heads: int = 1
    max_position_embeddings: int = MODEL_MAX_LENGTH
    rope_theta: float = 1_000_000.0
    rms_norm_eps: float = 1e-6

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.num_attention_heads


class RMSNorm(nn.Module):
    """x / sqrt(mean(x²) + eps) · weight, over the last axis, in fp32."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised x, same shape and dtype."""
        wide = x.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight.to(x.dtype) * wide.to(x.dtype)


def rotary(length: int, config: TinyConfig, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return cos and sin [length, head_dim] of RoPE (Su et al. 2021), halves form."""
    half = torch.arange(0, config.head_dim, 2, device=device, dtype=torch.float32)
    frequency = config.rope_theta ** (-half / config.head_dim)
    angle = torch.outer(torch.arange(length, device=device, dtype=torch.float32), frequency)
    angle = torch.cat((angle, angle), dim=-1)
    return angle.cos(), angle.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply RoPE to x [batch, heads, length, head_dim]."""
    left, right = x.chunk(2, dim=-1)
    turned = torch.cat((-right, left), dim=-1)
    return (x * cos + turned * sin).to(x.dtype)


class Attention(nn.Module):
    """Causal grouped-query attention with RoPE."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.head_dim = config.head_dim
        rows = (self.heads + 2 * self.kv_heads) * self.head_dim
        self.wqkv = nn.Linear(config.hidden_size, rows, bias=False)
        self.wo = nn.Linear(self.heads * self.head_dim, config.hidden_size, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Return attention's output for x [batch, length, hidden], same shape."""
        batch, length, _ = x.shape
        group = self.heads // self.kv_heads
        qkv = self.wqkv(x).view(batch, length, self.kv_heads, group + 2, self.head_dim)
        q = qkv[..., :group, :].reshape(batch, length, self.heads, self.head_dim).transpose(1, 2)
        k, v = qkv[..., -2, :].transpose(1, 2), qkv[..., -1, :].transpose(1, 2)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        k, v = (part.repeat_interleave(group, dim=1) for part in (k, v))
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.wo(out.transpose(1, 2).reshape(batch, length, -1))


class FeedForward(nn.Module):
    """w2(silu(w1 x) · w3 x)."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.w1 = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.w3 = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.w2 = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the gated feed-forward of x, same shape."""
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class Layer(nn.Module):
    """Pre-norm transformer layer."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.feed_forward = FeedForward(config)
        self.attention_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.ffn_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Return the layer's output for x [batch, length, hidden], same shape."""
        x = x + self.attention(self.attention_norm(x), cos, sin)
        return x + self.feed_forward(self.ffn_norm(x))


class TinyInternLM2(nn.Module):
    """The language model; `forward` gives logits."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.config = config
        self.model = nn.Module()
        self.model.tok_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.model.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.model.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.output = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                deep = name.endswith(("wo.weight", "w2.weight"))
                std = 0.02 / (2 * config.num_hidden_layers) ** 0.5 if deep else 0.02
                nn.init.normal_(weight, std=std)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits [batch, length, vocab] for tokens [batch, length]."""
        cos, sin = rotary(tokens.shape[1], self.config, tokens.device)
        x = self.model.tok_embeddings(tokens)
        for layer in self.model.layers:
            x = layer(x, cos, sin)
        return self.output(self.model.norm(x))


def internlm2_config(**sizes: float) -> dict[str, Any]:
    """Return config.json: InternLM2's, with the classes that the `base` rule puts beside it."""
    return {
        "architectures": ["InternLM2ForCausalLM"],
        "auto_map": {
            "AutoConfig": "configuration_internlm2.InternLM2Config",
            "AutoModel": "modeling_internlm2.InternLM2Model",
            "AutoModelForCausalLM": "modeling_internlm2.InternLM2ForCausalLM",
        },
        "model_type": "internlm2",
        "attn_implementation": "eager",
        "bias": False,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "pad_token_id": EOS,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "pretraining_tp": 1,
        "rope_scaling": None,
        "tie_word_embeddings": False,
        "torch_dtype": "float16",
        "use_cache": True,
        **sizes,
    }


def hf_config(config: TinyConfig) -> dict[str, Any]:
    """Return config.json of the tiny base."""
    return internlm2_config(**asdict(config) | {"rope_theta": int(config.rope_theta)})


def save_model(model: TinyInternLM2, folder: Path) -> None:
    """Write model.safetensors (fp16), config.json and generation_config.json to `folder`."""
    from safetensors.torch import save_file

    tensors = {
        name: weight.detach().to("cpu", torch.float16).contiguous()
        for name, weight in model.state_dict().items()
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    atomic_write_json(folder / "config.json", hf_config(model.config))
    generation = {"bos_token_id": BOS, "eos_token_id": [EOS, IM_END], "pad_token_id": EOS}
    atomic_write_json(folder / "generation_config.json", generation)


def load_model(folder: Path) -> TinyInternLM2:
    """Return the model saved in `folder`, in fp32 and in evaluation mode."""
    from safetensors.torch import load_file

    saved = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    model = TinyInternLM2(TinyConfig(**{f.name: saved[f.name] for f in fields(TinyConfig)}))
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.float().eval()
