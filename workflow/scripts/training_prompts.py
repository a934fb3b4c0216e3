"""Write down the tokens that XTuner trains on for the first records, by XTuner's own code."""

import argparse
import json
from pathlib import Path

from butler.errors import ButlerError, run_cli
from butler.files import atomic_open
from butler.xtuner.samples import encoded


def main() -> None:
    """Write one JSON line a record: conversation, input_ids, labels."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="XTuner's, rendered")
    parser.add_argument("--data", type=Path, required=True, help="train.jsonl")
    parser.add_argument("--records", type=int, default=20)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    lines = args.data.read_text(encoding="utf-8").splitlines()[: args.records]
    if not lines:
        raise ButlerError(f"{args.data} holds no record")
    with atomic_open(args.out) as stream:
        for record, tokens in encoded(args.config, lines):
            stream.write(json.dumps(record | tokens, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    run_cli(main)
