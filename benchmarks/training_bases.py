"""How fast each base trains at real size, stock XTuner beside ours: training.py on each of them.

Each is made by random_model.py and trained by the interpreter of its family's trainer. A base whose
figures lie in the folder already is not measured again, and none is begun for which less time is
left than the longest took; so a call can be repeated until all are there.

usage: .envs/xtuner/bin/python benchmarks/training_bases.py --data build/corpus/train.jsonl \\
           --work /dev/shm/bases --out DIR
"""

import argparse
import json
import shutil
import time
from pathlib import Path
from typing import Any

from common import ROOT, ButlerError, atomic_write_text, markdown, python_of
from random_bases import BASES, add_shape, shape_of, shape_options
from serving_models import run
from training_runs import settings

from butler.errors import run_cli

MEASURED = [name for name in BASES if name != "internlm2_chat_7b"]  # its shape is InternLM2.5's
HEADER = (
    *("base", "stock, tokens/s", "ours", "times stock", "stock, % of the matmul peak", "ours"),
    *("peak TFLOP/s", "GFLOP a token", "stock, GiB", "ours", "losses apart, at most"),
)


def measure(base: str, args: argparse.Namespace) -> None:
    """Make one base, train it both ways, and leave its figures in `args.out`.

    Raises:
        ButlerError: if a step fails, with its log.
    """
    python = python_of(BASES[base].family.trainer, args.environments)
    work = args.work / base
    shutil.rmtree(work, ignore_errors=True)
    model, figures = work / "model", work / f"{base}.json"
    shape = shape_options(shape_of(args, base))
    scripts = ROOT / "benchmarks"
    make = [python, scripts / "random_model.py", "--base", base, "--out", model, *shape]
    what = ["stock", "ours"] if args.trainings else ["steps"]
    train = [python, scripts / "training.py", "--what", *what, "--base", base]
    train += ["--model", model, "--data", args.data, "--work", work / "runs", "--out", figures]
    train += ["--tokens", args.tokens, "--steps", args.steps]
    train += ["--packs", args.packs or settings(base).batch_size]
    start = time.monotonic()
    run(make, work, "make")
    made = time.monotonic()
    run(train, work, "train")
    print(f"{base}: made in {made - start:.0f} s, trained in {time.monotonic() - made:.0f} s")
    shutil.move(figures, args.out / figures.name)
    shutil.rmtree(work)


def row(base: str, found: dict[str, Any]) -> list[object]:
    """Return the table's line of one base."""
    values = found.get("steps", found)
    both = [values["stock"], values["ours"]]

    def of_both(key: str) -> list[object]:
        return [one.get(key) for one in both]

    line = [
        *(base, *of_both("tokens_per_second"), values["times_stock"]),
        *(*of_both("percent_of_matmul_peak"), found.get("matmul_tflops")),
        *(found.get("gflop_per_token"), *of_both("peak_gib")),
        values["loss_difference"] if "steps" in found else values["curves"]["largest_difference"],
    ]
    return ["–" if value is None else value for value in line]


def main() -> None:
    """Measure what is not measured yet and fits in the time; write the table of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="train.jsonl, by corpus.py")
    parser.add_argument("--work", type=Path, required=True, help="17 GB, in memory if it can be")
    parser.add_argument("--out", type=Path, required=True, help="folder: BASE.json, bases.md")
    parser.add_argument("--trainings", action="store_true", help="whole ones, not steps alone")
    parser.add_argument("--bases", nargs="+", choices=BASES, default=MEASURED)
    parser.add_argument("--seconds", type=float, default=540, help="none is begun too late for it")
    parser.add_argument("--tokens", type=int, default=2048, help="in a pack")
    parser.add_argument("--packs", type=int, help="in a training's update; the overlay's")
    parser.add_argument("--steps", type=int, default=4, help="updates of a training")
    parser.add_argument("--environments", type=Path, default=ROOT / ".envs")
    add_shape(parser)
    args = parser.parse_args()
    args.data, args.work = args.data.resolve(), args.work.resolve()
    args.out.mkdir(parents=True, exist_ok=True)
    end, longest, failed = time.monotonic() + args.seconds, 0.0, []
    for base in args.bases:
        start = time.monotonic()
        if (args.out / f"{base}.json").is_file():
            continue
        if end - start < longest:
            print(f"{base}: not begun, {end - start:.0f} s are left and one took {longest:.0f}")
            continue
        try:
            measure(base, args)
        except ButlerError as error:
            print(f"{base}: {error}", flush=True)
            failed.append(base)
        longest = max(longest, time.monotonic() - start)
    found = {base: args.out / f"{base}.json" for base in args.bases}
    lines = [
        row(base, json.loads(path.read_text(encoding="utf-8")))
        for base, path in found.items()
        if path.is_file()
    ]
    table = markdown(HEADER, lines)
    atomic_write_text(args.out / "bases.md", table)
    print(table)
    if failed:
        raise ButlerError(f"{', '.join(failed)} failed; the logs are in {args.work}")


if __name__ == "__main__":
    run_cli(main)
