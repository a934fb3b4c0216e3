"""Write down the configuration of a run."""

import argparse
import json
from pathlib import Path

from butler.errors import ButlerError, run_cli
from butler.files import atomic_write_text


def main() -> None:
    """Write the configuration as JSON, which is YAML too."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, help="the whole configuration as JSON")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    try:
        config = json.loads(args.config)
    except ValueError as error:
        raise ButlerError(f"--config is no JSON: {error}") from error
    atomic_write_text(args.out, json.dumps(config, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    run_cli(main)
