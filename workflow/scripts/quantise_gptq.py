"""Quantise the merged model to 4 bits by GPTQ, calibrated on the same text as AWQ."""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import butler.interpreter  # noqa: F401

import torch

from butler.calibration_text import add_arguments, samples_of, training_texts
from butler.devices import resolve_device
from butler.errors import run_cli
from butler.files import atomic_dir, atomic_write_json
from butler.gptq import quantisation_config, quantised_layers
from butler.hf_folder import ModelTensors, ShardWriter, copy_rest, read_config
from butler.layer_walk import Walk
from butler.manifest import write_manifest
from butler.model_folder import check_group_size
from butler.model_likelihood import batches
from butler.progress import counted, progress
from butler.settings.serving_stage import CalibrationSettings, GptqSettings


def texts_of(
    model: Path, texts: list[str], settings: CalibrationSettings
) -> Iterator[torch.Tensor]:
    """Yield the samples as token ids [texts, length], as many at a time as memory is meant for."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(model), trust_remote_code=True)
    samples = samples_of(tokenizer, texts, settings.samples, settings.length)
    for some in batches([settings.length] * settings.samples, read_config(model)):
        yield samples[some]


def main() -> None:
    """Quantise one model."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    parser.add_argument(
        "--settings",
        type=GptqSettings.from_argument,
        required=True,
        help="JSON of the config's section gptq, or a file of it",
    )
    parser.add_argument("--group-size", type=int, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    config, group = read_config(args.model), args.group_size
    check_group_size(config, group, str(args.model))
    texts = training_texts(args)
    done: list[str] = []
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as cache, atomic_dir(args.out) as folder:
        os.environ["HF_HOME"] = cache
        walk = Walk(
            args.model,
            list(texts_of(args.model, texts, args.calibration)),
            resolve_device(args.device),
        )
        writer, plain, total = ShardWriter(folder), ModelTensors(args.model), len(walk.linears())
        left = dict.fromkeys(plain.names())
        with progress("gptq", lambda: counted(len(done), total, "layers", started)):
            for name, tensors in quantised_layers(walk, group, args.settings):
                writer.add({f"{name}{ending}": one for ending, one in tensors.items()})
                del left[f"{name}.weight"]
                done.append(name)
        for name in left:
            one = plain[name]
            writer.add({name: one.half() if one.is_floating_point() else one})
        writer.close()
        print(f"GPTQ took {time.monotonic() - started:.1f} s")
        if torch.cuda.is_available():
            peak = torch.cuda.max_memory_reserved() / 2**20
            print(f"peak of torch's GPU memory: {peak:,.0f} MiB")
        copy_rest(args.model, folder)
        quantised = {"quantization_config": quantisation_config(group, args.settings)}
        atomic_write_json(folder / "config.json", config | quantised | {"torch_dtype": "float16"})
        write_manifest(folder)


if __name__ == "__main__":
    run_cli(main)
