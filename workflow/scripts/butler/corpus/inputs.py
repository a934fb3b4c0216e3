"""Which files the input has, and the values in one that is a JSON array."""

from pathlib import Path
from typing import Any

import orjson

from butler.corpus.formats import FORMATS
from butler.corpus.unpack import suffix_of, unpacked
from butler.errors import ButlerError


def input_files(path: Path, name: str) -> list[Path]:
    """The input's files: `path` itself, or those of format `name` in the folder, by their names.

    Raises:
        ButlerError: if there is nothing to read.
    """
    suffixes = FORMATS[name].suffixes
    if path.is_dir():
        files = sorted(
            file
            for file in path.rglob("*")
            if file.is_file() and not file.name.startswith(".") and suffix_of(file) in suffixes
        )
        if not files:
            raise ButlerError(
                f"{path} holds no {' or '.join(suffixes)} file, as corpus.format {name} needs"
            )
    elif path.is_file():
        files = [path]
    else:
        raise ButlerError(f"{path}: no such corpus file; give a file or a folder as corpus.path")
    if not any(file.stat().st_size for file in files):
        raise ButlerError(f"{path} is empty; give a corpus of corpus.format {name}")
    return files


def is_array(path: Path) -> bool:
    """Whether a .json file is one array, not a value a line."""
    if suffix_of(path) != ".json":
        return False
    start = next(unpacked(path)).lstrip()
    first, _, rest = start.partition(b"\n")
    # A list on the first line is an array, unless another line begins after it. Within an array,
    # what follows a list goes on with one of these signs.
    ends = first.rstrip().endswith(b"]")
    return start.startswith(b"[") and not (ends and rest.lstrip()[:1] not in b",}]")


def elements(content: bytes) -> list[Any]:
    """The values in a JSON array.

    Raises:
        ButlerError: if it is none, as where the file breaks off.
    """
    try:
        values = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise ButlerError(f"the JSON array is broken: {error}") from error
    if not isinstance(values, list):
        raise ButlerError("the file is no JSON array")
    return values
