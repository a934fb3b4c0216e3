"""Whether the corpus is of the format that the configuration names, told by its first records.

Imports nothing that takes long: the Snakefile asks it before the first job.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from butler.corpus.formats import FORMATS
from butler.corpus.formats.entry import Format
from butler.corpus.formats.tables import EXCEL, asked_rows, tables
from butler.corpus.inputs import input_files, is_array
from butler.corpus.records import Pair, Rejected
from butler.corpus.unpack import BLOCK, suffix_of, unpacked, whole
from butler.errors import ButlerError

_BETWEEN = re.compile(r"[\s,]*")
FIRST = 20  # records that are looked at


def check_format(path: Path, name: str) -> None:
    """Check that one of the first records of a file or a folder is of format `name`.

    Raises:
        ButlerError: if there is nothing to read, or none of them is: the format that they fit, or
            what was found.
    """
    files = _files(path, name)
    own = _look(files, FORMATS[name])
    if own.fits:
        return
    for other in FORMATS:
        found = _look(files, FORMATS[other])
        if found.fits:
            fit = "fits" if found.seen == 1 else "fit"
            raise ButlerError(
                f"config: corpus.format is {name}, but {found} {fit} {other}; "
                f"set corpus.format: {other}"
            )
    if not own.seen:
        said = own.said or "there is no record in it"
        raise ButlerError(f"{path}: {said}; nothing could be read as corpus.format {name}")
    raise ButlerError(
        f"config: corpus.format is {name}, but {own} {'is' if own.seen == 1 else 'are'} none of it "
        f"(the last is {own.said}); docs/corpus.md says what each format holds"
    )


@dataclass
class _Look:
    """What a look at the first records as those of a format found.

    `said` tells the last of them, or what kept from reading any.
    """

    file: Path
    seen: int = 0
    fits: bool = False
    said: str = ""

    def __str__(self) -> str:
        first = f"first {self.seen} records" if self.seen > 1 else "first record"
        return f"the {first} of {self.file}"


def _look(files: Sequence[Path], chosen: Format) -> _Look:
    """Read the first records as those of a format; whether one of them is of it."""
    look = _Look(files[0])
    for file in files:
        if look.seen == FIRST:
            break
        try:
            for entry in islice(_entries(file, chosen), FIRST - look.seen):
                look.file = look.file if look.seen else file
                look.seen, look.said = look.seen + 1, _told(entry, chosen)
                look.fits = look.fits or _fits(entry, chosen)
        except ButlerError as error:  # the file breaks off, after what there is
            look.said = look.said or str(error)
    return look


def _files(path: Path, name: str) -> list[Path]:
    """The input's files; if none has the format's suffix, those of the first format that has."""
    try:
        return input_files(path, name)
    except ButlerError:
        for other in FORMATS:
            with suppress(ButlerError):
                return input_files(path, other)
        raise


def _entries(file: Path, chosen: Format) -> Iterator[Any]:
    """The first entries of a file, read as one of this format is.

    Raises:
        ButlerError: if the file breaks off, or is no such file.
    """
    readers: dict[str, Callable[[Path], Iterator[Any]]] = {
        "json": _json_values,
        "table": _rows,
        "text": _texts,
    }
    try:
        yield from readers[chosen.kind](file)
    except OSError as error:
        raise ButlerError(f"{file} cannot be read: {error}") from error


def _json_values(file: Path) -> Iterator[Any]:
    head = next(unpacked(file))
    if is_array(file):
        yield from _first_elements(head.decode("utf-8", "ignore"))
        return
    for line in head.split(b"\n"):
        if line.strip():
            try:
                yield orjson.loads(line)
            except orjson.JSONDecodeError:
                yield Rejected("broken_json", "a line that is no JSON")


def _first_elements(text: str) -> Iterator[Any]:
    """The whole values in the beginning of an array."""
    scan, at = json.JSONDecoder().raw_decode, text.index("[") + 1
    with suppress(ValueError, RecursionError):
        while True:
            at = _BETWEEN.match(text, at).end()  # type: ignore[union-attr]
            value, at = scan(text, at)
            yield value


def _rows(file: Path) -> Iterator[Any]:
    suffix = suffix_of(file)
    content = whole(file)[0] if suffix in EXCEL else next(unpacked(file))
    for _, rows in tables(suffix, content, len(content) == BLOCK and suffix not in EXCEL):
        yield from (cells for _, cells in asked_rows(rows))


def _texts(file: Path) -> Iterator[Any]:
    with suppress(UnicodeDecodeError):
        yield whole(file)[0].decode()


def _fits(entry: Any, chosen: Format) -> bool:
    """Whether an entry is of a format, be it one that will be rejected."""
    if isinstance(entry, Rejected):
        return False
    try:
        record = chosen.convert(entry)
    except Rejected as why:
        return why.reason == "several_turns"
    return isinstance(record, Pair) or bool(record.ingredients or record.steps)


def _told(entry: Any, chosen: Format) -> str:
    try:
        if not isinstance(entry, Rejected) and chosen.kind == "table":
            chosen.convert(entry)
    except Rejected as why:
        entry = why
    if isinstance(entry, Rejected):
        return entry.detail
    if isinstance(entry, Mapping):
        return f"an object with {', '.join(map(str, entry))[:120] or 'no keys'}"
    return "text" if isinstance(entry, str) else f"a {type(entry).__name__}"
