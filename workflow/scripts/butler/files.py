"""Writing results so that a reader never sees half of one."""

import fcntl
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

REST = ".part"  # ends the name of what is being written


@contextmanager
def _beside(target: Path, folder: bool) -> Iterator[Path]:
    """Yield an empty hidden file or folder beside `target`; remove it if it is still there after.

    It is locked as long as we live: what a killed process left is not, and the next writer of the
    same target takes it away.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target)
    if folder:
        beside = Path(tempfile.mkdtemp(REST, f".{target.name}.", target.parent))
    else:
        handle, name = tempfile.mkstemp(REST, f".{target.name}.", target.parent)
        os.close(handle)
        beside = Path(name)
    lock = _lock(beside)
    try:
        yield beside
    finally:
        _remove(beside)
        if lock is not None:
            os.close(lock)


def _lock(path: Path) -> int | None:
    """Return an open file that locks `path`, None where another has it or it cannot be locked."""
    handle = None
    with suppress(OSError):  # some network file systems lock nothing: what was left then stays
        handle = os.open(path, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return handle
    if handle is not None:
        os.close(handle)
    return None


def _sweep(target: Path) -> None:
    for path in target.parent.iterdir():
        ours = path.name.startswith(f".{target.name}.") and path.name.endswith(REST)
        if ours and (lock := _lock(path)) is not None:
            _remove(path)
            os.close(lock)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an empty file beside `path`, to write by name; rename it if the block succeeds."""
    target = Path(path)
    with _beside(target, folder=False) as beside:
        yield beside
        os.chmod(beside, 0o644)
        os.replace(beside, target)


@contextmanager
def atomic_open(path: str | os.PathLike[str]) -> Iterator[TextIO]:
    """Open a text file beside `path` for writing; rename it to `path` if the block succeeds."""
    with atomic_path(path) as beside, beside.open("w", encoding="utf-8", newline="") as stream:
        yield stream


def atomic_write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` to `path` whole or not at all."""
    with atomic_open(path) as stream:
        stream.write(text)


def atomic_write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented UTF-8 JSON to `path` whole or not at all."""
    atomic_write_text(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


@contextmanager
def atomic_dir(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an empty folder beside `path`; it takes the place of `path` if the block succeeds."""
    target = Path(path)
    with _beside(target, folder=True) as beside:
        yield beside
        beside.chmod(0o755)
        discard(target)
        os.replace(beside, target)


@contextmanager
def scratch_dir(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an empty folder beside `target`, on the same disk, and remove it in the end."""
    with _beside(Path(target), folder=True) as beside:
        yield beside


def discard(folder: Path) -> None:
    """Remove a folder, if it is there; who is killed meanwhile leaves no half of it by its name."""
    if folder.exists():
        with _beside(folder, folder=True) as aside:
            os.replace(folder, aside / folder.name)


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_BREAKS = re.compile(r"[\r\n]+")  # the csv module leaves a carriage return unquoted


def spreadsheet_safe(value: Any) -> Any:
    """Return a CSV cell that no spreadsheet takes for a formula; numbers stay as they are.

    Text that begins with = + - @ or a control character gets an apostrophe before it (OWASP,
    CSV Injection); line breaks become spaces.
    """
    if not isinstance(value, str):
        return value
    cell = f"'{value}" if value.startswith(_FORMULA) else value
    return _BREAKS.sub(" ", cell)
