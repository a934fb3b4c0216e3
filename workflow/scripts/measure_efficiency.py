"""Measure size, memory and speed of one served folder, and tell what was measured on which machine.

The reference engine is measured at batch 1, TurboMind also with many requests at a time, all
variants at equal room for tokens (see butler/efficiency/figures.py for the metrics).
"""

import argparse
import csv
import os
import resource
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from butler.checks import conclude
from butler.devices import cpu_name, resolve_engine
from butler.efficiency.figures import check_session
from butler.errors import ButlerError, run_cli
from butler.files import atomic_open, spreadsheet_safe
from butler.gpu import GpuMemory
from butler.lmdeploy.guards import resolve_tp
from butler.lmdeploy.served_folder import read_folder
from butler.manifest import check_unchanged
from butler.progress import progress
from butler.reference.cache import KINDS
from butler.settings.judging_stage import EfficiencySettings

if TYPE_CHECKING:
    from butler.reference.generate import Engine

COLUMNS = ("variant", "metric", "value", "unit", "engine", "machine")
PROMPT_SEED = 0


@dataclass(frozen=True)
class Timing:
    """Seconds of one run at batch 1."""

    prefill: float
    first_token: float
    decode: float


def main() -> None:
    """Run the command line."""
    args = parse_args()
    engine = resolve_engine(args.engine)
    variant = args.variant or args.workspace.resolve().name
    manifests = check_unchanged(args.workspace)
    with progress(f"efficiency {variant}", lambda: f"measuring in {engine}"):
        rows = measure_turbomind(args) if engine == "turbomind" else measure_reference(args)
    machine = machine_name(engine, args)
    with atomic_open(args.out) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        name = spreadsheet_safe(variant)
        writer.writerows((name, *row, engine, machine) for row in rows)
    if args.check:
        sentence = f"{len(rows)} figures of {args.workspace} in {engine}, on {machine}"
        figures = {metric: value for metric, value, _ in rows}
        name = f"efficiency_{variant}"
        conclude(args.check, name, True, sentence, figures, {}, [args.out], manifests)


def parse_args() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="CSV to write")
    parser.add_argument("--check", type=Path, help="JSON to write of what was measured")
    parser.add_argument("--variant", help="name in the CSV; default: the workspace's folder name")
    parser.add_argument("--engine", choices=("auto", "reference", "turbomind"), default="reference")
    parser.add_argument("--tp", type=int, help="GPUs; default: what the workspace is split for")
    parser.add_argument("--kv", choices=KINDS, help="KV cache; default: the workspace's setting")
    parser.add_argument(
        "--settings",
        type=EfficiencySettings.from_argument,
        default=EfficiencySettings(),
        help="JSON of the config's section efficiency, or a file of it; default: the config's own",
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--trust-remote-code",
        action="store_true",
        help="run the code in a model folder, if LMDeploy needs any (turbomind)",
    )
    args = parser.parse_args()
    if args.threads < 1:
        parser.error("--threads must be 1 or more")
    return args


def machine_name(engine: str, args: argparse.Namespace) -> str:
    """Return what the engine ran on: GPUs, or threads of a processor."""
    if engine == "turbomind":
        return GpuMemory(resolve_tp(read_folder(args.workspace), args.tp)).names()
    return f"{args.threads} threads, {cpu_name()}"


def measure_turbomind(args: argparse.Namespace) -> list[tuple[str, int | float, str]]:
    """Return (metric, value, unit) rows of TurboMind on the GPU, with room for all requests.

    Raises:
        ButlerError: if there is no CUDA GPU, LMDeploy is another than the folder's, or the
            measurement fails.
    """
    import torch

    from butler.efficiency.measure_turbomind import measure
    from butler.lmdeploy.release import check_installed, installed_version

    if not torch.cuda.is_available():
        raise ButlerError(
            "engine: turbomind needs a CUDA GPU, and torch finds none; set engine: reference"
        )
    check_installed(read_folder(args.workspace).release, installed_version())
    return measure(
        args.workspace, args.settings, trust_remote_code=args.trust_remote_code, tp=args.tp
    )


def measure_reference(args: argparse.Namespace) -> list[tuple[str, int | float, str]]:
    """Return (metric, value, unit) rows of the reference engine, batch 1.

    Raises:
        ButlerError: if prompt and answer do not fit the session, or GPUs are asked for.
    """
    if args.tp not in (None, 1):
        raise ButlerError(f"--tp {args.tp} is for --engine turbomind; our engine runs on the CPU")
    import torch

    from butler.reference.generate import Engine

    settings, engine = args.settings, Engine.load(args.workspace, args.kv, args.threads)
    check_session(settings, engine.workspace.session_len)
    generator = torch.Generator().manual_seed(PROMPT_SEED)
    size = (settings.prompt_tokens,)
    prompt = torch.randint(engine.workspace.config.vocab, size, generator=generator).tolist()
    time_once(engine, prompt, min(settings.new_tokens, 4))  # the first run pays for allocations
    timings = [time_once(engine, prompt, settings.new_tokens) for _ in range(settings.repeats)]
    return [
        ("weight_bytes", engine.workspace.weight_bytes(), "B"),
        ("kv_bytes_per_token", engine.new_cache().bytes_per_token(), "B"),
        ("peak_memory_bytes", peak_memory_bytes(), "B"),
        *speeds(timings, settings.prompt_tokens, settings.new_tokens),
    ]


def time_once(engine: "Engine", prompt: Sequence[int], new_tokens: int) -> Timing:
    """Time one greedy answer that no stop token ends."""
    from butler.reference.batch import prefill
    from butler.reference.sampling import SamplingParams

    cache = engine.new_cache()
    start = time.perf_counter()
    prefill(engine.decoder, cache, cache.add(), prompt)
    prefilled = time.perf_counter()
    batch = engine.new_batch()
    batch.submit(prompt, SamplingParams(max_new_tokens=new_tokens), frozenset())
    batch.step()
    first = time.perf_counter()
    while len(batch):
        batch.step()
    return Timing(prefilled - start, first - prefilled, time.perf_counter() - first)


def speeds(
    timings: Sequence[Timing], prompt_tokens: int, new_tokens: int
) -> list[tuple[str, float, str]]:
    """Return the medians; the first new token belongs to the prefill, not to decoding."""

    def median(name: str) -> float:
        return statistics.median(getattr(timing, name) for timing in timings)

    return [
        ("prefill_tokens_per_s", round(prompt_tokens / median("prefill"), 3), "tokens/s"),
        ("decode_tokens_per_s", round((new_tokens - 1) / median("decode"), 3), "tokens/s"),
        ("time_to_first_token_s", round(median("first_token"), 6), "s"),
    ]


def peak_memory_bytes() -> int:
    """Return the largest resident size this process has had, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB


if __name__ == "__main__":
    run_cli(main)
