#!/usr/bin/env python3
"""Write the demo corpora and the demo benchmark that this repository ships.

    python workflow/scripts/demo_data.py [--out data/demo]

The same seeds give the same bytes on every machine.
"""

import argparse
from pathlib import Path

from butler.demo.exam import make_benchmark, to_csv
from butler.demo.kitchen import chinese_csv, english_jsonl
from butler.demo.raw_records import make_corpus
from butler.errors import run_cli
from butler.files import atomic_write_text

REPOSITORY = Path(__file__).resolve().parents[2]


def write_demo(folder: Path) -> None:
    """Write recipes.jsonl, kitchen_qa_* and ceval/{dev,val,test}/*.csv under `folder`."""
    corpus = make_corpus()
    atomic_write_text(folder / "recipes.jsonl", "\n".join(corpus.lines) + "\n")
    atomic_write_text(folder / "kitchen_qa_zh.csv", chinese_csv())
    atomic_write_text(folder / "kitchen_qa_en.jsonl", english_jsonl())
    for subject, splits in make_benchmark().items():
        for split, questions in splits.items():
            path = folder / "ceval" / split / f"{subject}_{split}.csv"
            atomic_write_text(path, to_csv(questions, split))


def main() -> None:
    """Parse the command line and write what it asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=REPOSITORY / "data" / "demo")
    write_demo(parser.parse_args().out)


if __name__ == "__main__":
    run_cli(main)
