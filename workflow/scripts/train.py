"""Fine-tune with XTuner, from the last checkpoint if there is one of the same run.

XTuner works in --work, which stays when a run is cut; only a complete training reaches --out. The
work folder belongs to one configuration, corpus and base: with any other it starts anew. It stays
when the training is complete, too: a queue may take this job for cut although it has just ended,
and then what it made is removed. adapter.py discards it, whose job shows that this one counted.
"""

import argparse
import csv
import hashlib
import json
import os
import shutil
import zipfile
from dataclasses import astuple, fields
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from butler.arguments import thread_count
from butler.devices import DEVICES, resolve_device
from butler.errors import ButlerError, run_cli
from butler.files import atomic_dir, atomic_open, atomic_write_text, discard
from butler.imports import code_of
from butler.manifest import hashes
from butler.progress import progress
from butler.tools import run_tool, tool_environment
from butler.training_log import LoggedStep, check_finite, read_log, training_status
from butler.xtuner import FINISHED
from butler.xtuner.configuration import check_rendered
from butler.xtuner.launch import launch
from butler.xtuner.memory import GIB, BatchPlan, free_memory, require_gpus

FINGERPRINT = "fingerprint"
ARITHMETIC = ("xtuner", "torch", "transformers", "bitsandbytes", "peft", "deepspeed")


def fingerprint(config: Path, data: Path, base: Path, launch: str, fast: bool) -> str:
    """Return a hash of what a checkpoint depends on.

    That is XTuner's configuration, the corpus, the base's files, how the training is launched, our
    code in XTuner's process, and the releases of the packages that do the arithmetic.
    """
    # Not what planned the micro batches: they stand in the configuration.
    ours = code_of(f"butler/xtuner/{'fast' if fast else 'support'}.py")
    base_files = sorted(p for p in base.iterdir() if p.is_file() and not p.name.startswith("."))
    digest = hashlib.sha256(launch.encode())
    files = [config, data, *ours, *base_files]
    for path, found in zip(files, hashes(files), strict=True):
        digest.update(path.name.encode() + bytes.fromhex(found))
    packages = (*ARITHMETIC, "liger-kernel") if fast else ARITHMETIC
    digest.update(" ".join(f"{name} {version(name)}" for name in packages).encode())
    return digest.hexdigest()


def open_work(work: Path, mark: str) -> None:
    """Make `work` ready for the run `mark`, throwing away what another run left there.

    Raises:
        ButlerError: if the folder holds something that is not a training's.
    """
    path = work / FINGERPRINT
    if work.exists() and any(work.iterdir()):
        if not path.is_file():
            raise ButlerError(f"{work} is no training's work folder; move it away or name another")
        if path.read_text(encoding="utf-8") != mark:
            print(f"{work} is of another configuration, corpus or base: starting anew", flush=True)
            discard(work)
    if not path.is_file():
        # With its mark from the start: a folder without one is not ours.
        with atomic_dir(work) as folder:
            (folder / FINGERPRINT).write_text(mark, encoding="utf-8")


def last_checkpoint(work: Path) -> Path | None:
    """Return the newest whole checkpoint in `work`: a file, or a folder for DeepSpeed."""
    path = work / "last_checkpoint"
    if not path.is_file():
        return None
    # mmengine writes the name when the checkpoint is complete; cut there, it is the newest one's.
    named = Path(path.read_text(encoding="utf-8").strip()).name
    last = _step(Path(named)) if named else None
    found = {_step(path): path for path in work.glob("iter_*.pth")}
    for step in sorted(found, reverse=True):
        if (last is None or step <= last) and _is_whole(found[step]):
            return found[step]
        print(f"{found[step]} is not whole: not resuming from it", flush=True)
    return None


def _step(checkpoint: Path) -> int:
    digits = checkpoint.stem.removeprefix("iter_")
    return int(digits) if digits.isdigit() else 0


def _is_whole(checkpoint: Path) -> bool:
    """Say whether every archive of a checkpoint has its directory and its checksums are right."""
    files = sorted(checkpoint.rglob("*.pt")) if checkpoint.is_dir() else [checkpoint]
    try:
        for path in files:
            with zipfile.ZipFile(path) as archive:
                if archive.testzip() is not None:
                    return False
    except (OSError, zipfile.BadZipFile):
        return False
    return bool(files)


def deepspeed_json(name: str, work: Path, on_gpu: bool) -> Path:
    """Return DeepSpeed's configuration `name` as XTuner ships it, fitted to a CPU if need be."""
    root = find_spec("xtuner")
    if root is None or root.origin is None:
        raise ButlerError("XTuner is not installed; rebuild its environment")
    shipped = Path(root.origin).parent / "configs" / "deepspeed" / f"{name}.json"
    settings = json.loads(shipped.read_text(encoding="utf-8"))
    if not on_gpu:
        settings["fp16"] = settings["bf16"] = {"enabled": False}
        settings["zero_optimization"]["overlap_comm"] = False
    path = work / f"{name}.json"
    atomic_write_text(path, json.dumps(settings, indent=2))
    return path


