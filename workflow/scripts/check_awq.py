"""Check the AWQ weights: dequantised and with the smoothing undone, they are the merged model's.

A weight rounded to 4 bits is off by half a group scale, and a little more through fp16 scales.
"""

import argparse
import math
from pathlib import Path

from butler.checks import conclude
from butler.errors import ButlerError, run_cli
from butler.lmdeploy.awq_weights import check_plain_tensors, weight_errors
from butler.lmdeploy.on_cpu import without_cuda


def main() -> None:
    """Check one AWQ folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--merged", type=Path, required=True)
    parser.add_argument("--awq", type=Path, required=True)
    parser.add_argument("--limit", type=float, required=True, help="group scales")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    without_cuda()
    check_plain_tensors(args.merged, args.awq)
    errors = list(weight_errors(args.merged, args.awq))
    if not errors:
        raise ButlerError(f"{args.awq} holds no quantised layer of {args.merged}")
    # NaN compares false with everything: it has to count as the worst.
    worst = max(errors, key=lambda e: e.in_scales if math.isfinite(e.in_scales) else math.inf)
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
