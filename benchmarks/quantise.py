"""AWQ of a 7B: our step against LMDeploy's own command, on the same text with the same settings.

Total time, peak GPU memory, and where the time goes, told by what LMDeploy prints. The model is
random, and made if it is absent; the text is made up.

usage: .envs/lmdeploy/bin/python benchmarks/quantise.py --work /dev/shm/awq --out awq.json
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from common import ROOT, SCRIPTS, ButlerError, markdown, publish, python_of, record
from random_bases import DEFAULT, add_shape, chat_template, shape_of, shape_options
from serving_models import run, write_text

from butler.efficiency.figures import MIB
from butler.errors import run_cli
from butler.gpu import GpuMemory, Peak
from butler.held_out import rendered
from butler.hf_folder import ModelTensors
from butler.lmdeploy.on_cpu import CALIBRATION_TEXTS, write_calibration_text
from butler.settings.serving_stage import AwqSettings, CalibrationSettings
from butler.tools import tool_environment

RUNS = ("ours", "lmdeploy")
# Each phase ends with the last line that holds this text; the one after them with the process.
PHASES = {
    "loading": "Loading calibrate dataset",
    "calibration": ", samples: ",
    "smoothing": " smooth weight done",
    "quantisation": " weight packed",
}


def phases(lines: Sequence[tuple[float, str]], total: float) -> dict[str, float]:
    """Return the seconds of each phase from what was printed when, `total` at the end.

    Raises:
        ButlerError: if a phase left no line.
    """
    found, before = {}, 0.0
    for name, text in PHASES.items():
        times = [at for at, line in lines if text in line]
        if not times:
            raise ButlerError(f"auto_awq printed no line of its {name}; its log says why")
        found[name] = round(times[-1] - before, 1)
        before = times[-1]
    return found | {"saving": round(total - before, 1)}


def timed(
    command: Sequence[object], environment: Mapping[str, str], cwd: Path, log: Path, device: str
) -> dict[str, Any]:
    """Run one quantisation; return seconds in all and by phase, and the GPU's peak in MiB.

    Raises:
        ButlerError: if it fails.
    """
    memory = GpuMemory() if device == "cuda" else None
    before = memory.used() if memory else 0
    start = time.perf_counter()
    lines: list[tuple[float, str]] = []
    with Peak(memory) if memory else nullcontext() as peak, log.open("w", encoding="utf-8") as out:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=cwd,
            text=True,
            errors="replace",
        )
        for line in process.stdout or ():
            lines.append((time.perf_counter() - start, line))
            out.write(line)
        code = process.wait()
    total = time.perf_counter() - start
    if code:
        raise ButlerError(f"{log.stem} ended with {code}: {lines[-1][1].strip()} ({log})")
    found: dict[str, Any] = {"seconds": round(total, 1), "phases": phases(lines, total)}
    if memory and peak:
        found["peak_gpu_mib"] = round((peak.bytes - before) / MIB)
    return found


def quantise(name: str, work: Path, model: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Run `ours` or `lmdeploy` into a folder of that name."""
    text, out = work / "text.jsonl", work / name
    template = chat_template(DEFAULT)
    calibration = CalibrationSettings(samples=args.samples, length=args.length)
    awq = AwqSettings()
    environment = tool_environment(work / f"cache-{name}", os.cpu_count() or 1)
    cwd = work / f"cwd-{name}"
    cwd.mkdir(exist_ok=True)
    if name == "ours":
        command = [sys.executable, SCRIPTS / "quantise_awq.py", "--model", model, "--text", text]
        command += ["--chat-template", template.name, "--settings", awq.to_argument()]
        command += ["--calibration", calibration.to_argument()]
        command += ["--threads", os.cpu_count() or 1, "--device", args.device, "--out", out]
        command += ["--batch-size", args.batch_size] if args.batch_size else []
    else:
        write_calibration_text(rendered(text, CALIBRATION_TEXTS, template), cwd)
        command = [sys.executable, "-m", "lmdeploy", "lite", "auto_awq", model]
        command += ["--calib-dataset", "ptb", "--calib-samples", calibration.samples]
        command += ["--calib-seqlen", calibration.length]
        command += ["--w-bits", awq.bits, "--w-group-size", awq.group_size]
        command += ["--device", args.device, "--work-dir", out]
    return timed(command, environment, cwd, work / f"{name}.log", args.device)


def compare(ours: Path, theirs: Path) -> dict[str, Any]:
    """Return how alike the two results are: tensors of the same bits, and those of all."""
    import torch

    one, two = ModelTensors(ours), ModelTensors(theirs)
    if one.names() != two.names():
        raise ButlerError("the two results do not hold the same tensors")
    same = sum(torch.equal(one[name], two[name]) for name in one.names())
    return {"tensors": len(one.names()), "same_bits": int(same)}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="26 GB for a 7B")
    parser.add_argument("--model", type=Path, help="model folder; default: a random one is made")
    parser.add_argument("--environments", type=Path, default=ROOT / ".envs")
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS))
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--length", type=int, default=2048, help="tokens of a sample")
    parser.add_argument("--batch-size", type=int, help="of ours; default: by memory")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--out", type=Path)
    add_shape(parser)
    args = parser.parse_args()
    work = args.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    model = (args.model or work / "model").resolve()
    if not (model / "config.json").is_file():
        make = [python_of("xtuner", args.environments), ROOT / "benchmarks" / "random_model.py"]
        run([*make, "--out", model, *shape_options(shape_of(args))], work, "model")
    # A byte is a token here: three to a character.
    write_text(work / "text.jsonl", chats=2 + 2 * args.samples, words=args.length // 6)
    found = {name: quantise(name, work, model, args) for name in args.runs}
    report: dict[str, Any] = {"samples": args.samples, "length": args.length, "awq": found}
    if len(found) == len(RUNS):
        report["compared"] = compare(work / "ours", work / "lmdeploy")
    names = [*PHASES, "saving"]
    rows = [
        [name, run["seconds"], run.get("peak_gpu_mib", ""), *(run["phases"][p] for p in names)]
        for name, run in found.items()
    ]
    header = ["AWQ", "seconds", "peak GPU MiB", *(f"{name} s" for name in names)]
    publish(record(**report), args.out, markdown(header, rows))


if __name__ == "__main__":
    run_cli(main)
