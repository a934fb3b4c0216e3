"""Check the AWQ weights: dequantised and with the smoothing undone, they are the merged model's.

A weight rounded to 4 bits is off by half a group scale, and a little more through fp16.
"""

import argparse
from pathlib import Path

import butler.interpreter  # noqa: F401

import torch

from butler.arguments import thread_count
from butler.checks import conclude
from butler.devices import DEVICES, resolve_device
from butler.errors import run_cli
from butler.lmdeploy.on_cpu import without_cuda
from butler.lmdeploy.packed_weights import QuantisedLinear, quantised_layers
from butler.lmdeploy.smoothed_errors import FP16_ROUNDING, HALF, Form, all_errors

# A code is at most 15 scales, and the weight and its scale are each rounded to fp16.
ALLOWED = HALF + 15 * 2 * FP16_ROUNDING
FORM = Form("awq", quantised_layers, QuantisedLinear.read, ALLOWED)


def main() -> None:
    """Check one AWQ folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--merged", type=Path, required=True)
    parser.add_argument("--awq", type=Path, required=True)
    parser.add_argument("--limit", type=float, required=True, help="group scales")
    parser.add_argument("--device", choices=DEVICES, default="cpu")
    parser.add_argument("--threads", type=thread_count, default=2)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    without_cuda()
    errors = all_errors(FORM, args.merged, args.awq, resolve_device(args.device))
    worst = errors[0]
    beyond, weights = sum(e.beyond for e in errors), sum(e.weights for e in errors)
    most = max(errors, key=lambda e: e.beyond)
    sentence = (
        f"the largest error of {len(errors)} quantised layers is {worst.largest:.3f} group scales, "
        f"in {worst.layer} (limit {args.limit}); {beyond:,} of {weights:,} weights are off by more "
        f"than {ALLOWED:.3f}, which rounding explains"
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
