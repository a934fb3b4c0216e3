"""Count the tokens of training samples, by XTuner's own code, before any training.

Stops the run if XTuner would cut a larger share of them than --limit. The first --records are
measured: the corpus stage has put its records in an order drawn by seed.
"""

import argparse
import json
from itertools import islice
from pathlib import Path
from typing import Any

import butler.interpreter  # noqa: F401

import numpy as np

from butler.errors import ButlerError, run_cli
from butler.files import atomic_write_text
from butler.histograms import histogram
from butler.xtuner.samples import encoded

UNCUT = 1 << 30


def summary(lengths: list[int], trained: int, max_length: int) -> dict[str, Any]:
    """Return what the report shows of samples of these lengths in tokens.

    Args:
        lengths: of the samples before any cut.
        trained: tokens with a label, those that count in the loss.
        max_length: tokens that XTuner leaves of a sample.

    Returns:
        `records`, `median`, `p95`, `longest`, `cut` (samples longer than max_length),
        `trained_share` (tokens with a label, of all), and `tokens`: samples by the shortest
        length of their bin.
    """
    return {
        "records": len(lengths),
        "median": float(np.median(lengths)),
        "p95": float(np.percentile(lengths, 95)),
        "longest": max(lengths),
        "max_length": max_length,
        "cut": sum(length > max_length for length in lengths),
        "trained_share": round(trained / sum(lengths), 4),
        "tokens": histogram(lengths),
    }


def check_cut(counted: dict[str, Any], limit: float) -> None:
    """Check that at most the share `limit` of the samples is longer than max_length.

    A sample that is cut teaches an answer without its end, or none at all.

    Raises:
        ButlerError: naming the keys to change.
    """
    share = counted["cut"] / counted["records"]
    if share > limit:
        raise ButlerError(
            f"{counted['cut']:,} of {counted['records']:,} training samples are longer than "
            f"train.max_length {counted['max_length']} and would be cut, a share of {share:.3f} "
            f"(checks.cut_samples {limit}; the longest has {counted['longest']:,} tokens): raise "
            "train.max_length or lower corpus.max_chars"
        )


def main() -> None:
    """Write the counts as JSON, if few enough samples are cut."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="XTuner's, rendered")
    parser.add_argument("--data", type=Path, required=True, help="train.jsonl")
    parser.add_argument("--max-length", type=int, required=True, help="tokens left of a sample")
    parser.add_argument("--limit", type=float, required=True, help="share that may be cut")
    parser.add_argument("--records", type=int, default=20_000, help="(%(default)s)")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    lengths, trained = [], 0
    with args.data.open(encoding="utf-8") as lines:
        for _, tokens in encoded(args.config, islice(lines, args.records), UNCUT):
            lengths.append(len(tokens["input_ids"]))
            trained += sum(label >= 0 for label in tokens["labels"])
    if not lengths:
        raise ButlerError(f"{args.data} holds no record")
    counted = summary(lengths, trained, args.max_length)
    check_cut(counted, args.limit)
    atomic_write_text(args.out, json.dumps(counted, indent=2) + "\n")


if __name__ == "__main__":
    run_cli(main)
