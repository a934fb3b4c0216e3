"""The content of plain, .gz and .zst files, in blocks or in one piece."""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zstandard

from butler.errors import ButlerError

BOM = b"\xef\xbb\xbf"
PACKED = (".gz", ".zst")
BLOCK = 1 << 20
MAX_WHOLE_BYTES = 1 << 28  # of a table, a JSON array or a text file, which are read whole
# Zstandard may pack 128 KiB in 4 bytes, and its decoder gives all that it has: 32 MiB of these.
_PACKED_PIECE = 1 << 10


def suffix_of(path: Path) -> str:
    """What a file's name ends in, before .gz or .zst."""
    return Path(path.stem).suffix if path.suffix in PACKED else path.suffix


def whole(path: Path, hashed: Any = None) -> tuple[bytes, str]:
    """The content of a file that must be read whole, and why it breaks off, "" if it does not.

    `hashed` is given the bytes of the file as they are read.

    Raises:
        ButlerError: if it is larger than MAX_WHOLE_BYTES, or there is none.
    """
    content, why = bytearray(), ""
    try:
        for block in unpacked(path, hashed):
            content += block
            if len(content) > MAX_WHOLE_BYTES:
                break
    except ButlerError as error:
        if not content:
            raise
        why = str(error)
    if len(content) > MAX_WHOLE_BYTES:
        limit = MAX_WHOLE_BYTES >> 20
        raise ButlerError(f"more than {limit} MiB in one piece; split it, or use JSON Lines")
    return bytes(content), why


def unpacked(path: Path, hashed: Any = None) -> Iterator[bytes]:
    """The content of a file in blocks of 1 MiB at most, without a byte order mark.

    `hashed` is given the bytes of the file as they are read.

    Raises:
        ButlerError: if there is none; after the last block of a packed file that breaks off.
    """
    begun = False
    if path.suffix in PACKED:
        blocks = _blocks(_unpacked_pieces(path, hashed))
    else:
        blocks = _pieces(path, BLOCK, hashed)
    for block in blocks:
        yield block if begun else block.removeprefix(BOM)
        begun = True
    if not begun:
        raise ButlerError("the file is empty")


def _blocks(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same content in blocks of 1 MiB, the last one shorter; an error comes after it."""
    held, broken = bytearray(), ""
    try:
        for piece in pieces:
            for begin in range(0, len(piece), BLOCK):  # a piece may be large, and is not held twice
                held += piece[begin : begin + BLOCK]
                if len(held) >= BLOCK:
                    yield bytes(held[:BLOCK])
                    del held[:BLOCK]
    except ButlerError as error:
        broken = str(error)
    if held:
        yield bytes(held)
    if broken:
        raise ButlerError(broken)


def _pieces(path: Path, size: int, hashed: Any) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while piece := stream.read(size):
            if hashed:
                hashed.update(piece)
            yield piece


def _unpacked_pieces(path: Path, hashed: Any) -> Iterator[bytes]:
    """The content of a packed file, of 32 MiB at most each; frames and members follow each other.

    Raises:
        ButlerError: after the last piece of a file that breaks off.
    """
    decoder: Any = None
    try:
        for packed in _pieces(path, _PACKED_PIECE, hashed):
            while packed:
                decoder = decoder or _decoder(path.suffix)
                yield decoder.decompress(packed)
                packed = decoder.unused_data
                if not decoder.eof:
                    break
                decoder = None
    except (zlib.error, zstandard.ZstdError) as error:
        raise ButlerError(f"the packed file is damaged: {error}") from error
    if decoder is not None:
        if path.suffix == ".gz":
            yield decoder.flush()
        raise ButlerError("the packed file breaks off before its end")


def _decoder(suffix: str) -> Any:
    if suffix == ".gz":
        return zlib.decompressobj(wbits=31)
    return zstandard.ZstdDecompressor().decompressobj()
