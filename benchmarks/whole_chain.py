"""A run of the whole chain: time, memory and disk of every stage, beside what its work needs.

usage: .envs/lmdeploy/bin/python benchmarks/whole_chain.py --run DIR --out FILE.json -- ARGUMENTS

ARGUMENTS are those of `snakemake all`, which must be on the PATH. With --existing nothing is run:
the table is of the run that lies in DIR, memory as Snakemake's benchmark files have it.

What a stage's work needs: reading its input files, writing its output files (both at the rate of
this disk) and its products of matrices (at the rate of this device), one after the other. Counted
are the products of training, of calibration, and of one pass over each question and answer without
examples before it, which an engine may share.
"""

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import device_limits
from chain_sampler import Sampler
from common import ROOT, ButlerError, markdown, publish, record

from butler.errors import run_cli
from butler.xtuner.memory import DecoderShape
from butler.yaml_files import read_yaml

GB = 1e9
HEADER = (
    "stage",
    "s",
    "host MiB",
    "GPU MiB",
    "read GB",
    "written GB",
    "TFLOP",
    "needs s: disk",
    "products",
)
Inode = tuple[int, int]


@dataclass(frozen=True)
class Files:
    """What a stage read and made, as Snakemake's records have it."""

    inputs: frozenset[str]
    outputs: frozenset[str]


def snakemake(arguments: Sequence[str], run: Path) -> list[str]:
    """Return the command line of Snakemake with `arguments` for `run`.

    Raises:
        ButlerError: if there is no Snakemake.
    """
    found = shutil.which("snakemake")
    if found is None:
        raise ButlerError("snakemake is not on the PATH; activate the workflow's environment")
    return [found, "all", "--directory", str(run), *arguments]


def execute(arguments: Sequence[str], run: Path) -> dict[str, Any]:
    """Run the chain and return its exit code, its seconds and what was sampled."""
    command = snakemake(arguments, run)
    start = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT)
    sampler = Sampler(process.pid, run)
    sampler.start()
    try:
        code = process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    finally:
        sampled = sampler.stop()
    return {"code": code, "seconds": round(time.monotonic() - start, 1), "sampled": sampled}


