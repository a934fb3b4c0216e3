"""What the run was: versions, time and memory of each stage, hashes, and how to repeat it."""

import importlib.metadata
import platform
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from butler.errors import ButlerError

_TOOLS = ("xtuner", "lmdeploy", "opencompass", "torch", "transformers", "bitsandbytes")
_MAIN_PACKAGES = ("snakemake", "pandas", "scipy", "vl-convert-python", "jinja2")
ROOT = Path(__file__).resolve().parents[4]
MIB = 2**20


def versions(locks: Sequence[Path]) -> list[dict[str, str]]:
    """Return what the tools' lock files pin, and the versions of this environment."""
    pins: dict[str, dict[str, str]] = {}
    for lock in locks:
        pinned = re.findall(r"^([\w.-]+)==([^\s;#\\]+)", lock.read_text("utf-8"), re.MULTILINE)
        pins.setdefault(environment_of(lock), {}).update(pinned)
    found = []
    for environment, versions_ in pins.items():
        listed = [f"{name} {versions_[name]}" for name in _TOOLS if name in versions_]
        found.append({"environment": environment, "versions": ", ".join(listed)})
    main = [f"Python {platform.python_version()}"]
    main += [f"{name} {importlib.metadata.version(name)}" for name in _MAIN_PACKAGES if _has(name)]
    return [*found, {"environment": "workflow", "versions": ", ".join(main)}]


def environment_of(lock: Path) -> str:
    """Return the tool that a lock belongs to: TOOL.lock, or TOOL.torch.lock."""
    return lock.name.split(".")[0]


def _has(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def stages(logs: Path) -> list[dict[str, Any]]:
    """Return wall time in s and peak memory in bytes of each job, from Snakemake's benchmarks.

    The longest comes first; memory is the sum over the job's processes, None where a job was too
    short to be sampled. The report's own, of an earlier run, is left out.

    Raises:
        ButlerError: if a benchmark file is not one.
    """
    found = []
    for path in sorted(logs.glob("*.tsv")):
        if path.stem == "report":
            continue
        table = pd.read_csv(path, sep="\t", na_values=["-"])
        if not {"s", "max_rss"} <= set(table.columns):
            raise ButlerError(f"{path} is not a benchmark file of Snakemake; delete it")
        seconds, peak = float(table["s"].mean()), float(table["max_rss"].max())
        memory = None if pd.isna(peak) or peak == 0 else peak * MIB
        found.append({"job": path.stem, "seconds": seconds, "peak_bytes": memory})
    return sorted(found, key=lambda stage: -stage["seconds"])


def read_hashes(path: Path) -> list[dict[str, str]]:
    """Return the artefacts and their SHA-256 from a file as `sha256sum` writes it.

    Raises:
        ButlerError: if the file is missing or a line is not of that form.
    """
    if not path.exists():
        raise ButlerError(f"{path} is missing; run its stage first")
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        match = re.fullmatch(r"([0-9a-f]{64})  (.+)", line)
        if match is None:
            raise ButlerError(f"{path}, line {number} is not a hash and a path; make it again")
        found.append({"sha256": match[1], "path": match[2]})
    return found


def commit(repository: Path = ROOT) -> str | None:
    """Return the commit of the workflow, with `-dirty` if files differ; None outside git."""
    command = [
        "git",
        "-C",
        str(repository),
        "describe",
        "--always",
        "--abbrev=40",
        "--dirty",
        "--exclude=*",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
