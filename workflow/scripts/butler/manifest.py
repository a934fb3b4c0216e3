"""The manifest of a folder: size and SHA-256 of each file, so that a changed one is noticed.

The stage that makes a folder of weights writes it; who evaluates, measures or serves the folder
calls check_unchanged() before anything of it is loaded.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from butler.errors import ButlerError
from butler.files import atomic_write_json
from butler.progress import progress, say

NAME = "manifest.json"
TOLD_FROM_S = 1.0  # a comparison that takes longer says how long
GB = 1e9


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256 in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hashes(paths: Sequence[Path], done: Callable[[Path], None] = lambda path: None) -> list[str]:
    """Return each file's SHA-256 in hex; hashing lets other threads run, and a 7B has 15 GB.

    `done` is called with each file that is read, in any thread.
    """

    def hashed(path: Path) -> str:
        digest = sha256_of(path)
        done(path)
        return digest

    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        return list(pool.map(hashed, paths))


def hashes_told(stage: str, paths: Sequence[Path]) -> list[str]:
    """Return what hashes() does; a line now and then says how far it is."""
    total = sum(path.stat().st_size for path in paths) / GB
    read: list[int] = []

    def status() -> str:
        return f"{sum(read) / GB:.1f} of {total:.1f} GB hashed"

    with progress(stage, status):
        return hashes(paths, lambda path: read.append(path.stat().st_size))


def files_of(path: Path) -> list[Path]:
    """Return the file, or the files below a folder but hidden ones, which are Snakemake's."""
    if path.is_file():
        return [path]
    found = (file for file in path.rglob("*") if file.is_file())
    return sorted(file for file in found if not file.name.startswith("."))


def write_manifest(folder: Path, known: Mapping[Path, str] | None = None) -> None:
    """Write manifest.json over all files below `folder` but hidden ones.

    Files whose SHA-256 is `known` are not read again.
    """
    files = [path for path in files_of(folder) if path != folder / NAME]
    found = dict(known or {})
    unread = [path for path in files if path not in found]
    found |= zip(unread, hashes(unread), strict=True)
    entries = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": found[path]}
        for path in files
    }
    atomic_write_json(folder / NAME, entries)


def recorded(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a folder by its manifest, by its path in the folder.

    Raises:
        ButlerError: if the manifest is none.
    """
    try:
        entries = json.loads((folder / NAME).read_text(encoding="utf-8"))
        return {name: entry["sha256"] for name, entry in entries.items()}
    except (ValueError, AttributeError, TypeError, KeyError):
        raise ButlerError(f"{folder / NAME} is no manifest any more; {_anew(folder)}") from None


def manifest_digest(folder: Path) -> str:
    """Return the SHA-256 of a folder's manifest, which stands for all of its files.

    Raises:
        ButlerError: if it has none.
    """
    if not (folder / NAME).is_file():
        raise ButlerError(
            f"{folder} has no {NAME}, by which its files are checked: no stage of this workflow "
            "finished it; give the folder that one has made"
        )
    return sha256_of(folder / NAME)


def verify_manifest(folder: Path) -> int:
    """Return how many files agree with the folder's manifest, and lie there alone.

    Raises:
        ButlerError: naming the first file that is missing, differs or is not on the manifest.
    """
    manifest_digest(folder)
    files = [path for path in files_of(folder) if path != folder / NAME]
    digests = hashes_told(f"verify {folder.name}", files)
    compare(folder, dict(zip(files, digests, strict=True)))
    return len(files)


def check_unchanged(folder: Path) -> dict[str, str]:
    """Stop unless a folder holds the files that its stage made, and no other.

    It says how long that took where it is worth a word. Returns the manifest's SHA-256 by the
    folder's path, for the check or table that the folder is now loaded for (butler/checks.py).

    Raises:
        ButlerError: as verify_manifest().
    """
    started, digest = time.monotonic(), manifest_digest(folder)
    count = verify_manifest(folder)
    took = time.monotonic() - started
    if took > TOLD_FROM_S:
        say(f"verify {folder.name}", f"{count} files are as they were made ({took:.1f} s)")
    return {folder.as_posix(): digest}


def compare(folder: Path, found: Mapping[Path, str]) -> None:
    """Stop unless the files in a folder, with their SHA-256, are those of its manifest.

    Raises:
        ButlerError: naming the first that is not, or the manifest if it is none.
    """
    wanted = {folder / name: digest for name, digest in recorded(folder).items()}
    for path, digest in wanted.items():
        if path not in found:
            raise ButlerError(f"{path} is missing; it is in {folder}'s manifest; {_anew(folder)}")
        if found[path] != digest:
            raise ButlerError(
                f"{path} is not the file that was made: its bytes have changed; "
                f"{_anew(folder, path)}"
            )
    for path in sorted(found.keys() - wanted.keys() - {folder / NAME}):
        raise ButlerError(f"{path} is an extra file, which no stage put there; move it away")


def _anew(folder: Path, shared: Path | None = None) -> str:
    """Return what to do about a damaged folder; the folders of a run share files by hard links."""
    also = ""
    if shared and shared.stat().st_nlink > 1:
        also = f" and whatever else holds it (find . -samefile {shared})"
    return f"remove {folder}{also}, and give your run's command again"
