"""ELF shared libraries of a few hundred bytes: what a file names and where it looks, no code."""

import struct
from pathlib import Path

NEEDED, STRTAB, STRSZ, SONAME, RPATH, RUNPATH = 1, 5, 10, 14, 15, 29
HEADER, SEGMENT = 64, 56


def write_library(path: Path, needs=(), rpath=None, runpath=None) -> Path:
    """Write a library for x86-64 that needs others, with folders to look for them in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    strings, tags = b"\0", []
    for tag, text in [
        (SONAME, path.name),
        *((NEEDED, name) for name in needs),
        *((tag, text) for tag, text in ((RPATH, rpath), (RUNPATH, runpath)) if text),
    ]:
        tags.append((tag, len(strings)))
        strings += text.encode() + b"\0"
    at = HEADER + 2 * SEGMENT
    tags += [(STRTAB, at), (STRSZ, len(strings)), (0, 0)]
    dynamic = b"".join(struct.pack("<QQ", *tag) for tag in tags)
    body, end = strings + dynamic, at + len(strings)

    def segment(kind: int, offset: int, size: int) -> bytes:
        return struct.pack("<IIQQQQQQ", kind, 4, offset, offset, offset, size, size, 8)

    header = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, HEADER, 0, 0, HEADER, SEGMENT, 2, 64, 0, 0)
    segments = segment(1, 0, at + len(body)) + segment(2, end, len(dynamic))
    path.write_bytes(header + segments + body)
    return path
