"""Make training conversations from raw recipes, or from questions and answers.

    python workflow/scripts/corpus.py --input recipes.jsonl --train train.jsonl \
        --test test.jsonl --rejected rejected.jsonl --stats stats.json --system TEXT

Every line of the input ends in train, in test, or in rejected with its number and a reason.
docs/corpus.md says what each step does.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from butler.corpus.build import Outputs, Settings, build_corpus
from butler.corpus.contaminate import OverlapRule
from butler.corpus.formats import FORMATS
from butler.corpus.near import NearRule
from butler.corpus.sample import Limits
from butler.errors import ButlerError, run_cli

DEFAULT_FORMS = ("的做法=6", "怎么做=2", "的家常做法=2")
FILES = {
    "input": "raw records: a file or a folder of them, plain, .gz or .zst",
    "train": "conversations to train on (JSON Lines)",
    "test": "conversations of other dishes (JSON Lines)",
    "rejected": "file, line and reason of the rest (JSON Lines)",
    "stats": "counts (JSON)",
}
NUMBERS = {
    "seed": (0, "draws question forms, sample, split and order"),
    "test-size": (100, "records on the test side, by whole dishes"),
    "sample": (0, "records kept in all, drawn by seed; 0 keeps all"),
    "min-steps": (Limits.min_steps, "fewer steps are too short"),
    "min-chars": (Limits.min_chars, "fewer characters in the steps are too short"),
    "max-chars": (Limits.max_chars, "more characters in ingredients and steps are too long"),
    "processes": (1, "processes that share the work; the outputs do not depend on it"),
    "near-shingle": (5, "letters in a run that near-duplicates are compared by"),
    "overlap-ngram": (13, "letters in a run that protected texts are looked for by"),
}
# Shorter runs are in nearly every record, and nothing would tell them apart in time.
RANGES = {"processes": (1, None), "near-shingle": (2, 100), "overlap-ngram": (4, 100)}
LEAST_ALIKE = 0.1
SHARES = {
    "near-threshold": (0.0, "Jaccard similarity from which records are near-duplicates; 0: skip"),
    "overlap-share": (0.0, "share of a test recipe's or a benchmark question's runs; 0: skip"),
}


def parse_forms(words: Sequence[str]) -> dict[str, float]:
    """Read ENDING=WEIGHT words, weights positive and endings without unseen characters.

    Raises:
        ButlerError: naming the word that is not of this form.
    """
    forms = {}
    for word in words:
        name, _, weight = word.partition("=")
        ending = name.strip()
        try:
            forms[ending] = float(weight)
        except ValueError:
            forms[ending] = 0.0
        if not ending or not ending.isprintable() or not 0 < forms[ending] < float("inf"):
            raise ButlerError(f"--question-forms: {word!r} is not ENDING=WEIGHT, as in 的做法=6")
    return forms


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, what in FILES.items():
        parser.add_argument(f"--{name}", type=Path, required=True, help=what)
    parser.add_argument("--system", required=True, help="system prompt of every conversation")
    for name, (default, what) in NUMBERS.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{what} (%(default)s)")
    for name, (share, what) in SHARES.items():
        parser.add_argument(f"--{name}", type=float, default=share, help=f"{what} (%(default)s)")
    parser.add_argument("--format", choices=FORMATS, default="xiachufang", help="of the input")
    parser.add_argument(
        "--benchmark", nargs="*", type=Path, default=[], help="CSV files of questions to protect"
    )
    parser.add_argument(
        "--question-forms",
        nargs="+",
        default=DEFAULT_FORMS,
        metavar="ENDING=WEIGHT",
        help="endings of the question, drawn by weight (%(default)s)",
    )
    arguments = parser.parse_args(argv)
    _check(arguments)
    return arguments


def _check(arguments: argparse.Namespace) -> None:
    """Refuse values out of their range.

    Raises:
        ButlerError: naming the option.
    """
    given = {name: getattr(arguments, name.replace("-", "_")) for name in (*NUMBERS, *SHARES)}
    for name, value in given.items():
        least, most = RANGES.get(name, (0, 1) if name in SHARES else (0, None))
        if name != "seed" and (value < least or most is not None and not value <= most):
            upper = "" if most is None else f" and at most {most}"
            raise ButlerError(f"--{name} must be at least {least}{upper}, found {value}")
    if 0 < arguments.near_threshold < LEAST_ALIKE:
        raise ButlerError(f"--near-threshold must be 0, or from {LEAST_ALIKE} to 1")
    if arguments.max_chars < arguments.min_chars:
        raise ButlerError("--max-chars must not be below --min-chars")
    try:
        arguments.system.encode()
    except UnicodeEncodeError:
        raise ButlerError("--system is not UTF-8 text") from None


def _settings(arguments: argparse.Namespace) -> Settings:
    near, overlap = arguments.near_threshold, arguments.overlap_share
    return Settings(
        arguments.system,
        arguments.seed,
        arguments.test_size,
        arguments.sample,
        parse_forms(arguments.question_forms),
        Limits(arguments.min_steps, arguments.min_chars, arguments.max_chars),
        arguments.format,
        NearRule(near, arguments.near_shingle) if near else None,
        OverlapRule(arguments.overlap_ngram, overlap) if overlap else None,
        arguments.processes,
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line, make the corpus, print the counts."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # leave by the way that cleans up
    arguments = _arguments(argv)
    outputs = Outputs(arguments.train, arguments.test, arguments.rejected, arguments.stats)
    stats = build_corpus(arguments.input, outputs, _settings(arguments), arguments.benchmark)
    for file, damage in stats["damaged"].items():
        print(f"damaged: {file}: {damage}")
    print(
        f"{stats['read']} read: {stats['train']} to train, {stats['test']} to test, "
        f"{stats['rejected']} rejected {stats['reasons']}"
    )


if __name__ == "__main__":
    run_cli(main)
