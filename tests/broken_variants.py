"""Variants that are broken on purpose, made of the workspaces of a run whose checks all passed."""

import shutil
from pathlib import Path

import numpy as np
import yaml

from butler.lmdeploy.workspace_files import CONFIG, WEIGHTS
from butler.manifest import write_manifest

HEAD = 128  # features of a head of the demo's model


def doubled_scale(w4: Path, out: Path, matrix: str) -> Path:
    """Copy a 4-bit workspace with the group scales of one matrix doubled, and so its weights."""
    _copy(w4, out)
    path = out / WEIGHTS / f"{matrix}.0.scales"
    (2 * np.fromfile(path, np.float16)).tofile(path)
    return _finished(out)


def of_another_model(other: Path, out: Path) -> Path:
    """Copy the workspace of another model, as if it were the variant's."""
    _copy(other, out)
    return _finished(out)


def with_outliers(variant: Path, out: Path, factor: float) -> Path:
    """Copy a workspace of fp16 weights with one feature of each key `factor` times as large.

    The queries' is as much smaller, so with a cache that keeps keys as they are nothing changes. It
    is the pair of features that the rotary embedding turns least, of every layer and head.
    """
    _copy(variant, out)
    config = yaml.safe_load((out / CONFIG).read_text(encoding="utf-8"))["model_config"]
    heads, keys = config["head_num"], config["kv_head_num"]
    factors = np.ones((heads + 2 * keys, HEAD), np.float32)
    factors[:heads, -2:] = 1 / factor
    factors[heads : heads + keys, -2:] = factor
    for layer in range(config["num_layer"]):
        path = out / WEIGHTS / f"layers.{layer}.attention.w_qkv.0.weight"
        weight = np.fromfile(path, np.float16).reshape(-1, factors.size)
        (weight * factors.reshape(-1)).astype(np.float16).tofile(path)
    return _finished(out)


def _copy(workspace: Path, out: Path) -> None:
    shutil.copytree(workspace, out, ignore=shutil.ignore_patterns(".*"))


def _finished(out: Path) -> Path:
    (out / "manifest.json").unlink()
    write_manifest(out)
    return out