def stage_files(arguments: Sequence[str], run: Path) -> dict[str, Files]:
    """Return what each stage read and made, by the name of its log.

    Raises:
        ButlerError: if Snakemake cannot tell.
    """
    command = [*snakemake(arguments, run), "--detailed-summary", "--quiet", "all"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        raise ButlerError(f"snakemake --detailed-summary failed: {done.stderr.strip()[-300:]}")
    found: dict[str, tuple[set[str], set[str]]] = {}
    rows = csv.DictReader(done.stdout.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    for row in rows:
        stage = Path(row["log-file(s)"]).stem
        if row["status"] != "missing" and (run / "logs" / f"{stage}.tsv").is_file():
            inputs, outputs = found.setdefault(stage, (set(), set()))
            inputs.update(row["input-file(s)"].split(","))
            outputs.add(row["output_file"])
    return {stage: Files(*map(frozenset, files)) for stage, files in found.items()}


def sizes(run: Path, paths: Iterable[str]) -> dict[Inode, int]:
    """Return the bytes of each file of `paths`, folders with all that is in them, by inode."""
    files: list[Path] = []
    for path in (run / path for path in paths):
        files += path.rglob("*") if path.is_dir() else [path]
    stats = [path.stat() for path in files if path.is_file()]
    return {(one.st_dev, one.st_ino): one.st_size for one in stats}


def answer_tokens(run: Path, details: Iterable[str]) -> int:
    """Return the tokens of the questions and answers in an evaluation's `details`."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(run / "build" / "base" / "tokenizer.json"))
    lines = [line for path in details for line in (run / path).open(encoding="utf-8")]
    rows = [json.loads(line) for line in lines]
    texts = [row["question"] + row["prediction"] for row in rows]
    return sum(len(one.ids) for one in tokenizer.encode_batch(texts, add_special_tokens=False))


def products(
    run: Path, stage: str, outputs: Iterable[str], shape: DecoderShape, settings: dict[str, Any]
) -> float:
    """Return the floating-point operations of a stage's products of matrices; 0 if not counted."""
    train, calibration = settings["train"], settings["calibration"]
    if stage == "train":
        plan = json.loads((run / "build" / "train" / "plan.json").read_text(encoding="utf-8"))
        with (run / "build" / "train" / "loss.csv").open(encoding="utf-8") as table:
            updates = int(list(csv.reader(table))[-1][0])
        tokens = updates * plan["accumulation"] * plan["tokens"]
        return tokens * shape.flops(train["lora_r"], train["max_length"])
    if stage in ("awq", "calibrate"):
        return 2.0 * shape.linear_parameters * calibration["samples"] * calibration["length"]
    if details := [path for path in outputs if Path(path).name == "details.jsonl"]:
        weights = shape.linear_parameters + shape.hidden * shape.vocabulary
        return 2.0 * weights * answer_tokens(run, details)
    return 0.0


def stages(run: Path, ran: dict[str, Any], files: dict[str, Files]) -> list[dict[str, Any]]:
    """Return a row for each stage of the run, the longest first."""
    settings = read_yaml(run / "results" / "config.yaml")
    shape = DecoderShape.read(run / "build" / "base")
    sampled = ran.get("sampled")
    rows = []
    for stage, its in files.items():
        with (run / "logs" / f"{stage}.tsv").open(encoding="utf-8") as table:
            told = next(csv.DictReader(table, delimiter="\t"))
        read, made = sizes(run, its.inputs), sizes(run, its.outputs)
        linked = read.keys() & made.keys()  # neither read nor written
        host = sampled["host"].get(stage) if sampled else _number(told["max_pss"])
        rows.append(
            {
                "stage": stage,
                "seconds": float(told["s"]),
                "host_mib": host,
                "gpu_mib": sampled["gpu"].get(stage) if sampled else None,
                "read": sum(size for inode, size in read.items() if inode not in linked),
                "written": sum(size for inode, size in made.items() if inode not in linked),
                "flop": products(run, stage, its.outputs, shape, settings),
            }
        )
    return sorted(rows, key=lambda row: -row["seconds"])


def _number(text: str) -> float | None:
    """Return a figure of Snakemake's benchmark file; of a short job it has none."""
    try:
        return float(text)
    except ValueError:
        return None


def add_needs(rows: list[dict[str, Any]], limits: dict[str, float]) -> None:
    """Add to each row the seconds that its bytes and its products need at the measured rates."""
    rate = max(value for key, value in limits.items() if key.startswith("matmul_"))
    for row in rows:
        read, write = limits["disk_read_gb_per_s"], limits["disk_write_gb_per_s"]
        row["disk_s"] = (row["read"] / read + row["written"] / write) / GB
        row["products_s"] = row["flop"] / (rate * 1e12)


def table(rows: Sequence[dict[str, Any]], report: dict[str, Any]) -> str:
    """Return the Markdown table of the stages and the peaks of the run."""

    def whole(value: float | None) -> str:
        return "" if value is None else f"{value:,.0f}"

    lines = [
        [
            row["stage"],
            f"{row['seconds']:.1f}",
            whole(row["host_mib"]),
            whole(row["gpu_mib"]),
            f"{row['read'] / GB:.3f}",
            f"{row['written'] / GB:.3f}",
            f"{row['flop'] / 1e12:,.1f}" if row["flop"] else "",
            f"{row['disk_s']:.1f}",
            f"{row['products_s']:.1f}" if row["flop"] else "",
        ]
        for row in rows
    ]
    totals = [f"all stages one after the other: {sum(row['seconds'] for row in rows):.0f} s"]
    if sampled := report.get("sampled"):
        totals += [
            f"the run: {report['seconds']:.0f} s",
            f"peak of all processes: {sampled['host_total']:,.0f} MiB of host memory, "
            f"{sampled['gpu_total']:,.0f} MiB of GPU memory",
            f"peak of build, workspaces and results: {sampled['disk'] / GB:.2f} GB",
        ]
        if sampled["cut_short"]:
            totals.append(f"sampled for a part of the run only: {sampled['cut_short']}")
    return markdown(HEADER, lines) + "\n" + "; ".join(totals) + "\n"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder of the run")
    parser.add_argument("--out", type=Path, help="JSON to write, and a table beside it")
    parser.add_argument("--existing", action="store_true", help="a run that lies there already")
    parser.add_argument("arguments", nargs="*", help="of snakemake, after --")
    args = parser.parse_args()
    run = args.run.resolve()
    run.mkdir(parents=True, exist_ok=True)
    ran = {} if args.existing else execute(args.arguments, run)
    report = record(run=args.arguments, cores=os.cpu_count(), **ran)
    if ran.get("code", 0) == 0:
        rows = stages(run, ran, stage_files(args.arguments, run))
        report["limits"] = device_limits.measure_machine(run)
        add_needs(rows, report["limits"])
        report["stages"] = rows
        publish(report, args.out, table(rows, report))
        return
    publish(report, args.out)
    sys.exit(ran["code"])


if __name__ == "__main__":
    run_cli(main)
