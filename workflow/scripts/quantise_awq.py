"""Quantise the merged model to 4 bits with `lmdeploy lite auto_awq`, calibrated on recipe text."""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from butler.chat_template import ChatTemplate
from butler.devices import resolve_device
from butler.errors import ButlerError, run_cli
from butler.files import atomic_dir, atomic_write_json
from butler.held_out import rendered
from butler.hf_folder import carry_over
from butler.lmdeploy_cpu import CALIBRATION_TEXTS, fp32_view, write_calibration_text
from butler.tools import run_tool, tool_environment

TURBOMIND_GROUP_SIZE = 128


def check_group_size(group_size: int, model: Path) -> None:
    """Raise ButlerError for a group size that cannot be served or does not divide the layers."""
    if group_size != TURBOMIND_GROUP_SIZE:
        raise ButlerError(
            f"awq.group_size is {group_size}, but LMDeploy 0.7.3 converts and serves "
            f"{TURBOMIND_GROUP_SIZE} only"
        )
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    for key in ("hidden_size", "intermediate_size"):
        if config.get(key, group_size) % group_size:
            raise ButlerError(
                f"the base model's {key} {config[key]} is no multiple of awq.group_size "
                f"{group_size}: it cannot be quantised"
            )


def finish(model: Path, folder: Path) -> None:
    """Give the quantised folder what `auto_awq` does not carry over, and the served precision."""
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


def main() -> None:
    """Quantise one model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="merged model")
    parser.add_argument("--text", type=Path, required=True, help="train.jsonl")
    parser.add_argument("--chat-template", required=True)
    parser.add_argument("--samples", type=int, required=True)
    parser.add_argument("--length", type=int, required=True, help="tokens of a sample")
    parser.add_argument("--bits", type=int, required=True)
    parser.add_argument("--group-size", type=int, required=True)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    check_group_size(args.group_size, args.model)
    device = resolve_device(args.device)
    texts = rendered(args.text, CALIBRATION_TEXTS, ChatTemplate.load(args.chat_template))
    with tempfile.TemporaryDirectory() as scratch, atomic_dir(args.out) as folder:
        work = Path(scratch)
        write_calibration_text(texts, work)
        source = args.model if device == "cuda" else fp32_view(args.model, work / "model")
        command = [sys.executable, "-m", "lmdeploy", "lite", "auto_awq", str(source.resolve())]
        command += ["--calib-dataset", "ptb", "--calib-samples", str(args.samples)]
        command += ["--calib-seqlen", str(args.length), "--w-bits", str(args.bits)]
        command += ["--w-group-size", str(args.group_size), "--device", device]
        command += ["--work-dir", str(folder.resolve())]
        run_tool(command, tool_environment(work / "cache", args.threads), cwd=work)
        finish(args.model, folder)


if __name__ == "__main__":
    run_cli(main)
