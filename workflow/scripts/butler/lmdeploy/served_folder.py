"""A folder that TurboMind serves: a workspace of 0.7.3 or a model folder, and what is on record.

Beside the weights lies lmdeploy.json: the version of LMDeploy that the folder is for and, in a
model folder, the engine's settings (a workspace has them in its config.yaml, where they belong).
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from butler.efficiency.figures import CacheShape
from butler.errors import ButlerError
from butler.files import atomic_write_json
from butler.hf_folder import read_sizes
from butler.lmdeploy.release import Release, check_quant_policy, release_of
from butler.lmdeploy.workspace_files import CONFIG, weight_bytes
from butler.yaml_files import read_yaml

RECORD = "lmdeploy.json"
TEMPLATE = "chat_template.json"


@dataclass(frozen=True)
class Settings:
    """How the engine is to serve: `session_len` in tokens, `cache_max_entry_count` a share of the
    free GPU memory.
    """

    quant_policy: int
    cache_max_entry_count: float
    session_len: int


@dataclass(frozen=True)
class Shape:
    """What of a model decides how it can be shared between GPUs and how large its cache is."""

    layers: int
    heads: int
    kv_heads: int
    head_dim: int


@dataclass(frozen=True)
class ServedFolder:
    """A folder with its record read.

    `tp` is the number of GPUs that a workspace was split for, None for a model folder, which any
    number takes; `weight_bytes` is that of the files.
    """

    path: Path
    release: Release
    version: str
    settings: Settings
    shape: Shape
    tp: int | None
    weight_bytes: int

    @property
    def cache(self) -> CacheShape:
        """The shape of its KV cache."""
        s = self.shape
        return CacheShape(s.layers, s.kv_heads, s.head_dim, self.settings.quant_policy)


def write_record(folder: Path, version: str, settings: Settings | None = None) -> None:
    """Write down for which LMDeploy a folder is and, of a model folder, how to serve it."""
    record: dict[str, Any] = {"version": version}
    if settings is not None:
        record["engine_config"] = asdict(settings)
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
        raise ButlerError(f"{path / TEMPLATE} is missing: TurboMind would guess the chat template")
    read = _read_workspace if workspace else _read_model
    settings, shape, tp, size = read(path, record)
    check_quant_policy(settings.quant_policy, version)
    return ServedFolder(path, release, version, settings, shape, tp, size)


def _record(path: Path) -> dict[str, Any]:
    file = path / RECORD
    if not path.is_dir():
        raise ButlerError(f"{path} is no folder; make it with `snakemake {path}`")
    if not file.is_file():
        raise ButlerError(
            f"{file} is missing: it is not on record which LMDeploy {path} was made for, and "
            "another version serves noise from it; make it again with this workflow"
        )
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ButlerError(f"{file} is no JSON ({error}); make {path} again") from None
    if not isinstance(record, dict) or not isinstance(record.get("version"), str):
        raise ButlerError(f"{file} names no version of LMDeploy; make {path} again")
    return record


Read = tuple[Settings, Shape, int | None, int]


def _settings(raw: Any, where: Path) -> Settings:
    known = Settings.__dataclass_fields__
    if not isinstance(raw, dict) or set(raw) != set(known):
        raise ButlerError(
            f"{where}: engine_config must have the keys {', '.join(known)}; make the variant with "
            "variant.py"
        )
    share, length = raw["cache_max_entry_count"], raw["session_len"]
    numbers = isinstance(share, int | float) and type(length) is type(raw["quant_policy"]) is int
    if not numbers or not 0 < share < 1 or length < 1:
        raise ButlerError(
            f"{where}: cache_max_entry_count must lie between 0 and 1, session_len be 1 or more "
            "and quant_policy a number; make the variant with variant.py"
        )
    return Settings(**raw)


def _read_workspace(path: Path, record: dict[str, Any]) -> Read:
    file = path / CONFIG
    config = read_yaml(file)
    model = config.get("model_config") if isinstance(config, dict) else None
    keys = ("num_layer", "head_num", "kv_head_num", "size_per_head", "tp")
    sizes = [model.get(key) if isinstance(model, dict) else None for key in keys]
    if not all(type(size) is int and size > 0 for size in sizes):
        raise ButlerError(
            f"{file}: model_config must say {', '.join(keys)}, each 1 or more; make {path} again"
        )
    layers, heads, kv_heads, head_dim, tp = sizes
    settings = _settings(config.get("engine_config"), file)
    return settings, Shape(layers, heads, kv_heads, head_dim), tp, weight_bytes(path)


def _read_model(path: Path, record: dict[str, Any]) -> Read:
    weights = [*path.glob("*.safetensors"), *path.glob("pytorch_model*.bin")]
    if not weights:
        raise ButlerError(f"{path} holds no weights (*.safetensors or pytorch_model*.bin)")
    settings = _settings(record.get("engine_config"), path / RECORD)
    return settings, model_shape(path), None, sum(f.stat().st_size for f in weights)


def model_shape(folder: Path) -> Shape:
    """Return the shape of the Hugging Face model in a folder.

    Raises:
        ButlerError: if its config.json lacks a size.
    """
    return Shape(**read_sizes(folder))
