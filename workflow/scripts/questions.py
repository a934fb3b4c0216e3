"""Read what a benchmark asks and write it as a question sheet, before anything is trained.

Data that cannot be asked, or answers that the benchmark's scorer cannot judge, end here with one
sentence. Runs in the environment of the benchmark's kind: OpenCompass' own for its data sets.
"""

import argparse
import os
import tempfile
from pathlib import Path


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--benchmark", required=True, help="an entry of the configuration's benchmarks, as JSON")
    add("--repository", required=True, type=Path, help="where relative paths start")
    add("--held-out", type=Path, help="test.jsonl, for a benchmark that asks it")
    add("--session-len", required=True, type=int, help="tokens of a prompt and its answer")
    add("--first-round", type=int, help="questions of the first round, at least; else one round")
    add("--most-questions", type=int, help="how many to ask; else all")
    add("--seed", type=int, default=0, help="draws them and their rounds")
    add("--out", required=True, type=Path)
    return parser.parse_args()


def main() -> None:
    """Read and write."""
    from butler.benchmarks.question_sheet import write_sheet
    from butler.benchmarks.registry import read_benchmark
    from butler.question_rounds import in_rounds

    arguments = parse_arguments()
    repository, out = arguments.repository.resolve(), arguments.out.resolve()
    held_out = arguments.held_out.resolve() if arguments.held_out else None
    kind, settings = read_benchmark(arguments.benchmark)
    home = Path.cwd()
    with tempfile.TemporaryDirectory() as scratch:
        # Loaders of data sets leave caches where they run.
        os.chdir(scratch)
        os.environ["HF_HOME"] = scratch
        try:
            questions = kind.read(settings, repository, held_out)
            asked = kind.data_sets(settings, repository, out)
            kind.check_length(settings.name, asked, arguments.session_len)
        finally:
            os.chdir(home)
    first, most = arguments.first_round, arguments.most_questions
    asked = in_rounds(questions, first, most, arguments.seed)
    write_sheet(out, asked)
    rounds = max(one.round for one in asked)
    print(f"{settings.name}: {len(asked)} of {len(questions)} questions in {rounds} rounds")


if __name__ == "__main__":
    from butler.errors import run_cli
    from butler.tools import OFFLINE

    # Nothing is fetched: the data are the user's.
    os.environ.update(OFFLINE)
    os.environ.pop("DATASET_SOURCE", None)
    run_cli(main)
