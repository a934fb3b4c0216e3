"""Quantise the merged model to 8 bits with LMDeploy's smooth_quant, on the training text."""

import argparse

from butler.calibration_text import add_arguments
from butler.errors import run_cli
from butler.lmdeploy import smooth_quant
from butler.lmdeploy.lite import add_batch_size, quantise
from butler.schemes import W8A8


def main() -> None:
    """Quantise one model."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    codes = [one.codes for one in W8A8.values()]
    parser.add_argument("--dtype", choices=codes, required=True, help="of weights and inputs")
    add_batch_size(parser)
    args = parser.parse_args()
    own = {"quant_dtype": args.dtype}
    quantise(args, smooth_quant, "smooth_quant", own, f"quantising to {args.dtype}")


if __name__ == "__main__":
    run_cli(main)
