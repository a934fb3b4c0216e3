"""LMDeploy's `auto_awq`, its packing of 4-bit weights done for a whole matrix at a time.

LMDeploy 0.7.3 packs column by column, some ten million small GPU operations for a 7B, which take
longer than all the rest; the same bits come out of 16 operations a matrix. What it would pickle,
in fp32 after a CPU's calibration, is written in fp16 as safetensors, which are read tensor by
tensor. On a CPU its search for the best smoothing is given copies of the weights to try it on. All
else is its own.
Run as a module by quantise_awq.py, as lite.py says.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

from butler.lmdeploy.lite import call


def packed_linear(cls: Any, linear: Any, quantizer: Any, qparams: Any) -> Any:
    """Return LMDeploy's quantised layer for `linear`, whose weights are whole numbers already.

    Takes the place of `WeightOnlyQLinear.from_linear` as `quant_weights` calls it.
    """
    from butler.lmdeploy.packed_weights import pack

    bits, group = quantizer.bits, quantizer.group_size
    rows, columns = linear.in_features, linear.out_features
    layer = cls(rows, columns, linear.bias is not None, bits, quantizer.symmetry, group)
    layer.bias = linear.bias
    layer.qweight = pack(linear.weight.t().contiguous())
    layer.scales = qparams.scales.squeeze(-1).t().contiguous().half()
    if qparams.zero_points is not None:
        layer.qzeros = pack(qparams.zero_points.squeeze(-1).t().contiguous())
    return layer.cpu()


def on_copies(search: Callable[..., None]) -> Callable[..., None]:
    """Return LMDeploy's search for the smoothing of a layer, for weights that are on a CPU.

    Before it tries any it lays the weights aside with `.cpu()`, which copies nothing there: each
    try would begin with what the one before left, and the last would stay in the model.
    """
    import torch

    state_dict = torch.nn.Module.state_dict

    def copied(module: Any, *arguments: Any, **options: Any) -> dict[str, Any]:
        held = state_dict(module, *arguments, **options)
        return {name: value.clone() for name, value in held.items()}

    def searched(*arguments: Any) -> None:
        torch.nn.Module.state_dict = copied
        try:
            search(*arguments)
        finally:
            torch.nn.Module.state_dict = state_dict

    return searched


def main() -> None:
    """Quantise one model."""
    from lmdeploy.lite.apis import auto_awq
    from lmdeploy.lite.quantization import calibration
    from lmdeploy.lite.quantization.modules import WeightOnlyQLinear

    arguments = json.loads(sys.argv[1])
    WeightOnlyQLinear.from_linear = classmethod(packed_linear)
    if arguments["device"] == "cpu":
        calibration.auto_scale_block = on_copies(calibration.auto_scale_block)
    call(auto_awq.auto_awq, arguments)


if __name__ == "__main__":
    main()
