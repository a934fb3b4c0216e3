"""Reading the tensors of a Hugging Face model folder one at a time, and what goes with them."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from butler.errors import ButlerError
from butler.families import family_of
from butler.files import atomic_write_json
from butler.json_files import read_object
from butler.manifest import NAME as MANIFEST

if TYPE_CHECKING:
    import torch

# Bytes of a file of weights that we write, unless one tensor has more, and files at the same time.
WRITTEN_SHARD, WRITTEN_AT_ONCE = 10**9, 4


class ModelTensors:
    """The tensors of a folder by name; nothing is read before it is asked for.

    Of a safetensors file the memory that a tensor takes goes with the tensor, so that any number
    can be read one after the other, by several threads.

    Raises:
        ButlerError: if the folder holds no weights.
    """

    def __init__(self, folder: Path) -> None:
        import torch
        from safetensors import safe_open

        self._files: dict[str, Path] = {}
        self._loaded: dict[str, torch.Tensor] = {}
        for path in sorted(folder.glob("*.safetensors")):
            with safe_open(str(path), framework="pt") as file:
                self._files |= dict.fromkeys(file.keys(), path)
        if not self._files:
            for path in sorted(folder.glob("pytorch_model*.bin")):
                self._loaded |= torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        if not self._files and not self._loaded:
            raise ButlerError(f"{folder} holds no weights (*.safetensors or pytorch_model*.bin)")

    def names(self) -> list[str]:
        """Return all tensor names, sorted."""
        return sorted({*self._files, *self._loaded})

    def __contains__(self, name: str) -> bool:
        return name in self._files or name in self._loaded

    def __getitem__(self, name: str) -> "torch.Tensor":
        from safetensors import safe_open

        if name in self._loaded:
            return self._loaded[name]
        # Opened anew: what has been read through one mapping stays in memory as long as it does.
        with safe_open(str(self._files[name]), framework="pt") as file:
            return file.get_tensor(name)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape without its values."""
        from safetensors import safe_open

        if name in self._loaded:
            return tuple(self._loaded[name].shape)
        with safe_open(str(self._files[name]), framework="pt") as file:
            return tuple(file.get_slice(name).get_shape())


INDEX = "model.safetensors.index.json"


def read_index(path: Path, shown: str) -> dict[str, str]:
    """Return the file of each tensor by its name, as an index of shards has it.

    Raises:
        ButlerError: if it is no index; `shown` is what the user calls it.
    """
    found = read_object(path, shown).get("weight_map")
    if not isinstance(found, dict) or not all(isinstance(one, str) for one in found.values()):
        raise ButlerError(
            f"{shown} is no index of weights: it has no weight_map of names; fetch it again"
        )
    return found


def is_weights(path: Path) -> bool:
    """Say whether a file of a folder holds weights, or says which file holds which."""
    return path.suffix == ".safetensors" or path.name == INDEX


def write_index(folder: Path, files: Mapping[str, str]) -> None:
    """Write which file holds each tensor, where there are several; `files` by tensor."""
    if len(set(files.values())) > 1:
        size = sum((folder / file).stat().st_size for file in set(files.values()))
        content = {"metadata": {"total_size": size}, "weight_map": dict(sorted(files.items()))}
        atomic_write_json(folder / INDEX, content)


class ShardWriter:
    """Writes tensors that come one after another to files of WRITTEN_SHARD bytes or little more."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting: dict[str, torch.Tensor] = {}
        self._files: dict[str, str] = {}

    def add(self, tensors: "Mapping[str, torch.Tensor]") -> None:
        """Take tensors that are to stand in one file."""
        self._waiting |= tensors
        if sum(one.nbytes for one in self._waiting.values()) >= WRITTEN_SHARD:
            self._write()

    def close(self) -> None:
        """Write what is left, and the index."""
        if self._waiting:
            self._write()
        write_index(self._folder, self._files)

    def _write(self) -> None:
        from safetensors.torch import save_file

        file = f"model-{len(set(self._files.values())) + 1:05}.safetensors"
        save_file(self._waiting, self._folder / file, metadata={"format": "pt"})
        self._files |= dict.fromkeys(self._waiting, file)
        self._waiting = {}


def copy_rest(model: Path, folder: Path) -> None:
    """Copy what is no weight of a model: configuration, tokenizer, its own code; no manifest."""
    for path in model.iterdir():
        if not is_weights(path) and path.name != MANIFEST:
            shutil.copyfile(path, folder / path.name)


# What neither merging nor quantising carries over, or writes anew from a newer library's defaults.
CARRIED = ("generation_config.json", "tokenizer_config.json", "chat_template.json")


def carry_over(source: Path, target: Path) -> None:
    """Copy the model's own code, its stop tokens and its chat template from folder to folder.

    What config.json says of rotary embeddings is the source's too: transformers adds a second name
    of their kind (`rope_type` beside `type`), and LMDeploy's converter refuses two.
    """
    for path in [*source.glob("*.py"), *(source / name for name in CARRIED)]:
        shutil.copyfile(path, target / path.name)
    config, scaling = read_config(target), read_config(source).get("rope_scaling")
    if config.get("rope_scaling") != scaling:
        atomic_write_json(target / "config.json", config | {"rope_scaling": scaling})


def read_config(folder: Path) -> dict[str, Any]:
    """Return the folder's config.json.

    Raises:
        ButlerError: if it is no JSON object.
    """
    return read_object(folder / "config.json")


def sizes_of(config: Mapping[str, Any], shown: str, **more: str) -> dict[str, int]:
    """Return layers, heads, kv_heads and head_dim of a config.json, and `more` by their keys there.

    `shown` is what the user calls that file.

    Raises:
        ButlerError: if a size is missing or no positive whole number.
    """

    def size(key: str) -> int:
        if key not in config:
            raise ButlerError(f"{shown} has no '{key}'; give a complete model folder")
        if type(config[key]) is not int or config[key] < 1:
            raise ButlerError(f"{shown} says {key} {config[key]!r}, which is no size")
        return config[key]

    heads = size("num_attention_heads")
    return {
        "layers": size("num_hidden_layers"),
        "heads": heads,
        "kv_heads": size("num_key_value_heads") if config.get("num_key_value_heads") else heads,
        "head_dim": size("head_dim") if config.get("head_dim") else size("hidden_size") // heads,
        **{name: size(key) for name, key in more.items()},
    }


def read_sizes(folder: Path, **more: str) -> dict[str, int]:
    """Return the sizes in the config.json of a folder, as `sizes_of` does.

    Raises:
        ButlerError: if a size is missing or no positive whole number.
    """
    return sizes_of(read_config(folder), str(folder / "config.json"), **more)


def keep_old_cache(folder: Path) -> None:
    """Give transformers' cache the method that 4.49 dropped, if the code of a model asks for it.

    Raises:
        ButlerError: if the model is of no known family.
    """
    from transformers import DynamicCache

    family = family_of(read_config(folder), str(folder / "config.json"))
    if family.old_cache and not hasattr(DynamicCache, "get_max_length"):
        DynamicCache.get_max_length = lambda self: None  # no bound, as it always said
