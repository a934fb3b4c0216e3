"""Collect min-max statistics over the training text with `lmdeploy lite calibrate`.

LMDeploy observes the linear layers' inputs and outputs. Up to 0.3 it also observed the KV cache,
for the static parameters of that time; here the cache is observed over the same samples, keys after
the rotary embedding, and written in the form that `lmdeploy.lite.apis.kv_qparams` reads.
"""

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import butler.interpreter  # noqa: F401

import torch

from butler.calibration_text import add_arguments, training_texts
from butler.devices import resolve_device
from butler.errors import run_cli
from butler.files import atomic_dir
from butler.hf_folder import keep_old_cache
from butler.lmdeploy.lite_maps import complete_maps
from butler.lmdeploy.on_cpu import (
    enough_text,
    fp32_view,
    without_cuda,
    working_directory,
    write_calibration_text,
)
from butler.progress import progress
from butler.settings.serving_stage import CalibrationSettings


class CacheObserver:
    """Smallest and largest key or value of each layer, [kv heads, head_dim]."""

    def __init__(self) -> None:
        self.low: dict[int, torch.Tensor] = {}
        self.high: dict[int, torch.Tensor] = {}

    def observe(self, layer: int, states: torch.Tensor) -> None:
        """Take in states of one layer, [batch, kv heads, tokens, head_dim]."""
        low, high = states.amin(dim=(0, 2)).float().cpu(), states.amax(dim=(0, 2)).float().cpu()
        self.low[layer] = torch.minimum(self.low.get(layer, low), low)
        self.high[layer] = torch.maximum(self.high.get(layer, high), high)

    def statistics(self) -> dict[str, dict[str, torch.Tensor]]:
        """Return them by layer name, as LMDeploy's observers did up to 0.3."""
        names = {layer: f"model.layers.{layer}" for layer in sorted(self.low)}
        return {
            "min": {name: self.low[layer] for layer, name in names.items()},
            "max": {name: self.high[layer] for layer, name in names.items()},
            "absmax": {
                name: torch.maximum(self.low[layer].abs(), self.high[layer].abs())
                for layer, name in names.items()
            },
        }


def observe_cache(
    model: Any, samples: list[torch.Tensor], device: str
) -> tuple[CacheObserver, CacheObserver]:
    """Return what the KV cache holds after each of `samples`, token ids [1, tokens]."""
    keys, values = CacheObserver(), CacheObserver()
    model.to(device)
    with torch.inference_mode():
        for ids in samples:
            cache = model(input_ids=ids.to(device), use_cache=True).past_key_values
            for layer in range(model.config.num_hidden_layers):
                key, value = cache[layer]
                keys.observe(layer, key)
                values.observe(layer, value)
    return keys, values


def calibrate(
    model: Path, texts: list[str], settings: CalibrationSettings, device: str, out: Path
) -> None:
    """Run LMDeploy's calibration over `texts` and write its statistics and the cache's."""
    from lmdeploy.lite.apis.calibrate import calibrate as lmdeploy_calibrate
    from lmdeploy.lite.utils import get_calib_loaders
    from transformers import AutoTokenizer

    complete_maps()
    with tempfile.TemporaryDirectory() as scratch:
        source = model if device == "cuda" else fp32_view(model, Path(scratch) / "model")
        tokenizer = AutoTokenizer.from_pretrained(str(source), trust_remote_code=True)
        enough_text(tokenizer, texts, settings.length)
        write_calibration_text(texts, Path(scratch))
        source, out = source.resolve(), out.resolve()
        with working_directory(Path(scratch)):
            _, loaded, tokenizer, _ = lmdeploy_calibrate(
                str(source),
                calib_dataset="ptb",
                calib_samples=settings.samples,
                calib_seqlen=settings.length,
                work_dir=str(out),
                device=device,
            )
            # The loader draws by seed: these are the samples that LMDeploy has just seen.
            samples, _ = get_calib_loaders(
                "ptb", tokenizer, nsamples=settings.samples, seqlen=settings.length
            )
    keys, values = observe_cache(loaded, [sample[0] for sample in samples], device)
    torch.save(keys.statistics(), out / "key_stats.pth")
    torch.save(values.statistics(), out / "value_stats.pth")


def main() -> None:
    """Calibrate one model."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser, "--settings")
    args = parser.parse_args()
    settings, device = args.settings, resolve_device(args.device)
    torch.set_num_threads(args.threads)
    texts = training_texts(args)
    with tempfile.TemporaryDirectory() as cache, atomic_dir(args.out) as folder:
        os.environ["HF_HOME"] = cache
        without_cuda()
        keep_old_cache(args.model)
        task = f"{settings.samples} samples of {settings.length} tokens"
        with progress("calibrate", lambda: task):
            calibrate(args.model, texts, settings, device, folder)


if __name__ == "__main__":
    run_cli(main)
