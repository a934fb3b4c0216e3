"""Check the AWQ weights: dequantised and with the smoothing undone, they are the merged model's.

A weight rounded to 4 bits is off by half a group scale, and a little more through fp16.
"""

import argparse
import math
import time
from pathlib import Path

import butler.interpreter  # noqa: F401

import torch

from butler.checks import conclude
from butler.devices import resolve_device
from butler.errors import ButlerError, run_cli
from butler.hf_folder import ModelTensors
from butler.lmdeploy.awq_errors import (
    FP16_ROUNDING,
    HALF,
    LayerError,
    check_plain_tensors,
    layer_errors,
)
from butler.lmdeploy.on_cpu import without_cuda
from butler.lmdeploy.packed_weights import quantised_layers
from butler.progress import counted, progress


def measure(merged: Path, awq: Path, device: str) -> list[LayerError]:
    """Return the errors of every quantised layer, saying how far it is.

    Raises:
        ButlerError: if there is none, or a tensor that is not quantised differs.
    """
    total, started = len(quantised_layers(ModelTensors(awq).names())), time.monotonic()
    errors: list[LayerError] = []
    with progress("check awq", lambda: counted(len(errors), total, "layers", started)):
        check_plain_tensors(merged, awq)
        for error in layer_errors(merged, awq, device):
            errors.append(error)
    if not errors:
        raise ButlerError(f"{awq} holds no quantised layer of {merged}")
    return errors


def main() -> None:
    """Check one AWQ folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--merged", type=Path, required=True)
    parser.add_argument("--awq", type=Path, required=True)
    parser.add_argument("--limit", type=float, required=True, help="group scales")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    without_cuda()
    errors = measure(args.merged, args.awq, resolve_device(args.device))
    # NaN compares false with everything: it has to count as the worst.
    worst = max(errors, key=lambda e: e.largest if math.isfinite(e.largest) else math.inf)
    beyond, weights = sum(e.beyond for e in errors), sum(e.weights for e in errors)
    allowed = HALF + FP16_ROUNDING
    most = max(errors, key=lambda e: e.beyond)
    sentence = (
        f"the largest error of {len(errors)} quantised layers is {worst.largest:.3f} group scales, "
        f"in {worst.layer} (limit {args.limit}); {beyond:,} of {weights:,} weights are off by more "
        f"than {allowed:.3f}, which rounding explains"
    )
    if beyond:
        sentence += f", {most.beyond:,} of them in {most.layer}"
    conclude(
        args.out,
        "awq",
        worst.largest <= args.limit,
        sentence,
        {
            "largest": worst.largest,
            "layer": worst.layer,
            "layers": len(errors),
            "beyond_rounding": beyond,
            "weights": weights,
            "layers_beyond_rounding": {e.layer: e.beyond for e in errors if e.beyond},
        },
        {"largest": args.limit},
    )


if __name__ == "__main__":
    run_cli(main)
