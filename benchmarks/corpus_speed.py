#!/usr/bin/env python3
"""Time the corpus stage beside what reads and writes the same file and does no more than filter it.

    python benchmarks/corpus_speed.py --input CORPUS.jsonl [--sizes 100000 1520327] --work DIR \
        --out FILE.json [--python duckdb=PYTHON polars=PYTHON] [--runs ours ours_near bare ...]

An input that is not there is made (corpus_generator.py), of the largest size. Each run is a process
of its own; its time is wall clock, its memory the peak of the resident set of it and its children
together (psutil, every 50 ms; pages that they share count once for each). DuckDB, Polars and the
other tools are no part of the workflow: --python names an interpreter that has them.
"""

import argparse
import json
import os
import shutil
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
from corpus_generator import generate

from butler.errors import ButlerError, run_cli

HERE = Path(__file__).resolve().parent
RIVALS = HERE / "corpus_rivals.py"
SETTINGS = {"test_size": 500, "max_chars": 1500, "recipes": {"min_steps": 1}}
LIKE_FROM = {"ours": 0, "ours_near": 0.5}  # near_duplicates.threshold
FILTERS = ("bare", "duckdb_filter", "polars_filter", "json_filter")
CLEANERS = ("loop", "pandas", "polars", "duckdb", "datasets", "datajuicer")


def command(run: str, source: Path, options: argparse.Namespace) -> list[str]:
    """The command line of one run."""
    out = options.work / "out"
    if run.startswith("ours"):
        files = [f"--{name}={out / name}" for name in ("train", "test", "rejected", "stats")]
        near = {"near_duplicates": {"threshold": LIKE_FROM[run]}}
        return [
            sys.executable, str(SCRIPTS / "corpus.py"), f"--input={source}", *files, "--seed=0",
            f"--settings={json.dumps(SETTINGS | near)}", f"--processes={options.processes}",
            "--protected", str(options.benchmark),
        ]  # fmt: skip
    tool = run.removesuffix("_filter")
    chosen = dict(word.split("=", 1) for word in options.python).get(tool, sys.executable)
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
    """The first `size` lines of the corpus as a file; the corpus itself if it has no more."""
    with source.open("rb") as stream:
        if not any(True for _ in islice(stream, size, size + 1)):
            return source
    path = folder / f"corpus_{size}.jsonl"
    with source.open("rb") as stream, path.open("wb") as target:
        target.writelines(islice(stream, size))
    return path


def markdown(rows: list[dict[str, Any]]) -> str:
    """The figures as a table; the ratio is to the median of bare on the same file."""
    lines = [
        "| Run | Records | s | records/s | µs of processor a record | × bare | peak MiB | load |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
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
            f"| {'' if ratio is None else f'{ratio:.1f}'} | {row['peak_mib']:,.0f} "
            f"| {row['load']:.1f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Read the command line, run, and publish the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--input", type=Path, required=True)
    add("--sizes", type=int, nargs="+", default=[100_000])
    runs = (*LIKE_FROM, *FILTERS)
    add("--runs", nargs="+", choices=(*runs, *CLEANERS), default=runs)
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
    out = options.work / "out"
    out.mkdir(parents=True, exist_ok=True)
    if not options.input.exists():
        generate(options.input, max(options.sizes), 0, options.processes)
    rows = []
    for size in options.sizes:
        source = cut(options.input, size, options.work)
        for run in options.runs:
            found = measured(command(run, source, options), options.work / f"{run}.log")
            rows.append({"run": run, "records": size, **found, "load": os.getloadavg()[0]})
            print(rows[-1], flush=True)
            shutil.rmtree(out)
            out.mkdir()
        if source != options.input:
            source.unlink()
    publish(record(processes=options.processes, rows=rows), options.out, markdown(rows))


if __name__ == "__main__":
    run_cli(main)
