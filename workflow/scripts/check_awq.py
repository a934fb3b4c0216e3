"""Check the AWQ weights: dequantised and with the smoothing undone, they are the merged model's.

A weight rounded to 4 bits is off by half a group scale, and a little more through fp16 scales.
"""

import argparse
from pathlib import Path

from butler.awq_weights import weight_errors
from butler.checks import conclude
from butler.errors import run_cli
from butler.lmdeploy_cpu import without_cuda


def main() -> None:
    """Check one AWQ folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--merged", type=Path, required=True)
    parser.add_argument("--awq", type=Path, required=True)
    parser.add_argument("--limit", type=float, required=True, help="group scales")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    without_cuda()
    errors = list(weight_errors(args.merged, args.awq))
    worst = max(errors, key=lambda error: error.in_scales)
    conclude(
        args.out,
        "awq",
        worst.in_scales <= args.limit,
        f"the largest error of {len(errors)} quantised layers is {worst.in_scales:.3f} group "
        f"scales, in {worst.layer} (limit {args.limit})",
        {"largest": worst.in_scales, "layer": worst.layer, "layers": len(errors)},
        {"largest": args.limit},
    )


if __name__ == "__main__":
    run_cli(main)
