"""Make training conversations from raw recipes, or from questions and answers.

    python workflow/scripts/corpus.py --input recipes.jsonl --settings '{"test_size": 100}' \
        --seed 42 --train train.jsonl --test test.jsonl --rejected rejected.jsonl --stats stats.json

Every line of the input ends in train, in test, or in rejected with its number and a reason.
docs/corpus.md says what each step does.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from butler.corpus.stage import Outputs, build_corpus
from butler.errors import ButlerError, run_cli
from butler.progress import say
from butler.settings.corpus_stage import CorpusSettings

FILES = {
    "input": "raw records: a file or a folder of them, plain, .gz or .zst",
    "train": "conversations to train on (JSON Lines)",
    "test": "conversations of other dishes or questions (JSON Lines)",
    "rejected": "file, line and reason of the rest (JSON Lines)",
    "stats": "counts (JSON)",
}


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, what in FILES.items():
        parser.add_argument(f"--{name}", type=Path, required=True, help=what)
    parser.add_argument(
        "--settings",
        required=True,
        metavar="JSON",
        help="the section `corpus` of the configuration: a JSON object, or a file that holds one",
    )
    parser.add_argument(
        "--seed", type=int, required=True, help="draws question forms, sample, split and order"
    )
    parser.add_argument(
        "--processes",
        type=int,
        default=1,
        help="that share the work; the outputs do not depend on it (%(default)s)",
    )
    parser.add_argument(
        "--protected",
        nargs="*",
        type=Path,
        default=[],
        metavar="PATH",
        help="files and folders of benchmarks: nothing of their questions is trained on",
    )
    arguments = parser.parse_args(argv)
    if arguments.processes < 1:
        raise ButlerError(f"--processes must be at least 1, found {arguments.processes}")
    return arguments


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line, make the corpus, print the counts."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # leave by the way that cleans up
    arguments = _arguments(argv)
    outputs = Outputs(arguments.train, arguments.test, arguments.rejected, arguments.stats)
    stats = build_corpus(
        arguments.input,
        outputs,
        CorpusSettings.from_argument(arguments.settings),
        arguments.seed,
        arguments.protected,
        arguments.processes,
    )
    for file, damage in stats["damaged"].items():
        print(f"damaged: {file}: {damage}")
    if unread := stats["unread_protected"]:
        (first, why), count = next(iter(unread.items())), len(unread)
        others = f" and {count - 1} more ({arguments.stats} names them)" if count > 1 else ""
        say("corpus", f"warning: not protected, as it cannot be read: {first} ({why}){others}")
    print(
        f"{stats['read']} read: {stats['train']} to train, {stats['test']} to test, "
        f"{stats['rejected']} rejected {stats['reasons']}"
    )


if __name__ == "__main__":
    run_cli(main)
