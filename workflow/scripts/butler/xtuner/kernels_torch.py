"""The fast path's small operations in plain torch: for a CPU, and what Liger's must agree with."""

import torch
import torch.nn.functional as F
from torch import Tensor


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Return x [..., d] over its root mean square, in fp32, times weight [d]."""
    wide = x.float()
    scale = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    return weight * (wide * scale).to(x.dtype)


def silu_mul(gate: Tensor, up: Tensor) -> Tensor:
    """Return silu(gate) · up."""
    return F.silu(gate) * up


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


def rope(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Rotate q and k, [packs, heads, tokens, head_dim], by cos and sin [1, tokens, head_dim]."""
    return _rotate(q, cos[:, None], sin[:, None]), _rotate(k, cos[:, None], sin[:, None])


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return causal attention; k and v may have fewer heads than q, shared in groups."""
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)


def token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Return −log p(target), fp32 [rows], for logits [rows, vocabulary]."""
    return F.cross_entropy(logits.float(), targets, reduction="none")
