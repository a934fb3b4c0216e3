"""Training runs by the product's own path, and what their logs say; used by training.py."""

import csv
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import SCRIPTS, ButlerError
from random_bases import overlay

from butler.chat_template import ChatTemplate
from butler.settings.training_stage import TrainSettings
from butler.tools import tool_environment
from butler.training_log import read_log
from butler.xtuner.memory import GIB, BatchPlan, DecoderShape, free_memory, make_plan
from render_training import render

TO_A_CHECKPOINT_S = 300
SEED = 42
PEAK = re.compile(r"Iter\(train\).* memory: (\d+)")


@dataclass(frozen=True)
class Subject:
    """What is trained on what: a model's folder, its chat template, and a train.jsonl."""

    model: Path
    template: ChatTemplate
    data: Path


def settings(base: str, **changed: Any) -> TrainSettings:
    """Return the train section of a base's overlay with what a benchmark changes."""
    every = {"log_interval": 1, "checkpoint_interval": 10**6}
    return TrainSettings.check(overlay(base)["train"] | every | changed)


def write_config(
    work: Path, subject: Subject, train: TrainSettings, limit: float | None
) -> BatchPlan:
    """Render XTuner's configuration into `work`, as the workflow does; return its plan.

    `limit` is the GPU memory to plan for, in GiB, instead of what is free.
    """
    import torch

    cuda = torch.cuda.is_available()
    free = int(limit * GIB) if limit else free_memory(train.processes) if cuda else 0
    plan = make_plan(train, DecoderShape.read(subject.model), cuda, free)
    device, base, data = "cuda" if cuda else "cpu", str(subject.model), str(subject.data)
    text = render(train, plan, subject.template, device, base, data, SEED, remote_code=True)
    work.mkdir(parents=True, exist_ok=True)
    (work / "config.py").write_text(text, encoding="utf-8")
    plan.write(work / "plan.json")
    return plan


def product_command(work: Path, subject: Subject, train: TrainSettings) -> list[str]:
    """Return the command line of train.py for a configuration that `write_config` made."""
    command = [sys.executable, str(SCRIPTS / "train.py"), "--config", str(work / "config.py")]
    command += ["--plan", str(work / "plan.json")]
    command += ["--data", str(subject.data), "--base", str(subject.model)]
    command += ["--work", str(work / "work"), "--out", str(work / "checkpoint")]
    command += ["--loss", str(work / "loss.csv")]
    command += ["--threads", "8"]
    return command + (["--deepspeed", train.deepspeed] if train.deepspeed else [])


def train_product(
    work: Path, subject: Subject, train: TrainSettings, limit: float | None = None
) -> dict[str, Any]:
    """Train through render_training.py and train.py; return speed, peak memory and losses."""
    plan = write_config(work, subject, train, limit)
    start = time.perf_counter()
    log = work / "log.txt"
    command = product_command(work, subject, train)
    with log.open("a", encoding="utf-8") as stream:
        if limit:
            command = [sys.executable, str(Path(__file__).with_name("training.py")), "limited"]
            command += ["--gib", str(limit), "--config", str(work / "config.py")]
            command += ["--work", str(work / "work")]
            environment = tool_environment(
                work / "cache", 8, PYTORCH_CUDA_ALLOC_CONF="expandable_segments:True"
            )
            done = subprocess.run(command, stdout=stream, stderr=stream, env=environment)
        else:
            done = subprocess.run(command, stdout=stream, stderr=stream)
    if done.returncode and not (work / "loss.csv").is_file():
        tail = "\n".join(log.read_text(encoding="utf-8").splitlines()[-25:])
        print(tail, file=sys.stderr)
    losses = _losses(work, plan)
    return summary(plan, train, losses, log) | {
        "exit_code": done.returncode,
        "wall_seconds": round(time.perf_counter() - start, 1),
    }


def _losses(work: Path, plan: BatchPlan) -> list[dict[str, float]]:
    """Return step, loss and tokens per second, also of a training whose check failed."""
    path = work / "loss.csv"
    if path.is_file():
        with path.open(encoding="utf-8") as stream:
            return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(stream)]
    if not list((work / "work").glob("*/vis_data/scalars.json")):
        raise ButlerError(f"the training in {work} ended without a loss; see {work / 'log.txt'}")
    steps = read_log(work / "work", plan.accumulation, plan.tokens)
    return [
        {"step": s.step, "loss": s.loss, "tokens_per_second": s.tokens_per_second or 0}
        for s in steps
    ]


def summary(
    plan: BatchPlan, train: TrainSettings, losses: list[dict[str, float]], log: Path
) -> dict[str, Any]:
    """Return a run's figures; the speed is the median of the steps after the first fifth."""
    steady = [row["tokens_per_second"] for row in losses[max(1, len(losses) // 5) :]]
    peaks = PEAK.findall(log.read_text(encoding="utf-8"))
    return {
        "kernels": plan.kernels,
        "packs_per_update": train.batch_size,
        "micro_batch": plan.micro_batch,
        "accumulation": plan.accumulation,
        "recompute_layers": plan.recompute_layers,
        "processes": plan.processes,
        "deepspeed": train.deepspeed,
        "tokens_per_second": round(statistics.median(steady)) if steady else None,
        "peak_gib": round(max(map(int, peaks)) / 1024, 2) if peaks else None,
        "planned_gib": round(plan.needed / GIB, 2) if plan.needed else None,
        "losses": [round(row["loss"], 4) for row in losses],
    }


def interrupt_after_checkpoint(command: list[str], work: Path) -> bool:
    """Start a training and end it once it has a checkpoint; say whether it was cut before its end.

    The trainer runs in a process group of its own, which train.py ends with itself.
    """
    with (work / "log.txt").open("a", encoding="utf-8") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream)
        deadline = time.monotonic() + TO_A_CHECKPOINT_S
        while process.poll() is None and time.monotonic() < deadline:
            if (work / "work" / "last_checkpoint").is_file():
                os.kill(process.pid, signal.SIGTERM)
                break
            time.sleep(0.02)
        process.wait()
    return not (work / "checkpoint").exists()


def adapter(work: Path) -> dict[str, Any]:
    """Turn the checkpoint into a Hugging Face adapter through adapter.py; return its tensors."""
    command = [sys.executable, str(SCRIPTS / "adapter.py"), "--config", str(work / "config.py")]
    command += ["--checkpoint", str(work / "checkpoint"), "--out", str(work / "adapter")]
    with (work / "log.txt").open("a", encoding="utf-8") as stream:
        done = subprocess.run(command, stdout=stream, stderr=stream)
    if done.returncode:
        raise ButlerError(f"adapter.py failed; see {work / 'log.txt'}")
    from safetensors.torch import load_file

    return load_file(work / "adapter" / "adapter_model.safetensors")


def limited(gib: float, config: Path, work: Path) -> None:
    """Run XTuner's training in this process with at most `gib` GiB of the first GPU.

    The context that CUDA itself takes is outside the limit, so it is taken off.
    """
    import torch
    from xtuner.tools import train

    os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"
    free, total = torch.cuda.mem_get_info()
    context = total - free
    torch.cuda.set_per_process_memory_fraction((gib * GIB - context) / total)
    print(json.dumps({"context_gib": round(context / GIB, 2), "limit_gib": gib}), flush=True)
    sys.argv = ["train", str(config), "--work-dir", str(work)]
    train.main()
