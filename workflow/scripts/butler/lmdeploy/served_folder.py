"""A folder that LMDeploy serves: a workspace of 0.7.3 or a model folder, and what is on record.

Beside the weights lies lmdeploy.json: the version of LMDeploy that the folder is for and, in a
model folder, the engine's settings (a workspace has them in its config.yaml, where they belong).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from butler.errors import ButlerError
from butler.files import atomic_write_json
from butler.hf_folder import read_sizes
from butler.json_files import read_object
from butler.lmdeploy.engine_settings import EngineSettings
from butler.lmdeploy.release import Release, release_of
from butler.lmdeploy.workspace_files import CONFIG, how_to_make, weight_bytes
from butler.schemes import TURBOMIND, KVScheme
from butler.yaml_files import read_yaml

RECORD = "lmdeploy.json"
TEMPLATE = "chat_template.json"


def check_there(path: Path) -> None:
    """Check that a folder to serve has been made.

    Raises:
        ButlerError: that says how, if not.
    """
    if not path.is_dir():
        raise ButlerError(f"{path} is no folder; {how_to_make(path)}")


@dataclass(frozen=True)
class ModelShape:
    """What of a model decides how it can be shared between GPUs and how large its cache is."""

    layers: int
    heads: int
    kv_heads: int
    head_dim: int

    def kv_bytes_per_token(self, kv: KVScheme) -> int:
        """Return the bytes of one token's keys and values in all layers."""
        return 2 * self.layers * self.kv_heads * kv.vector_bytes(self.head_dim)


@dataclass(frozen=True)
class ServedFolder:
    """A folder with its record read.

    `backend` is LMDeploy's engine for it; `tp` the number of GPUs that a workspace was split for,
    None for a model folder, which any number takes; `vocab` the tokens that it knows;
    `weight_bytes` is that of the files.
    """

    path: Path
    release: Release
    version: str
    backend: str
    settings: EngineSettings
    kv: KVScheme
    shape: ModelShape
    vocab: int
    tp: int | None
    weight_bytes: int

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of one token's keys and values in all layers."""
        return self.shape.kv_bytes_per_token(self.kv)


def write_record(
    folder: Path,
    version: str,
    settings: EngineSettings | None = None,
    backend: str = TURBOMIND,
) -> None:
    """Write down for which LMDeploy a folder is and, of a model folder, how to serve it."""
    record: dict[str, Any] = {"version": version}
    if settings is not None:
        record |= {"backend": backend, "engine_config": settings.model_dump()}
    atomic_write_json(folder / RECORD, record)


def is_workspace(path: Path) -> bool:
    """Say whether a folder is a TurboMind workspace and no plain model folder."""
    return (path / CONFIG).is_file()


def read_folder(path: Path) -> ServedFolder:
    """Read what a served folder says of itself.

    Raises:
        ButlerError: if it has no record, is for an LMDeploy that is not served here, or is no
            served folder at all.
    """
    record = _record(path)
    version = record["version"]
    release = release_of(version)
    workspace = is_workspace(path)
    if workspace != release.workspaces:
        form = "a TurboMind workspace" if workspace else "a plain model folder"
        wanted = "workspaces" if release.workspaces else "plain model folders"
        raise ButlerError(
            f"{path} is {form}, but LMDeploy {version} is on its record, which serves {wanted}; "
            "make it again"
        )
    if not (path / TEMPLATE).is_file():
        raise ButlerError(f"{path / TEMPLATE} is missing: LMDeploy would guess the chat template")
    read = _read_workspace if workspace else _read_model
    raw, file, shape, vocab, tp, size = read(path, record)
    settings, kv = EngineSettings.read(raw, str(file), version)
    # A record of before there were two engines to choose from names none.
    backend = record.get("backend", TURBOMIND)
    return ServedFolder(path, release, version, backend, settings, kv, shape, vocab, tp, size)


def _record(path: Path) -> dict[str, Any]:
    file = path / RECORD
    check_there(path)
    if not file.is_file():
        raise ButlerError(
            f"{file} is missing: it is not on record which LMDeploy {path} was made for, and "
            "another version serves noise from it; make it again with this workflow"
        )
    record = read_object(file)
    if not isinstance(record.get("version"), str):
        raise ButlerError(f"{file} names no version of LMDeploy; make {path} again")
    return record


# What stands under engine_config and in which file, shape, vocabulary, GPUs, bytes of the weights.
Read = tuple[Any, Path, ModelShape, int, int | None, int]


def _read_workspace(path: Path, record: dict[str, Any]) -> Read:
    file = path / CONFIG
    config = read_yaml(file)
    model = config.get("model_config") if isinstance(config, dict) else None
    keys = ("num_layer", "head_num", "kv_head_num", "size_per_head", "vocab_size", "tp")
    sizes = [model.get(key) if isinstance(model, dict) else None for key in keys]
    if not all(type(size) is int and size > 0 for size in sizes):
        raise ButlerError(
            f"{file}: model_config must say {', '.join(keys)}, each 1 or more; make {path} again"
        )
    layers, heads, kv_heads, head_dim, vocab, tp = sizes
    shape = ModelShape(layers, heads, kv_heads, head_dim)
    return config.get("engine_config"), file, shape, vocab, tp, weight_bytes(path)


def _read_model(path: Path, record: dict[str, Any]) -> Read:
    weights = [*path.glob("*.safetensors"), *path.glob("pytorch_model*.bin")]
    if not weights:
        raise ButlerError(f"{path} holds no weights (*.safetensors or pytorch_model*.bin)")
    size = sum(file.stat().st_size for file in weights)
    vocab = read_sizes(path, vocab="vocab_size")["vocab"]
    return record.get("engine_config"), path / RECORD, model_shape(path), vocab, None, size


def model_shape(folder: Path) -> ModelShape:
    """Return the shape of the Hugging Face model in a folder.

    Raises:
        ButlerError: if its config.json lacks a size.
    """
    return ModelShape(**read_sizes(folder))
