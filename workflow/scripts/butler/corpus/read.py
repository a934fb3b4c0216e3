"""Lines of a JSON Lines file, each decoded or rejected with its number; nothing stops half-way."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from butler.corpus.recipe import Rejected
from butler.errors import ButlerError

# The longest real record has 20 kB; a longer line is never held whole in memory.
MAX_LINE_BYTES = 1 << 20
_BOM = b"\xef\xbb\xbf"


def check_input(path: Path) -> None:
    """Refuse an input that cannot hold a record.

    Raises:
        ButlerError: if `path` is missing, not a file, or empty.
    """
    if not path.exists():
        raise ButlerError(f"{path}: no such corpus file; give a JSON Lines file with --input")
    if not path.is_file():
        raise ButlerError(f"{path} is not a file; give a JSON Lines file with --input")
    if path.stat().st_size == 0:
        raise ButlerError(f"{path} is empty; give a JSON Lines file with one recipe per line")


def numbered_lines(path: Path) -> Iterator[tuple[int, bytes | None]]:
    """Line numbers from 1 with the bytes of the line, None where it is too long to be a record."""
    with path.open("rb") as stream:
        number = 0
        while line := stream.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) <= MAX_LINE_BYTES:
                yield number, line.removeprefix(_BOM) if number == 1 else line
                continue
            while line and not line.endswith(b"\n"):
                line = stream.readline(MAX_LINE_BYTES)
            yield number, None


def decode(line: bytes | None) -> Any:
    """The JSON value of one line.

    Raises:
        Rejected: line_too_long, not_utf8 or broken_json.
    """
    if line is None:
        raise Rejected("line_too_long", f"the line has more than {MAX_LINE_BYTES} bytes")
    if not line.strip():
        raise Rejected("broken_json", "the line is empty")
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        try:
            line.decode()
        except UnicodeDecodeError as wrong:
            raise Rejected("not_utf8", f"byte {wrong.start} is not UTF-8") from error
        raise Rejected("broken_json", str(error)) from error
