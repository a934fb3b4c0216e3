"""The manifest of a folder: size and SHA-256 of each file, so that a changed one is noticed."""

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from butler.errors import ButlerError
from butler.files import atomic_write_json

NAME = "manifest.json"


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hashes(paths: Sequence[Path]) -> list[str]:
    """Return each file's SHA-256 in hex; hashing lets other threads run, and a 7B has 15 GB."""
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        return list(pool.map(_sha256, paths))


def write_manifest(folder: Path) -> None:
    """Write manifest.json over all files below `folder` but hidden ones, which are Snakemake's."""
    found = (path for path in folder.rglob("*") if path.is_file() and path != folder / NAME)
    files = sorted(path for path in found if not path.name.startswith("."))
    entries = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": digest}
        for path, digest in zip(files, hashes(files), strict=True)
    }
    atomic_write_json(folder / NAME, entries)


def verify_manifest(folder: Path) -> int:
    """Return how many files agree with the folder's manifest.

    Raises:
        ButlerError: naming the first file that is missing or differs.
    """
    path = folder / NAME
    if not path.is_file():
        raise ButlerError(f"{folder} has no {NAME}; make it anew")
    entries = json.loads(path.read_text(encoding="utf-8"))
    for name in entries:
        if not (folder / name).is_file():
            raise ButlerError(f"{folder / name} is missing; it is in {folder}'s manifest")
    digests = hashes([folder / name for name in entries])
    for (name, entry), digest in zip(entries.items(), digests, strict=True):
        file = folder / name
        if file.stat().st_size != entry["bytes"] or digest != entry["sha256"]:
            raise ButlerError(f"{file} is not the file that was made: its bytes have changed")
    return len(entries)
