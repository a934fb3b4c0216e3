"""Quantising with LMDeploy's `lite` on our own text: what it needs, and what it leaves undone.

A quantiser is a module below this package that is run with the arguments of its function as one
JSON object, and STAYS. `in_fp16`, `keep_on` and `call` are for those modules.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from butler.calibration_text import training_texts
from butler.devices import resolve_device
from butler.errors import ButlerError
from butler.files import atomic_dir, atomic_write_json
from butler.gpu import GpuMemory
from butler.hf_folder import carry_over, read_config
from butler.lmdeploy.calibration_memory import Calibration
from butler.lmdeploy.on_cpu import fp32_view, write_calibration_text
from butler.manifest import write_manifest
from butler.progress import progress
from butler.tools import run_tool, tool_environment

STAYS = "stays_on_device"  # beside the function's arguments: see keep_on


def add_batch_size(parser: argparse.ArgumentParser) -> None:
    """Add the option that says how many samples are calibrated on at a time."""
    parser.add_argument("--batch-size", type=int, help="samples at a time; default: by memory")


def quantise(
    args: argparse.Namespace, module: ModuleType, method: str, own: Mapping[str, Any], doing: str
) -> None:
    """Quantise the model that `args`, by calibration_text.add_arguments and add_batch_size, name.

    Args:
        module: the quantiser.
        method: `quant_method` of the config.json that it writes.
        own: what it takes beside model, text and device.
        doing: what progress says of it.
    """
    text, device = args.calibration, resolve_device(args.device)
    stays, at_a_time = plan(args.model, text.samples, text.length, device)
    texts = training_texts(args)
    with tempfile.TemporaryDirectory() as scratch, atomic_dir(args.out) as folder:
        work = Path(scratch)
        write_calibration_text(texts, work)
        source = args.model if device == "cuda" else fp32_view(args.model, work / "model")
        arguments = {
            "model": str(source.resolve()),
            "work_dir": str(folder.resolve()),
            "calib_dataset": "ptb",
            "calib_samples": text.samples,
            "calib_seqlen": text.length,
            "batch_size": args.batch_size or at_a_time,
            "device": device,
            **own,
            STAYS: stays,
        }
        command = [sys.executable, "-m", module.__name__, json.dumps(arguments)]
        with progress(args.out.name, lambda: doing):
            run_tool(command, tool_environment(work / "cache", args.threads), cwd=work)
        finish(args.model, folder, method)


def plan(model: Path, samples: int, length: int, device: str) -> tuple[bool, int]:
    """Return whether the whole model stays on the device, and how many samples at a time."""
    if device == "cpu":
        return False, 1
    free = GpuMemory().free()
    weights = sum(path.stat().st_size for path in model.glob("*.safetensors"))
    config = read_config(model)
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    needed = Calibration.of(heads, hidden, samples, length)
    if not needed.fits_beside(weights, free):
        return False, needed.at_a_time(free)
    return True, needed.at_a_time(free - weights)


def finish(model: Path, folder: Path, method: str) -> None:
    """Give the quantised folder what `lite` does not carry over, the served precision, and its
    manifest.
    """
    if not (*folder.glob("*.safetensors"), *folder.glob("pytorch_model*.bin")):
        raise ButlerError("lite wrote no model; its log says why")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config.get("quantization_config", {}).get("quant_method") != method:
        raise ButlerError("lite left no quantization_config in config.json; its log says why")
    config["torch_dtype"] = "float16"
    config.pop("_name_or_path", None)
    atomic_write_json(folder / "config.json", config)
    carry_over(model, folder)
    for path in folder.glob("*_stats.pth"):
        path.unlink()
    write_manifest(folder)


def keep_on(device: str) -> None:
    """Let LMDeploy load a model straight to a device and leave it there.

    Its own way holds the whole model in the host's memory, and moves each layer to the GPU and back
    to be calibrated, smoothed and quantised. What is quantised goes to the host either way.
    """
    import torch
    from lmdeploy.lite.apis import calibrate

    load, move = calibrate.load_hf_from_pretrained, torch.nn.Module.to

    def loaded(path: str, **options: Any) -> Any:
        return load(path, device_map={"": device}, **options)

    def moved(module: Any, *target: Any, **options: Any) -> Any:
        return module if target == ("cpu",) else move(module, *target, **options)

    calibrate.load_hf_from_pretrained = loaded
    torch.nn.Module.to = moved


def in_fp16(save: Callable[..., None]) -> Callable[..., None]:
    """Return transformers' own way to save a model, for fp16 safetensors whatever is asked for.

    What a quantised layer holds are buffers, and stays as it is.
    """

    def saved(model: Any, folder: str, **options: Any) -> None:
        for one in model.parameters():
            one.data = one.data.half()
        save(model, folder, **options | {"safe_serialization": True})

    return saved


def call(function: Callable[..., None], arguments: dict[str, Any]) -> None:
    """Call a quantiser of `lite` with those of its arguments that `quantise` gave."""
    import torch
    from transformers import PreTrainedModel

    from butler.lmdeploy.lite_maps import complete_maps

    complete_maps()
    PreTrainedModel.save_pretrained = in_fp16(PreTrainedModel.save_pretrained)
    if arguments.pop(STAYS):
        keep_on(arguments["device"])
    start = time.perf_counter()
    function(**arguments)
    print(f"{function.__name__} took {time.perf_counter() - start:.1f} s")
    if torch.cuda.is_available():
        print(f"peak of torch's GPU memory: {torch.cuda.max_memory_reserved() / 2**20:,.0f} MiB")
