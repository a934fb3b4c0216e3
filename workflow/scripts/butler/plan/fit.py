"""What of a plan does not fit on a machine, one sentence each with the number and the key."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from butler.errors import ButlerError
from butler.plan.gpu_memory import gpu_bytes, gpus
from butler.plan.host_memory import Task
from butler.plan.machine import Machine
from butler.plan.measured import GB
from butler.plan.stage_needs import StageNeed

# What helps where a stage is too large: keys of the configuration.
MACHINE = "take a smaller base.model or a machine with more memory"
ENGINE = (
    "the reference engine holds the weights in fp32: take a machine with a GPU and engine: "
    "lmdeploy, or a smaller base.model"
)
_CALIBRATING = "lower calibration.length or calibration.samples, or leave {} out of variants"
QUANTISE, GPTQ, W8A8 = (_CALIBRATING.format(one) for one in ("w4", "w4gptq", "w8a8"))
HOST_KEYS = {
    "train": f"lower train.max_length, or {MACHINE}",
    "awq": QUANTISE,
    "gptq": GPTQ,
    "w8a8": W8A8,
    "calibrate": QUANTISE,
    "evaluate": f"lower workspace.session_len; {ENGINE}",
    "efficiency": ENGINE,
}
GPU_KEYS = {
    "awq": QUANTISE,
    "w8a8": W8A8,
    "calibrate": QUANTISE,
    "efficiency": "lower efficiency.concurrency",
    "check_training": "set device: cpu",
    "check_awq": "set device: cpu",
    "gptq": "set device: cpu",
    "check_gptq": "set device: cpu",
    "fp8": "set device: cpu",
    "check_fp8": "set device: cpu",
    "check_w8a8": "set device: cpu",
}
SERVING = "lower workspace.session_len, or raise workspace.tp where there are more GPUs"


def of_waiting(rows: Iterable[StageNeed], waiting: Mapping[str, int]) -> list[StageNeed]:
    """Return the rows of stages that are to run, their disk by the share of their jobs.

    `waiting`: jobs that are to run, by stage.
    """
    return [
        replace(row, disk=row.disk * min(1, waiting[row.stage] / row.jobs))
        for row in rows
        if waiting.get(row.stage)
    ]


def misfits(rows: Iterable[StageNeed], task: Task, machine: Machine) -> list[str]:
    """Return a sentence for each thing that does not fit on a machine; none if all does."""
    found, disk = [], 0.0
    for row in rows:
        disk += row.disk
        count = gpus(row.stage, task)
        free = machine.least_free(count)
        if row.host > machine.memory:
            found.append(
                f"{row.stage} needs some {row.host / GB:.1f} GB of memory and this machine has "
                f"{machine.memory / GB:.1f} GB; {HOST_KEYS.get(row.stage, MACHINE)}"
            )
        if row.stage == "train" and free is not None:
            try:
                gpu_bytes("train", replace(task, free=free))
            except ButlerError as error:
                found.append(f"{error}{_by_hand(task)}")
        elif free is not None and row.gpu > count * free:
            found.append(
                f"{row.stage} needs some {row.gpu / GB:.1f} GB of GPU memory and "
                f"{count * free / GB:.1f} GB are free; {GPU_KEYS.get(row.stage, SERVING)}"
            )
    if disk > machine.disk:
        found.append(
            f"the run leaves some {disk / GB:.0f} GB of files and {machine.disk / GB:.0f} GB are "
            "free here; free some, take fewer weights in variants, or run it in another --directory"
        )
    return found


def _by_hand(task: Task) -> str:
    """Return, as a hint, what of a training's memory is set by hand and could be left to `auto`."""
    train = task.settings.train
    micro, again = train.micro_batch != "auto", train.activation_checkpointing is False
    named = ["train.micro_batch: auto"] * micro + ["train.activation_checkpointing: auto"] * again
    return f", or set {' and '.join(named)}" if named else ""


def check_fit(rows: Iterable[StageNeed], task: Task, machine: Machine) -> None:
    """Stop at the first thing that does not fit.

    Raises:
        ButlerError: as `misfits` tells it.
    """
    for sentence in misfits(rows, task, machine):
        raise ButlerError(f"{sentence} (`snakemake plan` shows all that the run needs)")


def peaks(rows: list[StageNeed]) -> str:
    """Return what the stages need at most, in one line."""
    host, gpu = max(rows, key=lambda row: row.host), max(rows, key=lambda row: row.gpu)
    said = f"plan: at most some {host.host / GB:.1f} GB of memory ({host.stage})"
    said += f", {gpu.gpu / GB:.1f} GB of GPU memory ({gpu.stage})" if gpu.gpu else ""
    return f"{said}, {sum(row.disk for row in rows) / GB:.1f} GB of disk; more: `snakemake plan`"
