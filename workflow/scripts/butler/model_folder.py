"""Whether a Hugging Face folder of others can be taken as base model, told before anything is run.

Only JSON and the headers of safetensors files are read, no code and no pickle: the format is
https://huggingface.co/docs/safetensors (8 bytes of length, a JSON header, the data).
"""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from butler.errors import ButlerError

# The embedding's name by architecture: the families that every stage knows.
EMBEDDINGS = {
    "InternLM2ForCausalLM": "model.tok_embeddings.weight",
    "InternLMForCausalLM": "model.embed_tokens.weight",
    "LlamaForCausalLM": "model.embed_tokens.weight",
    "Qwen2ForCausalLM": "model.embed_tokens.weight",
}
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle")  # can run code when loaded
LARGEST_HEADER = 100_000_000  # bytes, as safetensors itself allows


def check_model_folder(folder: Path) -> None:
    """Check configuration, architecture, shards and the embedding's shape.

    Raises:
        ButlerError: one sentence that names the file and what to do.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ButlerError(f"{path} is missing; base.model takes a complete Hugging Face folder")
    config = _read_json(path)
    architecture = next(iter(config.get("architectures") or []), None)
    if architecture not in EMBEDDINGS:
        raise ButlerError(
            f"{path} names architecture {architecture}, which the stages do not know; take a base "
            f"model of {', '.join(EMBEDDINGS)}"
        )
    shapes: dict[str, list[int]] = {}
    for shard in weight_files(folder):
        shapes |= read_shapes(shard)
    _check_names(folder, shapes)
    name = EMBEDDINGS[architecture]
    if name not in shapes:
        raise ButlerError(
            f"{path} names architecture {architecture}, but the weights beside it have no {name}; "
            "take config.json and weights of one model"
        )
    named = [config.get("vocab_size"), config.get("hidden_size")]
    if shapes[name] != named:
        raise ButlerError(
            f"{path} says vocab_size and hidden_size {named}, but {name} is {shapes[name]}; take "
            "config.json and weights of one model"
        )


def check_group_size(config: Mapping[str, Any], group_size: int, shown: str) -> None:
    """Check that the model's layers come in whole groups of 4-bit weights.

    Raises:
        ButlerError: naming the size that does not; `shown` is what the user calls the folder.
    """
    for key in ("hidden_size", "intermediate_size"):
        if config.get(key, group_size) % group_size:
            raise ButlerError(
                f"{shown}/config.json: {key} {config[key]} is no multiple of awq.group_size "
                f"{group_size}, so the model cannot be quantised to 4 bits"
            )


def weight_files(folder: Path) -> list[Path]:
    """Return the folder's safetensors files, in order.

    Raises:
        ButlerError: if there are none, or pickles in their place.
    """
    found = sorted(folder.glob("*.safetensors"))
    if found or any(folder.glob("*.safetensors.index.json")):
        return found
    pickles = sorted(path for pattern in PICKLES for path in folder.glob(pattern))
    pickles += sorted(folder.glob("*.bin.index.json"))
    if pickles:
        raise ButlerError(
            f"{pickles[0]} stands for pickled weights, which can run code when they are loaded; "
            "convert the folder with workflow/scripts/to_safetensors.py and give the new one as "
            "base.model"
        )
    raise ButlerError(f"{folder} holds no weights; base.model needs its *.safetensors files")


def read_shapes(path: Path) -> dict[str, list[int]]:
    """Return the shape of each tensor by its name.

    Raises:
        ButlerError: if the file is not of the format, or shorter than its header says.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        first = stream.read(8)
        length = struct.unpack("<Q", first)[0] if len(first) == 8 else 0
        if not 2 <= length <= min(LARGEST_HEADER, size):
            raise ButlerError(f"{path} is no safetensors file; fetch it again")
        try:
            header = json.loads(stream.read(length))
            header.pop("__metadata__", None)
            end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
            shapes = {name: list(entry["shape"]) for name, entry in header.items()}
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            raise ButlerError(f"{path} is no safetensors file; fetch it again") from None
    if 8 + length + end > size:
        raise ButlerError(
            f"{path} is cut short: {size:,} of {8 + length + end:,} bytes; fetch it again"
        )
    return shapes


def _check_names(folder: Path, shapes: dict[str, list[int]]) -> None:
    """Raise ButlerError unless every shard and tensor that an index names is there."""
    for index in sorted(folder.glob("*.safetensors.index.json")):
        weights = _read_json(index).get("weight_map") or {}
        for shard in sorted(set(weights.values())):
            if not (folder / shard).is_file():
                raise ButlerError(f"{folder / shard} is missing, named in {index.name}; fetch it")
        for name in sorted(weights):
            if name not in shapes:
                raise ButlerError(
                    f"{folder / weights[name]} lacks tensor {name}, named in {index.name}; "
                    "fetch both again"
                )


def check_values(folder: Path) -> None:
    """Read all weights once (needs torch).

    Raises:
        ButlerError: naming the first tensor that holds NaN or infinity.
    """
    import torch
    from safetensors import safe_open

    for path in weight_files(folder):
        with safe_open(str(path), framework="pt") as source:
            for name in source.keys():  # noqa: SIM118  no mapping
                if not bool(torch.isfinite(source.get_tensor(name)).all()):
                    raise ButlerError(
                        f"{path} holds NaN or infinity in {name}; fetch the file again, or take "
                        "another base model"
                    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ButlerError(f"{path} is no JSON object; fetch the file again")
    return found
