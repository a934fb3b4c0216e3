"""LMDeploy's `auto_awq`, its packing of 4-bit weights done for a whole matrix at a time.

LMDeploy 0.7.3 packs column by column, some ten million small GPU operations for a 7B, which take
longer than all the rest; the same bits come out of 16 operations a matrix. What it would pickle,
in fp32 after a CPU's calibration, is written in fp16 as safetensors, which are read tensor by
tensor. All else is its own.
Run as a module by quantise_awq.py, as lite.py says.
"""

import json
import sys
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


def main() -> None:
    """Quantise one model."""
    from lmdeploy.lite.apis import auto_awq
    from lmdeploy.lite.quantization.modules import WeightOnlyQLinear

    WeightOnlyQLinear.from_linear = classmethod(packed_linear)
    call(auto_awq.auto_awq, json.loads(sys.argv[1]))


if __name__ == "__main__":
    main()
