"""The fast path's small operations on a GPU: Liger's Triton kernels and cuDNN's attention."""

from typing import Any

import torch
import torch.nn.functional as F
from liger_kernel.ops.cross_entropy import cross_entropy_forward
from liger_kernel.ops.rms_norm import LigerRMSNormFunction
from liger_kernel.ops.rope import LigerRopeFunction
from liger_kernel.ops.swiglu import LigerSiLUMulFunction
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

# cuDNN's kernels use Hopper's own instructions; torch's FlashAttention 2 does not.
BACKENDS = [
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
]


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Return x [..., d] over its root mean square, in fp32, times weight [d]."""
    return LigerRMSNormFunction.apply(x, weight, eps)


def silu_mul(gate: Tensor, up: Tensor) -> Tensor:
    """Return silu(gate) · up; the backward pass overwrites both."""
    return LigerSiLUMulFunction.apply(gate, up)


def rope(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Rotate q and k, [packs, heads, tokens, head_dim], by cos and sin [1, tokens, head_dim]."""
    return LigerRopeFunction.apply(q, k, cos, sin)


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return causal attention; k and v may have fewer heads than q, shared in groups."""
    with sdpa_kernel(BACKENDS, set_priority=True):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)


class _TokenLosses(torch.autograd.Function):
    """Liger's kernel turns the logits into their gradient in place; rows may weigh differently."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        losses, _, _, _, gradient = cross_entropy_forward(
            logits,
            targets,
            weight=None,
            ignore_index=-100,
            lse_square_scale=0.0,
            label_smoothing=0.0,
            reduction="none",
            softcap=None,
            return_z_loss=False,
        )
        ctx.save_for_backward(gradient.detach())
        return losses.float()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return gradient.mul_(grad[:, None]), None


def token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Return −log p(target), fp32 [rows], for logits [rows, vocabulary], which are used up."""
    return _TokenLosses.apply(logits, targets)
