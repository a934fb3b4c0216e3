"""A frozen linear layer and its LoRA pair as one autograd function.

y = [x, scaling · dropout(x)·Aᵀ] · [W, B]ᵀ is one product, so the sum is rounded once. Rounded to
bf16 by itself, x·Wᵀ would swallow a LoRA product of less than half its last bit: while B is small,
nine tenths of it (benchmarks/training.py, `--what rounding`); stock XTuner escapes that with fp32
hidden states. Of the dropout only the mask is kept, as bytes; the frozen weight is dequantised
twice per micro batch and never kept.
"""

from typing import Any

import torch
import torch.nn.functional as F
from bitsandbytes.functional import dequantize_4bit
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

ADAPTER = "default"


def dense_weight(layer: nn.Linear, dtype: torch.dtype) -> Tensor:
    """Return a frozen layer's weight as [out, in] in `dtype`, dequantised if it is NF4."""
    state = getattr(layer.weight, "quant_state", None)
    if state is None:
        return layer.weight.detach().to(dtype)
    return dequantize_4bit(layer.weight.data, state).to(dtype)


class LoraLinear(torch.autograd.Function):
    """y = x·Wᵀ + bias + scaling · dropout(x)·Aᵀ·Bᵀ, with gradients for x, A and B."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, a: Tensor, b: Tensor, layer: nn.Linear, scaling: float, dropout: float
    ) -> Tensor:
        """Return [..., out] for x [..., in], A [r, in], B [out, r]; W and bias stay frozen."""
        rows = x.reshape(-1, x.shape[-1])
        dropped, mask = torch.native_dropout(rows, dropout, True) if dropout else (rows, None)
        inner = (dropped @ a.to(x.dtype).t()).mul_(scaling)
        weight = torch.cat((dense_weight(layer, x.dtype), b.to(x.dtype)), dim=1)
        bias = None if layer.bias is None else layer.bias.to(x.dtype)
        y = F.linear(torch.cat((rows, inner), dim=1), weight, bias)
        ctx.save_for_backward(rows, mask, inner, a, b)
        ctx.layer, ctx.scaling, ctx.keep, ctx.shape = layer, scaling, 1 - dropout, x.shape
        return y.view(*x.shape[:-1], y.shape[-1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, A and B; those of A and B in the adapter's own precision."""
        rows, mask, inner, a, b = ctx.saved_tensors
        dy = grad.reshape(-1, grad.shape[-1])
        d_inner = (dy @ b.to(dy.dtype)).mul_(ctx.scaling)
        d_b = (dy.t() @ inner).to(b.dtype)
        d_a = (d_inner.t() @ _drop(rows, mask, ctx.keep)).to(a.dtype)
        if not ctx.needs_input_grad[0]:
            return None, d_a, d_b, None, None, None
        dx = _drop(d_inner @ a.to(dy.dtype), mask, ctx.keep)
        dx.addmm_(dy, dense_weight(ctx.layer, dy.dtype))
        return dx.view(ctx.shape), d_a, d_b, None, None, None


def _drop(values: Tensor, mask: Tensor | None, keep: float) -> Tensor:
    """Apply a kept dropout mask; forward and backward are the same product."""
    if mask is None:
        return values
    return torch.ops.aten.native_dropout_backward(values, mask, 1 / keep)


def fused_forward(self: LoraLayer, x: Tensor) -> Tensor:
    """Stand in for the forward of peft's LoRA layer around a linear one."""
    dropout = getattr(self.lora_dropout[ADAPTER], "p", 0.0) if self.training else 0.0
    a, b = self.lora_A[ADAPTER].weight, self.lora_B[ADAPTER].weight
    return LoraLinear.apply(x, a, b, self.get_base_layer(), self.scaling[ADAPTER], dropout)


def is_fusable(module: nn.Module) -> bool:
    """Say whether `module` is a plain LoRA pair on a linear layer: no DoRA, no bias of its own."""
    return (
        isinstance(module, LoraLayer)
        and isinstance(module.get_base_layer(), nn.Linear)
        and list(module.lora_A) == [ADAPTER]
        and ADAPTER not in module.lora_variant
        and not module.lora_bias[ADAPTER]
    )
