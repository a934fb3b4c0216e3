"""The content of plain and packed files, never more of it in memory than is asked for."""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import zstandard

from butler.errors import ButlerError

PACKED = (".gz", ".zst")
BROKEN = (ButlerError, zlib.error, zstandard.ZstdError)  # what a damaged file raises
MAX_WHOLE_BYTES = 1 << 28  # of a table, a JSON array or a text file, which are read whole
_BLOCK = 1 << 20
_PIECE = 1 << 10  # of a packed file: 1 KiB of zstd is at most 32 MiB unpacked


def whole(path: Path) -> tuple[bytes, Exception | None]:
    """The content of a file that must be read whole, and why it breaks off, if it does.

    Raises:
        ButlerError: if it is larger than MAX_WHOLE_BYTES or empty.
        BROKEN: if nothing of it can be read.
    """
    content = bytearray()
    damage: Exception | None = None
    try:
        for block in unpacked(path):
            content += block
            if len(content) > MAX_WHOLE_BYTES:
                break
    except BROKEN as error:
        damage = error
    if len(content) > MAX_WHOLE_BYTES:
        limit = MAX_WHOLE_BYTES >> 20
        raise ButlerError(f"more than {limit} MiB in one piece; split it, or use JSON Lines")
    if not content:
        raise damage or ButlerError("the file is empty")
    return bytes(content), damage


def unpacked(path: Path) -> Iterator[bytes]:
    """The content of a plain, .gz or .zst file in blocks; frames and members follow each other.

    Raises:
        BROKEN: after all that could be read of a packed file that is damaged or breaks off.
    """
    with path.open("rb") as stream:
        if path.suffix not in PACKED:
            while block := stream.read(_BLOCK):
                yield block
            return
        ready, damage = bytearray(), None
        pieces = _pieces(stream, path.suffix)
        while damage is None:
            try:
                ready += next(pieces)
            except StopIteration:
                break
            except BROKEN as error:
                damage = error
            if len(ready) >= _BLOCK:
                yield bytes(ready)
                ready.clear()
        if ready:
            yield bytes(ready)
        if damage:
            raise damage


def _pieces(stream: IO[bytes], suffix: str) -> Iterator[bytes]:
    """What each piece of a packed file holds."""
    decoder: Any = None
    while packed := stream.read(_PIECE):
        while packed:
            decoder = decoder or _decoder(suffix)
            yield decoder.decompress(packed)
            packed = decoder.unused_data
            if decoder.eof:
                decoder = None
            else:
                break
    if decoder is not None:
        if suffix == ".gz":
            yield decoder.flush()
        raise ButlerError("the packed file breaks off before its end")


def _decoder(suffix: str) -> Any:
    if suffix == ".gz":
        return zlib.decompressobj(wbits=31)
    return zstandard.ZstdDecompressor().decompressobj()
