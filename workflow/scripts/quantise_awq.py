"""Quantise the merged model to 4 bits with LMDeploy's auto_awq, calibrated on the training text."""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from butler.calibration_text import add_arguments, training_texts
from butler.devices import resolve_device
from butler.errors import ButlerError, run_cli
from butler.files import atomic_dir, atomic_write_json
from butler.gpu import GpuMemory
from butler.hf_folder import carry_over, read_config
from butler.lmdeploy import auto_awq as lmdeploy_awq
from butler.lmdeploy.calibration_memory import Calibration
from butler.lmdeploy.on_cpu import fp32_view, write_calibration_text
from butler.manifest import write_manifest
from butler.model_folder import check_group_size
from butler.progress import progress
from butler.settings.serving_stage import AwqSettings
from butler.tools import run_tool, tool_environment


def finish(model: Path, folder: Path) -> None:
    """Give the quantised folder what `auto_awq` does not carry over, the served precision, and its
    manifest.
    """
    if not (*folder.glob("*.safetensors"), *folder.glob("pytorch_model*.bin")):
        raise ButlerError("auto_awq wrote no model; its log says why")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config.get("quantization_config", {}).get("quant_method") != "awq":
        raise ButlerError("auto_awq left no quantization_config in config.json; its log says why")
    config["torch_dtype"] = "float16"
    config.pop("_name_or_path", None)
    atomic_write_json(folder / "config.json", config)
    carry_over(model, folder)
    for path in folder.glob("*_stats.pth"):
        path.unlink()
    write_manifest(folder)


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


def main() -> None:
    """Quantise one model."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    parser.add_argument(
        "--settings",
        type=AwqSettings.from_argument,
        required=True,
        help="JSON of the config's section awq, or a file of it",
    )
    parser.add_argument("--batch-size", type=int, help="samples at a time; default: by memory")
    args = parser.parse_args()
    text, awq = args.calibration, args.settings
    check_group_size(read_config(args.model), awq.group_size, str(args.model))
    device = resolve_device(args.device)
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
            "w_bits": awq.bits,
            "w_group_size": awq.group_size,
            "search_scale": awq.search_scale,
            "device": device,
            lmdeploy_awq.STAYS: stays,
        }
        command = [sys.executable, "-m", lmdeploy_awq.__name__, json.dumps(arguments)]
        with progress("awq", lambda: f"quantising to {awq.bits} bits"):
            run_tool(command, tool_environment(work / "cache", args.threads), cwd=work)
        finish(args.model, folder)


if __name__ == "__main__":
    run_cli(main)
