"""Files to entries: which files there are, and their lines, rows or texts, each with its number.

Nothing stops half-way: an entry that cannot be read is one to reject, and a file that breaks off
is named with what came before the break kept.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from butler.corpus.code_points import Array
from butler.corpus.compiled import compiled
from butler.corpus.formats import FORMATS
from butler.corpus.formats.entry import Format
from butler.corpus.formats.tables import pairs, tables
from butler.corpus.inputs import elements, input_files, is_array
from butler.corpus.recipe import Rejected
from butler.corpus.unpack import BLOCK, BOM, PACKED, suffix_of, unpacked, whole
from butler.errors import ButlerError

# The longest real record has 20 kB; a longer line is never held whole in memory.
MAX_LINE_BYTES = 1 << 20
CHUNK_BYTES = 1 << 22
_RUN = 32  # lines decoded at once, while nothing is wrong with them
Lines = list[bytes | None]


@dataclass(frozen=True)
class Chunk:
    """Some entries of one file: a range of bytes, or the entries themselves.

    `first` is the number of the first entry where it is known, else 0; `numbers` holds them where
    they are not in a row. `entries` are lines (None for one that is too long), or values.
    """

    file: int
    path: str
    begin: int = 0
    end: int = 0
    first: int = 0
    entries: list[Any] | None = None
    numbers: list[int] | None = None


@dataclass
class Source:
    """The files of the input.

    `damage` says by number what is wrong with a file, as it is found. The sheets of a workbook
    have numbers after the files'; `sheets` holds the file and the name of each.
    """

    format: Format
    root: Path
    files: list[Path]
    damage: dict[int, str] = field(default_factory=dict)
    sheets: list[tuple[int, str]] = field(default_factory=list)

    def name(self, number: int) -> str:
        """A file's name as the outputs give it: below the input's folder, with its sheet."""
        if number >= len(self.files):
            file, sheet = self.sheets[number - len(self.files)]
            return f"{self.name(file)}, sheet {sheet}"
        path = self.files[number]
        name = path.name if path == self.root else path.relative_to(self.root).as_posix()
        return name.encode("utf-8", "backslashreplace").decode()  # it may be bytes and no text

    def chunks(self) -> Iterator[Chunk]:
        """The chunks of all files, in order."""
        for number in range(len(self.files)):
            empty = True
            try:
                for chunk in self._file_chunks(number):
                    yield chunk
                    empty = False
            except (ButlerError, OSError) as error:
                self._damaged(number, str(error))
            if empty and number not in self.damage:
                self._damaged(number, "the file holds no entry")

    def _damaged(self, number: int, why: str) -> None:
        before = self.damage.get(number)
        self.damage[number] = f"{before}; {why}" if before else why

    def _file_chunks(self, number: int) -> Iterator[Chunk]:
        path = self.files[number]
        size = path.stat().st_size
        if not size:
            raise ButlerError("the file is empty")
        if self.format.kind == "json" and not is_array(path):
            if path.suffix not in PACKED:
                for begin in range(0, size, CHUNK_BYTES):
                    end = min(begin + CHUNK_BYTES, size)
                    yield Chunk(number, str(path), begin, end)
            else:
                yield from self._packed_lines(number)
            return
        content, broken = whole(path)
        if broken:
            self._damaged(number, broken)
        if self.format.kind == "table":
            yield from self._sheets(number, content, bool(broken))
        elif self.format.kind == "json":
            for chunk in _grouped(number, str(path), enumerate(elements(content), 1)):
                assert chunk.numbers
                # Without numbers they are decoded as lines are, with all that is looked at there.
                yield replace(chunk, first=chunk.numbers[0], numbers=None)
        elif not broken:  # half a text is no recipe
            yield Chunk(number, str(path), entries=[_text(content)], numbers=[1])

    def _sheets(self, number: int, content: bytes, cut: bool) -> Iterator[Chunk]:
        path = self.files[number]
        for sheet, rows in tables(suffix_of(path), content, cut):
            own = number
            if sheet:
                self.sheets.append((number, sheet))
                own = len(self.files) + len(self.sheets) - 1
            try:
                yield from _grouped(own, str(path), pairs(rows))
            except ButlerError as error:
                self._damaged(number, f"sheet {sheet}: {error}" if sheet else str(error))

    def _packed_lines(self, number: int) -> Iterator[Chunk]:
        path, first, rest = str(self.files[number]), 1, b""
        too_long = False
        blocks = unpacked(self.files[number])
        while True:
            try:
                block = next(blocks, None)
            except ButlerError as error:
                self._damaged(number, str(error))
                block = None
            *whole_lines, rest = (rest + (block or b"")).split(b"\n")
            lines: Lines = list(whole_lines)
            if block is None and (rest or too_long):
                lines.append(rest)
                rest = b""
            if lines and too_long:
                lines[0] = None
                too_long = False
            if len(rest) > MAX_LINE_BYTES:
                too_long, rest = True, b""
            if lines:
                yield Chunk(number, path, first=first, entries=lines)
                first += len(lines)
            if block is None:
                return


def find_files(path: Path, name: str) -> Source:
    """The input's files: `path` itself, or those of the format in the folder, by name.

    Raises:
        ButlerError: if there is nothing to read.
    """
    return Source(FORMATS[name], path, input_files(path, name))


def _grouped(
    number: int, path: str, numbered: Iterator[tuple[int, Any]], size: int = 1000
) -> Iterator[Chunk]:
    """Numbered entries in chunks; those before an error come before it."""
    numbers: list[int] = []
    entries: list[Any] = []
    broken = ""  # no more than the message: an error would hold all that was being read
    try:
        for place, entry in numbered:
            numbers.append(place)
            entries.append(entry)
            if len(entries) == size:
                yield Chunk(number, path, entries=entries, numbers=numbers)
                numbers, entries = [], []
    except ButlerError as error:
        broken = str(error)
    if entries:
        yield Chunk(number, path, entries=entries, numbers=numbers)
    if broken:
        raise ButlerError(broken)


def _text(content: bytes) -> Any:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        return Rejected("not_utf8", f"byte {error.start} is not UTF-8")


def range_lines(path: str, begin: int, end: int) -> Lines:
    """The lines that begin in bytes [begin, end) of a plain file, None for one that is too long."""
    with open(path, "rb") as stream:
        if begin:
            stream.seek(begin - 1)
            while not (part := stream.readline(BLOCK)).endswith(b"\n"):
                if not part or stream.tell() >= end:
                    return []
        start = stream.tell()
        if start >= end:
            return []
        lines = stream.read(end - start).split(b"\n")
        if lines[-1]:
            lines[-1] += stream.readline(MAX_LINE_BYTES + 1).removesuffix(b"\n")
        else:
            lines.pop()
    if begin == 0 and lines:
        lines[0] = lines[0].removeprefix(BOM)
    if max(map(len, lines), default=0) <= MAX_LINE_BYTES:
        return list(lines)
    return [line if len(line) <= MAX_LINE_BYTES else None for line in lines]


def decode(line: bytes | None, keys: int) -> Any:
    """The JSON value of one line; `keys` is what _colons() says of it.

    Raises:
        Rejected: line_too_long, not_utf8, broken_json or duplicate_key.
    """
    if line is None or len(line) > MAX_LINE_BYTES:
        raise Rejected("line_too_long", f"the line has more than {MAX_LINE_BYTES} bytes")
    if not line or line.isspace():
        raise Rejected("broken_json", "the line is empty")
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        try:
            line.decode()
        except UnicodeDecodeError as wrong:
            raise Rejected("not_utf8", f"byte {wrong.start} is not UTF-8") from error
        raise Rejected("broken_json", str(error)) from error
    # Where each key is followed by its colon and no text holds '":', the colons tell the keys.
    if type(value) is dict and len(value) == keys:
        return value
    try:
        json.loads(line, object_pairs_hook=_no_key_twice)
    except RecursionError:
        raise Rejected("broken_json", "nested too deep") from None
    return value


def decode_all(lines: Lines) -> Iterator[Any]:
    """The JSON value of each line, or why it is rejected, as decode() has it."""
    colons = _colons(lines)
    for begin in range(0, len(lines), _RUN):
        some = lines[begin : begin + _RUN]
        keys = colons[begin : begin + _RUN]
        yield from _objects(some, keys) or map(_decoded, some, keys)


def _objects(lines: Lines, keys: list[int]) -> list[Any] | None:
    """The objects in these lines, if each has as many keys as it should."""
    try:
        values = list(map(orjson.loads, lines))  # type: ignore[arg-type]
    except orjson.JSONDecodeError:
        return None  # decode() says what is wrong
    same = {*map(type, values)} == {dict} and list(map(len, values)) == keys
    return values if same else None


def _decoded(line: bytes | None, keys: int) -> Any:
    try:
        return decode(line, keys)
    except Rejected as why:
        return why.bare()


def _colons(lines: Lines) -> list[int]:
    """How often each line holds '":', which tells its keys.

    -1 where a colon stands apart from its key, and for a line that is too long.
    """
    texts = [line or b"" for line in lines]
    sizes = np.fromiter(map(len, texts), np.int64, len(texts))
    keys = sizes.copy()
    _count_keys(np.frombuffer(b"".join(texts), np.uint8), keys)
    keys[sizes > MAX_LINE_BYTES] = -1
    counts: list[int] = keys.tolist()
    return counts


@compiled
def _count_keys(codes: Array, sizes: Array) -> None:
    """Put the number of its keys in the place of each line's size, or -1 where one stands apart."""
    begin = 0
    for line in range(len(sizes)):
        own = codes[begin : begin + sizes[line]]
        begin += sizes[line]
        keys = apart = 0
        for at in range(len(own) - 2):  # forward, as only such a loop is done many at a time
            first, before, colon = own[at], own[at + 1], own[at + 2] == 58
            keys += colon & (before == 34)
            apart += colon & (before <= 32) & ((first == 34) | (first <= 32))
        sizes[line] = -1 if apart else keys


def _no_key_twice(pairs: list[tuple[str, Any]]) -> None:
    seen = set()
    for key, _ in pairs:
        if key in seen:
            raise Rejected("duplicate_key", f"the key {key[:40]!r} stands twice in one object")
        seen.add(key)
