"""Quantise the merged model's layers to FP8 in blocks; it needs no text."""

import argparse
import time
from pathlib import Path

import butler.interpreter  # noqa: F401

import torch

from butler.arguments import thread_count
from butler.devices import DEVICES, resolve_device
from butler.errors import run_cli
from butler.files import atomic_dir, atomic_write_json
from butler.fp8 import SCALES, linears, quantisation_config, quantised
from butler.hf_folder import ModelTensors, ShardWriter, copy_rest, read_config
from butler.manifest import write_manifest
from butler.model_folder import check_blocks
from butler.progress import counted, progress
from butler.schemes import FP8_BLOCK


def main() -> None:
    """Quantise one model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--device", choices=DEVICES, default="cpu")
    parser.add_argument("--threads", type=thread_count, default=2)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    config, device = read_config(args.model), resolve_device(args.device)
    check_blocks(config, FP8_BLOCK, str(args.model))
    tensors, done, started = ModelTensors(args.model), [], time.monotonic()
    names = tensors.names()
    matrices = set(linears(args.model, names))
    with atomic_dir(args.out) as folder:
        writer = ShardWriter(folder)
        with progress("fp8", lambda: counted(len(done), len(names), "tensors", started)):
            for name in names:
                one = tensors[name]
                if name in matrices:
                    codes, scales = quantised(one.to(device))
                    writer.add({name: codes.cpu(), f"{name}{SCALES}": scales.cpu()})
                else:
                    writer.add({name: one.half() if one.is_floating_point() else one})
                done.append(name)
        writer.close()
        copy_rest(args.model, folder)
        said = {"quantization_config": quantisation_config(), "torch_dtype": "float16"}
        atomic_write_json(folder / "config.json", config | said)
        write_manifest(folder)


if __name__ == "__main__":
    run_cli(main)
