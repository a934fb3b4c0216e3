#!/usr/bin/env python3
"""Time the corpus stage beside what a user would take instead, on the same file.

    python benchmarks/corpus_speed.py --input CORPUS.jsonl [--sizes 100000 1520327] --work DIR \
        --out FILE.json [--runs ours ours_near bare loop pandas datasets datajuicer] \
        [--python polars=PYTHON duckdb=PYTHON datasets=PYTHON datajuicer=PYTHON]

Each run is a process of its own; its time is wall clock, its memory the peak of the resident set of
it and its children together (psutil, every 50 ms; pages that they share count once for each).
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from common import SCRIPTS, publish, record

from butler.errors import ButlerError, run_cli

HERE = Path(__file__).resolve().parent
RIVALS = HERE / "corpus_rivals.py"
SETTINGS = {"test_size": 500, "max_chars": 1500, "recipes": {"min_steps": 1}}
RUNS = ("ours", "ours_near", "bare", "loop", "pandas", "polars", "duckdb", "datasets", "datajuicer")


def command(run: str, source: Path, options: argparse.Namespace) -> list[str]:
    """The command line of one run."""
    out = options.work / "out"
    if run.startswith("ours"):
        files = [f"--{name}={out / name}" for name in ("train", "test", "rejected", "stats")]
        near = {"near_duplicates": {"threshold": 0.7}} if run == "ours_near" else {}
        return [
            sys.executable, str(SCRIPTS / "corpus.py"), f"--input={source}", *files, "--seed=0",
            f"--settings={json.dumps(SETTINGS | near)}", f"--processes={options.processes}",
            "--protected", str(options.benchmark),
        ]  # fmt: skip
    chosen = dict(word.split("=", 1) for word in options.python).get(run, sys.executable)
    return [str(chosen), str(RIVALS), run, str(source), str(out), str(options.processes)]


def measured(arguments: list[str], log: Path) -> dict[str, float]:
    """Run a command; its seconds of wall clock and of processors, and its peak memory in MiB.

    Raises:
        ButlerError: if it fails.
    """
    os.sync()  # what the run before left to be written is not this one's
    start = time.perf_counter()
    with log.open("wb") as stream:
        process = psutil.Popen(arguments, stdout=stream, stderr=subprocess.STDOUT)
        peak = [0]
        watcher = threading.Thread(target=_watch, args=(process, peak), daemon=True)
        watcher.start()
        _, status, used = _waited(process)
    seconds = time.perf_counter() - start
    watcher.join()
    if status:
        tail = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        raise ButlerError(f"{' '.join(arguments[:3])} failed: {' '.join(tail)}")
    return {
        "seconds": round(seconds, 2),
        "processor_seconds": round(used, 2),
        "peak_mib": round(peak[0] / 2**20, 1),
    }


def _waited(process: psutil.Popen) -> tuple[int, int, float]:
    pid, status, usage = os.wait4(process.pid, 0)
    return pid, os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime


def _watch(process: psutil.Popen, peak: list[int]) -> None:
    while True:
        try:
            tree = [process, *process.children(recursive=True)]
            peak[0] = max(peak[0], sum(_resident(one) for one in tree))
        except psutil.NoSuchProcess:
            return
        time.sleep(0.05)


def _resident(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.NoSuchProcess:
        return 0


def cut(source: Path, size: int, folder: Path) -> Path:
    """The first `size` lines of the corpus as a file."""
    path = folder / f"corpus_{size}.jsonl"
    with source.open("rb") as stream, path.open("wb") as target:
        target.writelines(islice(stream, size))
    return path


def markdown(rows: list[dict[str, Any]]) -> str:
    """The figures as a table; the ratio is to the median of bare on the same file."""
    lines = [
        "| Run | Records | s | records/s | µs of processor a record | × bare | peak MiB |",
        "|---|---|---|---|---|---|---|",
    ]
    bare: dict[int, list[float]] = {}
    for row in rows:
        if row["run"] == "bare":
            bare.setdefault(row["records"], []).append(row["seconds"])
    for row in rows:
        times = bare.get(row["records"])
        ratio = row["seconds"] / median(times) if times else None
        lines.append(
            f"| {row['run']} | {row['records']:,} | {row['seconds']:.1f} "
            f"| {row['records'] / row['seconds']:,.0f} "
            f"| {row['processor_seconds'] / row['records'] * 1e6:.1f} "
            f"| {'' if ratio is None else f'{ratio:.1f}'} | {row['peak_mib']:,.0f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Read the command line, run, and publish the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--input", type=Path, required=True)
    add("--sizes", type=int, nargs="+", default=[100_000])
    add("--runs", nargs="+", choices=RUNS, default=["ours", "ours_near", "bare", "loop", "pandas"])
    add("--processes", type=int, default=2)
    add("--work", type=Path, required=True)
    add(
        "--benchmark",
        type=Path,
        default=HERE.parent / "data/demo/ceval",
        help="folder of questions",
    )
    add("--python", nargs="*", default=[], help="RUN=INTERPRETER, where a run needs its own")
    add("--out", type=Path)
    options = parser.parse_args()
    (options.work / "out").mkdir(parents=True, exist_ok=True)
    rows = []
    for size in options.sizes:
        source = cut(options.input, size, options.work)
        for run in options.runs:
            found = measured(command(run, source, options), options.work / f"{run}.log")
            rows.append({"run": run, "records": size, **found})
            print(rows[-1], flush=True)
        source.unlink()
    publish(record(processes=options.processes, rows=rows), options.out, markdown(rows))


if __name__ == "__main__":
    run_cli(main)
