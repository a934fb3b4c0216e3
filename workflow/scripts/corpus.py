"""Make training conversations from raw XiaChuFang recipes.

    python workflow/scripts/corpus.py --input recipes.jsonl --train train.jsonl \
        --test test.jsonl --rejected rejected.jsonl --stats stats.json --system TEXT

Every line of the input ends in train, in test, or in rejected with its number and a reason.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from butler.corpus.build import Outputs, Settings, build_corpus
from butler.corpus.sample import Limits
from butler.errors import ButlerError, run_cli

DEFAULT_FORMS = ("的做法=6", "怎么做=2", "的家常做法=2")
FILES = {
    "input": "raw records, one JSON object per line",
    "train": "conversations to train on (JSON Lines)",
    "test": "conversations of other dishes (JSON Lines)",
    "rejected": "line number and reason of the rest (JSON Lines)",
    "stats": "counts (JSON)",
}
NUMBERS = {
    "seed": (0, "draws question forms, sample, split and order"),
    "test-size": (100, "records on the test side, by whole dishes"),
    "sample": (0, "records kept in all, drawn by seed; 0 keeps all"),
    "min-steps": (Limits.min_steps, "fewer steps are too short"),
    "min-chars": (Limits.min_chars, "fewer characters in the steps are too short"),
    "max-chars": (Limits.max_chars, "more characters in ingredients and steps are too long"),
}


def parse_forms(words: Sequence[str]) -> dict[str, float]:
    """Read ENDING=WEIGHT words, weights positive.

    Raises:
        ButlerError: naming the word that is not of this form.
    """
    forms = {}
    for word in words:
        ending, _, weight = word.partition("=")
        try:
            forms[ending.strip()] = float(weight)
        except ValueError:
            forms[ending.strip()] = 0.0
        if not ending.strip() or not 0 < forms[ending.strip()] < float("inf"):
            raise ButlerError(f"--question-forms: {word!r} is not ENDING=WEIGHT, as in 的做法=6")
    return forms


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, what in FILES.items():
        parser.add_argument(f"--{name}", type=Path, required=True, help=what)
    parser.add_argument("--system", required=True, help="system prompt of every conversation")
    for name, (default, what) in NUMBERS.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{what} (%(default)s)")
    parser.add_argument(
        "--question-forms",
        nargs="+",
        default=DEFAULT_FORMS,
        metavar="ENDING=WEIGHT",
        help="endings of the question, drawn by weight (%(default)s)",
    )
    arguments = parser.parse_args(argv)
    for name in NUMBERS:
        if name != "seed" and getattr(arguments, name.replace("-", "_")) < 0:
            raise ButlerError(f"--{name} must not be negative")
    if arguments.max_chars < arguments.min_chars:
        raise ButlerError("--max-chars must not be below --min-chars")
    return arguments


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line, make the corpus, print the counts."""
    arguments = _arguments(argv)
    limits = Limits(arguments.min_steps, arguments.min_chars, arguments.max_chars)
    settings = Settings(
        arguments.system,
        arguments.seed,
        arguments.test_size,
        arguments.sample,
        parse_forms(arguments.question_forms),
        limits,
    )
    outputs = Outputs(arguments.train, arguments.test, arguments.rejected, arguments.stats)
    stats = build_corpus(arguments.input, outputs, settings)
    print(
        f"{stats['read']} read: {stats['train']} to train, {stats['test']} to test, "
        f"{stats['rejected']} rejected {stats['reasons']}"
    )


if __name__ == "__main__":
    run_cli(main)
