"""Quantise the merged model to 4 bits with LMDeploy's auto_awq, calibrated on the training text."""

import argparse

from butler.calibration_text import add_arguments
from butler.errors import run_cli
from butler.hf_folder import read_config
from butler.lmdeploy import auto_awq
from butler.lmdeploy.lite import add_batch_size, quantise
from butler.model_folder import check_group_size
from butler.settings.serving_stage import AwqSettings


def main() -> None:
    """Quantise one model."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    parser.add_argument(
        "--settings",
        type=AwqSettings.from_argument,
        required=True,
        help="JSON of the config's section awq, or a file of it",
    )
    add_batch_size(parser)
    args = parser.parse_args()
    awq = args.settings
    check_group_size(read_config(args.model), awq.group_size, str(args.model))
    own = {"w_bits": awq.bits, "w_group_size": awq.group_size, "search_scale": awq.search_scale}
    quantise(args, auto_awq, "awq", own, f"quantising to {awq.bits} bits")


if __name__ == "__main__":
    run_cli(main)
