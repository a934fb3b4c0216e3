"""Which files the input has, and the values in one that is a JSON array."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from butler.corpus.formats import FORMATS
from butler.corpus.unpack import suffix_of, unpacked
from butler.errors import ButlerError

_SPACES = re.compile(r"[ \t\n\r]*")


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


def elements(content: bytes) -> Iterator[bytes]:
    """The values in a JSON array, as they are written there.

    Raises:
        ButlerError: after the last value before a fault.
    """
    # One character a byte, so that places are the same; only where values end is wanted of it.
    text = content.decode("latin-1")
    scan = json.JSONDecoder(parse_int=float).raw_decode
    at, count = _next(text, _next(text, 0) + 1), 0
    more = text[at : at + 1] != "]"
    try:
        while more:
            _, end = scan(text, at)
            yield content[at:end]
            count += 1
            at = _next(text, end)
            if text[at : at + 1] not in (",", "]"):
                raise json.JSONDecodeError("Expecting ',' or ']'", text, at)
            more = text[at] == ","
            at = _next(text, at + 1) if more else at
    except (json.JSONDecodeError, RecursionError) as error:
        raise ButlerError(f"the JSON array is broken after {count} values: {error}") from error
    if _next(text, at + 1) < len(text):
        raise ButlerError("the JSON array is followed by something else")


def _next(text: str, at: int) -> int:
    """Where the white space from `at` on ends."""
    found = _SPACES.match(text, at)
    assert found
    return found.end()
