"""Check 8-bit weights against the merged model's: the smoothing undone, rounding is all.

A weight rounded to 8 bits is off by half a step between two codes, and a little more through fp16.
"""

import argparse
from pathlib import Path

import butler.interpreter  # noqa: F401

import torch

from butler.arguments import thread_count
from butler.checks import conclude
from butler.devices import DEVICES, resolve_device
from butler.errors import ButlerError, run_cli
from butler.fp8 import linears
from butler.hf_folder import ModelTensors, read_config
from butler.lmdeploy.on_cpu import without_cuda
from butler.lmdeploy.smoothed_errors import all_errors
from butler.manifest import check_unchanged
from butler.schemes import W8A8, WeightScheme
from butler.w8a8 import form_of, layers


def check_format(merged: Path, made: Path, scheme: WeightScheme) -> None:
    """Check what the engine goes by: config.json, and a scale beside each matrix of a layer.

    Raises:
        ButlerError: naming what is not as the engine takes it.
    """
    said = read_config(made).get("quantization_config", {})
    wanted = {"quant_method": scheme.format, "quant_dtype": scheme.codes}
    if {key: said.get(key) for key in wanted} != wanted:
        raise ButlerError(
            f"check {scheme.check}: {made}/config.json says quantization_config {said}, which is "
            f"not {wanted}; quantise again"
        )
    found = {f"{name}.weight" for name in layers(ModelTensors(made).names())}
    expected = set(linears(merged, ModelTensors(merged).names()))
    if odd := sorted(found ^ expected):
        raise ButlerError(
            f"check {scheme.check}: {odd[0]} has {'a' if odd[0] in found else 'no'} scale in "
            f"{made}; quantise again"
        )


def main() -> None:
    """Check one folder of 8-bit weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--merged", type=Path, required=True)
    parser.add_argument("--w8a8", type=Path, required=True)
    parser.add_argument("--scheme", choices=W8A8, required=True)
    parser.add_argument("--device", choices=DEVICES, default="cpu")
    parser.add_argument("--threads", type=thread_count, default=2)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    without_cuda()
    scheme = W8A8[args.scheme]
    checked, form = check_unchanged(args.w8a8), form_of(scheme)
    check_format(args.merged, args.w8a8, scheme)
    errors = all_errors(form, args.merged, args.w8a8, resolve_device(args.device))
    worst = errors[0]
    conclude(
        args.out,
        scheme.check,
        worst.largest <= form.allowed,
        f"the largest error of {len(errors)} layers in {scheme.codes} is {worst.largest:.3f} steps "
        f"between two codes, in {worst.layer} (limit {form.allowed:.3f}, half a step and what fp16 "
        "rounds); all other tensors are the merged model's",
        {"largest": worst.largest, "layer": worst.layer, "layers": len(errors)},
        {"largest": form.allowed},
        manifests=checked,
    )


if __name__ == "__main__":
    run_cli(main)
