"""Measure size, memory and speed of one served folder, and tell what was measured on which machine.

Speed is LMDeploy's alone, one request at a time and many, all variants at equal room for tokens
(butler/efficiency has the metrics). The reference engine computes every variant in fp32, so its
speed would say nothing of them: of it bytes are told, and memory after an answer.
"""

import argparse
import csv
import os
import resource
import sys
from pathlib import Path

from butler.arguments import positive, thread_count
from butler.checks import conclude
from butler.devices import ENGINES, cpu_name, resolve_engine
from butler.efficiency.figures import check_session
from butler.efficiency.speed import Row
from butler.errors import ButlerError, run_cli
from butler.files import atomic_open, spreadsheet_safe
from butler.gpu import GpuMemory
from butler.lmdeploy.guards import resolve_tp
from butler.lmdeploy.served_folder import read_folder
from butler.manifest import check_unchanged
from butler.progress import progress
from butler.reference.cache import KINDS
from butler.settings.judging_stage import EfficiencySettings

COLUMNS = ("variant", "metric", "value", "unit", "engine", "machine")
PROMPT_SEED = 0


def main() -> None:
    """Run the command line."""
    args = parse_args()
    engine = resolve_engine(args.engine)
    variant = args.variant or args.workspace.resolve().name
    manifests = check_unchanged(args.workspace)
    with progress(f"efficiency {variant}", lambda: f"measuring in {engine}"):
        rows = measure_lmdeploy(args) if engine == "lmdeploy" else measure_reference(args)
    machine = machine_name(engine, args)
    if engine == "lmdeploy":
        engine = read_folder(args.workspace).backend  # LMDeploy's, which may be the other
    with atomic_open(args.out) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        name = spreadsheet_safe(variant)
        writer.writerows((name, *row, engine, machine) for row in rows)
    if args.check:
        sentence = f"{len(rows)} figures of {args.workspace} in {engine}, on {machine}"
        # Speeds stand in the table, each with its spread; dozens of them would hide the bytes here.
        figures = {metric: value for metric, value, unit in rows if unit == "B"}
        name = f"efficiency_{variant}"
        conclude(args.check, name, True, sentence, figures, {}, [args.out], manifests)


def parse_args() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="CSV to write")
    parser.add_argument("--check", type=Path, help="JSON to write of what was measured")
    parser.add_argument("--variant", help="name in the CSV; default: the workspace's folder name")
    parser.add_argument("--engine", choices=ENGINES, default="reference")
    parser.add_argument("--tp", type=positive, help="GPUs; default: as the folder is split")
    parser.add_argument("--kv", choices=KINDS, help="KV cache; default: the workspace's setting")
    parser.add_argument(
        "--settings",
        type=EfficiencySettings.from_argument,
        default=EfficiencySettings(),
        help="JSON of the config's section efficiency, or a file of it; default: the config's own",
    )
    parser.add_argument("--threads", type=thread_count, default=os.cpu_count() or 1)
    parser.add_argument(
        "--trust-remote-code",
        action="store_true",
        help="run the code in a model folder, if LMDeploy needs any",
    )
    return parser.parse_args()


def machine_name(engine: str, args: argparse.Namespace) -> str:
    """Return what the engine ran on: GPUs, or threads of a processor."""
    if engine == "lmdeploy":
        return GpuMemory(resolve_tp(read_folder(args.workspace), args.tp)).names()
    return f"{args.threads} threads, {cpu_name()}"


def measure_lmdeploy(args: argparse.Namespace) -> list[Row]:
    """Return (metric, value, unit) rows of LMDeploy on the GPU, with room for all requests.

    Raises:
        ButlerError: if there is no CUDA GPU, LMDeploy is another than the folder's, or the
            measurement fails.
    """
    import torch

    from butler.efficiency.measure_engine import measure
    from butler.lmdeploy.release import check_installed, installed_version

    if not torch.cuda.is_available():
        raise ButlerError(
            "engine: lmdeploy needs a CUDA GPU, and torch finds none; set engine: reference"
        )
    check_installed(read_folder(args.workspace).release, installed_version())
    return measure(
        args.workspace, args.settings, trust_remote_code=args.trust_remote_code, tp=args.tp
    )


def measure_reference(args: argparse.Namespace) -> list[Row]:
    """Return (metric, value, unit) rows of the reference engine: bytes, and memory of one answer.

    Raises:
        ButlerError: if prompt and answer do not fit the session, or GPUs are asked for.
    """
    if args.tp not in (None, 1):
        raise ButlerError(f"--tp {args.tp} is for --engine lmdeploy; our engine runs on the CPU")
    import torch

    from butler.reference.generate import Engine
    from butler.reference.sampling import SamplingParams

    settings, engine = args.settings, Engine.load(args.workspace, args.kv, args.threads)
    check_session(settings, engine.workspace.session_len)
    generator = torch.Generator().manual_seed(PROMPT_SEED)
    size = (settings.prompt_tokens,)
    prompt = torch.randint(engine.workspace.config.vocab, size, generator=generator).tolist()
    batch = engine.new_batch()
    batch.submit(prompt, SamplingParams(max_new_tokens=settings.new_tokens), frozenset())
    while len(batch):
        batch.step()
    return [
        ("weight_bytes", engine.workspace.weight_bytes(), "B"),
        ("kv_bytes_per_token", engine.new_cache().bytes_per_token(), "B"),
        ("peak_memory_bytes", peak_memory_bytes(), "B"),
    ]


def peak_memory_bytes() -> int:
    """Return the largest resident size this process has had, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB


if __name__ == "__main__":
    run_cli(main)
