"""Files to blocks of numbered entries, hashed as they are read.

Nothing stops half-way: an entry that cannot be read is one to reject, and a file that breaks off
is named with what came before the break kept.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import orjson

from butler.corpus.formats.entry import Format
from butler.corpus.formats.tables import asked_rows, tables
from butler.corpus.inputs import elements, is_array
from butler.corpus.records import Rejected
from butler.corpus.unpack import BLOCK, suffix_of, unpacked, whole
from butler.errors import ButlerError

# The longest real record has 20 kB; a longer line is never held whole in memory.
MAX_LINE_BYTES = 1 << 20
BLOCK_BYTES = 1 << 22  # of lines that one process gets at a time
_ROWS = 1000  # that one process gets at a time
TOO_LONG = Rejected("line_too_long", f"the line has more than {MAX_LINE_BYTES} bytes")


@dataclass(frozen=True)
class Block:
    """Entries of one file or sheet: lines of JSON in one piece, or values that are decoded.

    `first` is the number of the first line; `numbers` those of values. `too_long` are the numbers
    of lines that stand empty in `lines`.
    """

    file: int
    first: int = 1
    lines: bytes = b""
    too_long: tuple[int, ...] = ()
    numbers: tuple[int, ...] = ()
    values: tuple[Any, ...] = ()

    def entries(self) -> Iterator[tuple[int, Any]]:
        """Numbers and decoded values; a Rejected stands for what cannot be decoded."""
        yield from zip(self.numbers, self.values, strict=True)
        if self.lines:
            for number, line in enumerate(self.lines.split(b"\n"), self.first):
                long = number in self.too_long or len(line) > MAX_LINE_BYTES
                yield number, TOO_LONG if long else decode(line)


def decode(line: bytes) -> Any:
    """The JSON value of one line, or why there is none."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        if not line.strip():
            return Rejected("broken_json", "the line is empty")
        try:
            line.decode()
        except UnicodeDecodeError as wrong:
            return Rejected("not_utf8", f"byte {wrong.start} is not UTF-8")
        return Rejected("broken_json", str(error))


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
    _read: dict[int, tuple[int, bytes]] = field(default_factory=dict)

    def name(self, number: int) -> str:
        """A file's name as the outputs give it: below the input's folder, with its sheet."""
        if number >= len(self.files):
            file, sheet = self.sheets[number - len(self.files)]
            return f"{self.name(file)}, sheet {sheet}"
        path = self.files[number]
        name = path.name if path == self.root else path.relative_to(self.root).as_posix()
        return name.encode("utf-8", "backslashreplace").decode()  # it may be bytes and no text

    def blocks(self) -> Iterator[Block]:
        """The entries of all files, in order."""
        for number in range(len(self.files)):
            empty = True
            hashed = blake2b()
            try:
                size = self.files[number].stat().st_size
                for block in self._file_blocks(number, hashed):
                    yield block
                    empty = False
                self._read[number] = size, hashed.digest()
            except (ButlerError, OSError) as error:
                self._damaged(number, str(error))
            if empty and number not in self.damage:
                self._damaged(number, "the file holds no entry")

    def check_unchanged(self) -> None:
        """Compare the files with what was read of them.

        Raises:
            ButlerError: if one was changed meanwhile.
        """
        for number, (size, digest) in self._read.items():
            hashed, path = blake2b(), self.files[number]
            try:
                same = path.stat().st_size == size
                with path.open("rb") as stream:
                    while same and (piece := stream.read(BLOCK)):
                        hashed.update(piece)
            except OSError as error:
                raise ButlerError(f"{path} went while it was read: {error}") from None
            if not same or hashed.digest() != digest:
                raise ButlerError(
                    f"{path} was changed while it was read; run the stage again when "
                    "nothing writes to it"
                )

    def _damaged(self, number: int, why: str) -> None:
        before = self.damage.get(number)
        self.damage[number] = f"{before}; {why}" if before else why

    def _file_blocks(self, number: int, hashed: Any) -> Iterator[Block]:
        path = self.files[number]
        if not path.stat().st_size:
            raise ButlerError("the file is empty")
        if self.format.kind == "json" and not is_array(path):
            yield from self._line_blocks(number, hashed)
            return
        content, broken = whole(path, hashed)
        if broken:
            self._damaged(number, broken)
        if self.format.kind == "table":
            yield from self._sheets(number, content, bool(broken))
        elif self.format.kind == "json" and not broken:
            yield from self._grouped(number, enumerate(elements(content), 1))
        elif not broken:  # half a text is no recipe
            yield Block(number, numbers=(1,), values=(_text(content),))

    def _sheets(self, number: int, content: bytes, cut: bool) -> Iterator[Block]:
        for sheet, rows in tables(suffix_of(self.files[number]), content, cut):
            own = number
            if sheet:
                self.sheets.append((number, sheet))
                own = len(self.files) + len(self.sheets) - 1
            try:
                yield from self._grouped(own, asked_rows(rows))
            except ButlerError as error:
                self._damaged(number, f"sheet {sheet}: {error}" if sheet else str(error))

    def _grouped(self, number: int, numbered: Iterator[tuple[int, Any]]) -> Iterator[Block]:
        """Numbered values in blocks; those before an error come before it."""
        held: list[tuple[int, Any]] = []
        broken: ButlerError | None = None
        try:
            for entry in numbered:
                held.append(entry)
                if len(held) == _ROWS:
                    yield _of_values(number, held)
                    held = []
        except ButlerError as error:
            broken = error
        if held:
            yield _of_values(number, held)
        if broken:
            raise broken

    def _line_blocks(self, number: int, hashed: Any) -> Iterator[Block]:
        """Whole lines of some MiB at a time; one that is too long stands empty."""
        first, held, too_long, skipping = 1, bytearray(), [], False
        pieces = unpacked(self.files[number], hashed)
        broken: ButlerError | None = None
        while True:
            try:
                piece = next(pieces, None)
            except ButlerError as error:
                piece, broken = None, error
            if piece is not None:
                if skipping:
                    end = piece.find(b"\n")
                    piece, skipping = (piece[end:], False) if end >= 0 else (b"", True)
                held += piece
                begin = held.rfind(b"\n") + 1
                if len(held) - begin > MAX_LINE_BYTES:  # the last, open line
                    too_long.append(first + held.count(b"\n"))
                    del held[begin:]
                    skipping = True
                if len(held) < BLOCK_BYTES or not begin:
                    continue
                end = begin
            elif held or too_long:
                held += b"" if skipping or held.endswith(b"\n") else b"\n"
                end = len(held)
            else:
                break
            # A line that is too long stands empty, even if it is the last and has no line feed.
            lines = bytes(held[:end] if skipping and piece is None else held[:end][:-1])
            del held[:end]
            yield (block := Block(number, first, lines or b" ", tuple(too_long)))
            first += block.lines.count(b"\n") + 1
            too_long = []
            if piece is None:
                break
        if broken:
            raise broken


def _of_values(number: int, held: list[tuple[int, Any]]) -> Block:
    numbers, values = zip(*held, strict=True)
    return Block(number, numbers=numbers, values=values)


def _text(content: bytes) -> Any:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        return Rejected("not_utf8", f"byte {error.start} is not UTF-8")
