"""LMDeploy's `smooth_quant`: weights in int8 or FP8 with a scale for each row, in safetensors.

The inputs of each linear layer are quantised by the engine, token by token; what makes that cheap
is done here: norms are divided by factors from the calibration, and columns multiplied by them
(Xiao et al., SmoothQuant, 2023). Codes and scales are LMDeploy's own.
Run as a module by quantise_w8a8.py, as lite.py says.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

from butler.lmdeploy.lite import call


def zeros_too(quantise: Callable[..., Any]) -> Callable[..., Any]:
    """Return `per_channel_quant` of LMDeploy for rows of zeros too, which it divides by 0."""

    def quantised(weight: Any, dtype: Any) -> Any:
        import torch

        empty = ~weight.any(1, keepdim=True)
        codes, scales = quantise(weight + empty.to(weight.dtype), dtype)
        return codes.view(torch.int8).masked_fill(empty, 0).view(dtype), scales

    return quantised


def on_host(make: Callable[..., Any]) -> Callable[..., Any]:
    """Return `QLinear.from_float` of LMDeploy, the layer on the host and its bias in fp16."""

    def made(linear: Any, **options: Any) -> Any:
        layer = make(linear, **options)
        if layer.bias is not None:
            layer.bias = layer.bias.half()
        return layer.cpu()

    return made


def main() -> None:
    """Quantise one model."""
    from lmdeploy.lite.apis import smooth_quant
    from lmdeploy.pytorch.models import q_modules

    q_modules.per_channel_quant = zeros_too(q_modules.per_channel_quant)
    q_modules.QLinear.from_float = staticmethod(on_host(q_modules.QLinear.from_float))
    call(smooth_quant.smooth_quant, json.loads(sys.argv[1]))


if __name__ == "__main__":
    main()
