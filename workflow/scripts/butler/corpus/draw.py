"""Numbers drawn by seed and content: the same for any order of the input and any processes."""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def drawn_numbers(seed: int, purpose: str, contents: bytes) -> Array:
    """A number for each content key (16 bytes each), drawn by seed and purpose, as uint64."""
    text = contents.hex().encode()
    return _drawn(seed, purpose, (text[at : at + 32] for at in range(0, len(text), 32)))


def drawn_for(seed: int, purpose: str, texts: Iterable[str]) -> Array:
    """stable_hash(seed, purpose, text) for each text, as uint64; 0 for one that is empty."""
    return _drawn(seed, purpose, map(str.encode, texts))


def _drawn(seed: int, purpose: str, texts: Iterable[bytes]) -> Array:
    start = blake2b(f"{seed}\x1f{purpose}\x1f".encode(), digest_size=8)
    digests = []
    for text in texts:
        if text:
            drawn = start.copy()
            drawn.update(text)
            digests.append(drawn.digest())
        else:
            digests.append(bytes(8))
    return np.frombuffer(b"".join(digests), ">u8").astype(np.uint64)


def in_order(records: Array, numbers: Array, contents: Array) -> Array:
    """The records by their drawn numbers, those that drew the same by their content keys."""
    own = numbers[records]
    order = np.argsort(own)
    if (own[order][1:] == own[order][:-1]).any():
        keys = contents[records]
        order = np.lexsort((keys[:, 1], keys[:, 0], own))
    return records[order]
