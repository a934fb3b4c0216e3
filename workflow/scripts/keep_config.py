"""Write down the configuration of a run."""

import argparse
import json
from pathlib import Path

import butler.interpreter  # noqa: F401

import yaml

from butler.errors import ButlerError, run_cli
from butler.files import atomic_write_text


def main() -> None:
    """Write the configuration as YAML, to which JSON's 2e-05 would be a text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, help="the whole configuration as JSON")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    try:
        config = json.loads(args.config)
    except ValueError as error:
        raise ButlerError(f"--config is no JSON: {error}") from error
    atomic_write_text(args.out, yaml.safe_dump(config, allow_unicode=True, sort_keys=False))


if __name__ == "__main__":
    run_cli(main)
