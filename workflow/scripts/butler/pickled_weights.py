"""Pickled weights made safetensors, a file at a time, without running what a pickle may hold.

torch reads tensors alone (`weights_only`) and refuses all else. A file is mapped into memory, not
read into it, unless it has the form of before torch 1.6.
"""

import pickle
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from butler.errors import ButlerError
from butler.files import atomic_write_json
from butler.hf_folder import read_index
from butler.progress import progress

if TYPE_CHECKING:
    import torch


def convert(shards: Sequence[Path], folder: Path, shown: str) -> None:
    """Write each file of pickled weights into `folder` as safetensors, and their index.

    The index names all tensors that the pickles' own index names, if they have one, so that a
    lost one is found in the folder made.

    Args:
        shards: pytorch_model*.bin of one folder.
        folder: where to write.
        shown: base.model as the user wrote it.

    Raises:
        ButlerError: if a file that the index names is missing, or one holds more than tensors.
    """
    from safetensors.torch import save_file

    places = _indexed(shards, shown)
    done: list[Path] = []
    with progress("base_model", lambda: f"{len(done)} of {len(shards)} pickles converted"):
        for path in shards:
            tensors = _apart(_load(path, f"{shown}/{path.name}"))
            save_file(tensors, folder / _new_name(path.name), metadata={"format": "pt"})
            places |= dict.fromkeys(tensors, _new_name(path.name))
            done.append(path)
    index = {"metadata": {}, "weight_map": places}
    atomic_write_json(folder / "model.safetensors.index.json", index)


def _new_name(name: str) -> str:
    return name.removeprefix("pytorch_").removesuffix(".bin") + ".safetensors"


def _indexed(shards: Sequence[Path], shown: str) -> dict[str, str]:
    """Return the new file of each tensor that the pickles' index names; nothing without one."""
    found: dict[str, str] = {}
    for index in sorted(shards[0].parent.glob("pytorch_model*.bin.index.json")):
        found |= read_index(index, f"{shown}/{index.name}")
        for shard in sorted(set(found.values()) - {path.name for path in shards}):
            raise ButlerError(f"{shown}/{shard} is missing, named in {index.name}; fetch it")
    return {name: _new_name(shard) for name, shard in found.items()}


def _load(path: Path, shown: str) -> "dict[str, torch.Tensor]":
    import torch

    try:
        loaded = torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
    except (pickle.UnpicklingError, RuntimeError, EOFError):
        loaded = None
    plain = isinstance(loaded, dict) and all(isinstance(v, torch.Tensor) for v in loaded.values())
    if not plain:
        raise ButlerError(
            f"{shown} is no file of tensors alone, or is cut short, so it was not loaded; fetch it "
            "again, or take a model with safetensors files"
        )
    return loaded


def _apart(tensors: "dict[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
    """Return the tensors with memory of their own each: safetensors takes no others."""
    seen: set[int] = set()
    found = {}
    for name, tensor in tensors.items():
        storage = tensor.untyped_storage()
        whole = tensor.is_contiguous() and storage.nbytes() == tensor.nbytes
        own = whole and storage.data_ptr() not in seen
        seen.add(storage.data_ptr())
        found[name] = tensor if own else tensor.clone().contiguous()
    return found
