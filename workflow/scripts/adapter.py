"""Turn XTuner's checkpoint into a Hugging Face adapter, without the model that it adapts.

The checkpoint holds the trained tensors alone: PEFT's names for them, half precision and PEFT's
description are all that `xtuner convert pth_to_hf` adds once it has loaded the base. What the
training left to resume from can go then: its checkpoint is taken.
"""

import argparse
import shutil
from pathlib import Path
from typing import Any

import butler.interpreter  # noqa: F401

import torch

from butler.errors import ButlerError, run_cli
from butler.files import atomic_dir, discard
from butler.xtuner.configuration import check_rendered

MODEL = "llm."  # XTuner's name for the model, before each tensor's
ADAPTER = ".default."  # PEFT's name for the one adapter, left out in a file


def the_checkpoint(folder: Path) -> Path:
    """Return the one checkpoint in `folder`: a file, or a folder for DeepSpeed."""
    found = sorted(folder.glob("iter_*.pth"))
    if len(found) != 1:
        raise ButlerError(f"{folder} holds {len(found)} checkpoints instead of one; train again")
    return found[0]


def trained_tensors(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Return what was trained, by XTuner's names; of DeepSpeed's pieces by XTuner's own code."""
    if checkpoint.is_dir():
        from xtuner.utils.zero_to_any_dtype import get_state_dict_from_zero_checkpoint

        return get_state_dict_from_zero_checkpoint(str(checkpoint.parent), checkpoint.name)
    # The file is our own, and holds more than tensors; the optimiser's stay on the disk.
    return torch.load(checkpoint, map_location="cpu", weights_only=False, mmap=True)["state_dict"]


def as_peft_names(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors in fp16 under the names of an adapter's file.

    Raises:
        ButlerError: if one is no part of a LoRA pair.
    """
    found = {}
    for name, tensor in tensors.items():
        if not (name.startswith(MODEL) and ".lora_" in name and ADAPTER in name):
            raise ButlerError(f"the checkpoint holds {name}, which is no part of a LoRA adapter")
        found[name.removeprefix(MODEL).replace(ADAPTER, ".")] = tensor.half().contiguous()
    return found


def describe(config: Path, names: list[str], folder: Path) -> None:
    """Write adapter_config.json for the tensors `names`, by what the training was told."""
    from mmengine.config import Config
    from peft import LoraConfig

    model = Config.fromfile(str(config)).model
    settings: dict[str, Any] = {name: value for name, value in model.lora.items() if name != "type"}
    settings["base_model_name_or_path"] = model.llm.pretrained_model_name_or_path
    described = LoraConfig(**settings, inference_mode=True)
    # XTuner takes every linear layer of the same name; PEFT would write a set, in any order.
    described.target_modules = sorted({name.split(".lora_")[0].split(".")[-1] for name in names})
    described.save_pretrained(str(folder))


def main() -> None:
    """Convert one checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="XTuner's, rendered")
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder that holds it")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--discard", type=Path, help="the training's work folder")
    args = parser.parse_args()
    check_rendered(args.config)
    from safetensors.torch import save_file

    tensors = as_peft_names(trained_tensors(the_checkpoint(args.checkpoint)))
    with atomic_dir(args.out) as folder:
        describe(args.config, list(tensors), folder)
        save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        shutil.copyfile(args.config, folder / "xtuner_config.py")
    if args.discard is not None:
        discard(args.discard)


if __name__ == "__main__":
    run_cli(main)