def check_memory(plan: BatchPlan, on_gpu: bool) -> None:
    """Stop if the GPU has less free memory than the plan was made for.

    Raises:
        ButlerError: with both numbers.
    """
    free = free_memory(plan.processes) if on_gpu else 0
    if on_gpu and plan.needed > free:
        raise ButlerError(
            f"training was planned for {plan.needed / GIB:.1f} GiB of GPU memory, but "
            f"{free / GIB:.1f} GiB are free now; end what else runs there or render the "
            "configuration again"
        )


def command(args: argparse.Namespace, plan: BatchPlan, on_gpu: bool) -> list[str]:
    """Return the command line of XTuner's training, resuming where it can."""
    line = launch(plan.nodes, plan.processes, args.threads)
    line += ["-m", "butler.xtuner", str(args.config), "--work-dir", str(args.work)]
    if plan.world > 1:
        line += ["--launcher", "pytorch"]
    if args.deepspeed:
        line += ["--deepspeed", str(deepspeed_json(args.deepspeed, args.work, on_gpu))]
    if checkpoint := last_checkpoint(args.work):
        print(f"resuming from {checkpoint.name}", flush=True)
        line += ["--resume", str(checkpoint)]
    return line


def environment(args: argparse.Namespace, plan: BatchPlan, on_gpu: bool) -> dict[str, str]:
    """Return the environment of the training process."""
    # mmengine's checkpoints hold more than tensors, and they are our own.
    extra = {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
    if args.deepspeed and plan.world == 1:
        # DeepSpeed takes part in a process group even when alone.
        extra |= {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1"}
        # The system picks it as the store opens: one looked up before may be taken by then.
        extra["MASTER_PORT"] = "0"
    if on_gpu:
        # How many positions carry labels differs from batch to batch: fixed segments fragment.
        extra["PYTORCH_CUDA_ALLOC_CONF"] = "expandable_segments:True"
    else:
        extra |= {"DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    return tool_environment(args.work / "cache", args.threads, **extra)


def finished_checkpoint(work: Path) -> Path:
    """Return the last checkpoint of a training that reached its end.

    Raises:
        ButlerError: if XTuner stopped before: its exit code alone does not say so.
    """
    mark, found = work / FINISHED, last_checkpoint(work)
    if not mark.is_file() or found is None:
        raise ButlerError("XTuner ended without finishing the training; its log says why")
    steps = json.loads(mark.read_text(encoding="utf-8"))["iter"]
    if found.name != f"iter_{steps}.pth":
        mark.unlink()  # so that the next run goes on from there
        raise ButlerError(
            f"training ended at step {steps}, but the last whole checkpoint is {found.name}; "
            "start again, and it goes on from there"
        )
    return found


def publish(args: argparse.Namespace, plan: BatchPlan) -> None:
    """Put the checkpoint and the log where the next stage takes them, if it did not diverge."""
    checkpoint = finished_checkpoint(args.work)
    steps = read_log(args.work, plan.accumulation, plan.tokens)
    check_finite(steps)
    with atomic_dir(args.out) as folder:
        target = folder / checkpoint.name
        if checkpoint.is_dir():
            shutil.copytree(checkpoint, target, copy_function=os.link)
        else:
            os.link(checkpoint, target)
    with atomic_open(args.loss) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([field.name for field in fields(LoggedStep)])
        writer.writerows(map(astuple, steps))


def main() -> None:
    """Train to the end, or fail."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="XTuner's, rendered")
    parser.add_argument("--plan", type=Path, required=True, help="JSON, rendered beside it")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="kept when a run is cut")
    parser.add_argument("--out", type=Path, required=True, help="folder of the last checkpoint")
    parser.add_argument("--loss", type=Path, required=True, help="CSV of the logged losses")
    parser.add_argument("--deepspeed", default="", help="name of a configuration that XTuner ships")
    parser.add_argument("--device", choices=DEVICES, default="auto")
    parser.add_argument("--threads", type=thread_count, default=2)
    args = parser.parse_args()
    check_rendered(args.config)
    plan = BatchPlan.load(args.plan)
    on_gpu = resolve_device(args.device) == "cuda"
    require_gpus(plan.processes, on_gpu)
    shared = f"{plan.nodes}x{plan.processes}"
    launched = f"{args.deepspeed or 'plain'} {shared} {'cuda' if on_gpu else 'cpu'}"
    fast = plan.kernels == "fast"
    with progress("train", lambda: "hashing the base's files"):
        mark = fingerprint(args.config, args.data, args.base, launched, fast)
    open_work(args.work, mark)
    if not (args.work / FINISHED).is_file():
        check_memory(plan, on_gpu)
        with progress("train", lambda: training_status(args.work, plan.accumulation)):
            run_tool(command(args, plan, on_gpu), environment(args, plan, on_gpu))
    publish(args, plan)


if __name__ == "__main__":
    run_cli(main)
