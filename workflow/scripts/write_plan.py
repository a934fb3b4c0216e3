"""Write down what the stages should need, by the settings and the sizes of what is given alone.

It is what `snakemake plan` prints before anything is made; the report holds it against what was
used. Free GPU memory is not asked for: of stages that make use of it the plan has the least.
"""

import argparse
import csv
from dataclasses import astuple, fields
from functools import partial
from pathlib import Path

from butler.errors import run_cli
from butler.files import atomic_open
from butler.plan.host_memory import Task
from butler.plan.model_size import ModelSize
from butler.plan.stage_needs import StageNeed, needs, read_texts
from butler.settings.run import Settings


def main() -> None:
    """Write a table with a line for each stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--config",
        type=partial(Settings.from_argument, option="--config"),
        required=True,
        help="the whole configuration as JSON",
    )
    parser.add_argument("--repository", type=Path, required=True, help="where inputs start")
    parser.add_argument("--base", type=Path, required=True, help="folder of the base model")
    parser.add_argument("--on-gpu", action="store_true", help="the tools use CUDA")
    parser.add_argument("--tools", type=int, required=True, help="environments to build")
    parser.add_argument("--out", type=Path, required=True, help="CSV")
    args = parser.parse_args()
    task = Task(args.config, ModelSize.read(args.base), args.on_gpu)
    # Nothing is made in a folder that is not there, so the settings tell how much there will be.
    texts = read_texts(task, args.repository, build=args.out / "none")
    local = (args.repository / args.config.base.model).is_dir()
    rows = needs(task, texts, local, args.tools)
    with atomic_open(args.out) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([field.name for field in fields(StageNeed)])
        writer.writerows(map(astuple, rows))


if __name__ == "__main__":
    run_cli(main)
