"""LMDeploy's `auto_awq`, its packing of 4-bit weights done for a whole matrix at a time.

LMDeploy 0.7.3 packs column by column, some ten million small GPU operations for a 7B, which take
longer than all the rest; the same bits come out of 16 operations a matrix. What it would pickle,
in fp32 after a CPU's calibration, is written in fp16 as safetensors, which are read tensor by
tensor. All else is its own.
Run as a module by quantise_awq.py, with the arguments of auto_awq as one JSON object, and STAYS.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

STAYS = "stays_on_device"  # beside auto_awq's arguments: see keep_on


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
    layer.scales = qparams.scales.squeeze(-1).t().contiguous()
    if qparams.zero_points is not None:
        layer.qzeros = pack(qparams.zero_points.squeeze(-1).t().contiguous())
    return layer.cpu()


def keep_on(device: str) -> None:
    """Let LMDeploy load a model straight to a device and leave it there.

    Its own way holds the whole model in the host's memory, and moves each layer to the GPU and back
    to be calibrated, smoothed and quantised. What is packed goes to the host either way.
    """
    import torch
    from lmdeploy.lite.apis import calibrate

    load, move = calibrate.load_hf_from_pretrained, torch.nn.Module.to

    def loaded(path: str, **options: Any) -> Any:
        return load(path, device_map={"": device}, **options)

    def moved(module: Any, *target: Any, **options: Any) -> Any:
        return module if target == ("cpu",) else move(module, *target, **options)

    calibrate.load_hf_from_pretrained = loaded
    torch.nn.Module.to = moved


def in_fp16(save: Callable[..., None]) -> Callable[..., None]:
    """Return transformers' own way to save a model, for fp16 safetensors whatever is asked for."""

    def saved(model: Any, folder: str, **options: Any) -> None:
        save(model.half(), folder, **options | {"safe_serialization": True})

    return saved


def main() -> None:
    """Quantise one model."""
    import torch
    from lmdeploy.lite.apis import auto_awq
    from lmdeploy.lite.quantization.modules import WeightOnlyQLinear
    from transformers import PreTrainedModel

    from butler.lmdeploy.lite_maps import complete_maps

    complete_maps()
    WeightOnlyQLinear.from_linear = classmethod(packed_linear)
    PreTrainedModel.save_pretrained = in_fp16(PreTrainedModel.save_pretrained)
    arguments = json.loads(sys.argv[1])
    if arguments.pop(STAYS):
        keep_on(arguments["device"])
    start = time.perf_counter()
    auto_awq.auto_awq(**arguments)
    print(f"auto_awq took {time.perf_counter() - start:.1f} s")
    if torch.cuda.is_available():
        print(f"peak of torch's GPU memory: {torch.cuda.max_memory_reserved() / 2**20:,.0f} MiB")


if __name__ == "__main__":
    main()
