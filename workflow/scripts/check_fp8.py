"""Check FP8 weights against the merged model's: each is off by no more than rounding leaves."""

import argparse
import time
from pathlib import Path

import butler.interpreter  # noqa: F401

import torch

from butler.arguments import thread_count
from butler.checks import conclude, or_infinite
from butler.devices import DEVICES, resolve_device
from butler.errors import run_cli
from butler.fp8 import errors, linears
from butler.hf_folder import ModelTensors
from butler.manifest import check_unchanged
from butler.progress import counted, progress

LIMIT = 1.001  # of what rounding leaves; a code times its scale is rounded once more, to fp32


def main() -> None:
    """Check one FP8 folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--merged", type=Path, required=True)
    parser.add_argument("--fp8", type=Path, required=True)
    parser.add_argument("--device", choices=DEVICES, default="cpu")
    parser.add_argument("--threads", type=thread_count, default=2)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    checked = check_unchanged(args.fp8)
    total = len(linears(args.merged, ModelTensors(args.merged).names()))
    found: dict[str, float] = {}
    started = time.monotonic()
    with progress("check fp8", lambda: counted(len(found), total, "matrices", started)):
        for name, error in errors(args.merged, args.fp8, resolve_device(args.device)):
            found[name] = error
    worst = max(found, key=lambda name: or_infinite(found[name]))
    conclude(
        args.out,
        "fp8",
        found[worst] <= LIMIT,
        f"the largest error of {len(found)} matrices in FP8 is {found[worst]:.4f} times what "
        f"rounding to e4m3 leaves, in {worst} (limit {LIMIT}); all other tensors are the merged "
        "model's",
        {"largest": found[worst], "tensor": worst, "matrices": len(found)},
        {"largest": LIMIT},
        manifests=checked,
    )


if __name__ == "__main__":
    run_cli(main)
