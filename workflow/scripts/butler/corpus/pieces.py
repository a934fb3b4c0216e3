"""Pieces of bytes put in another order."""

from butler.corpus.code_points import Array
from butler.corpus.compiled import compiled


@compiled
def _put(target: Array, source: Array) -> None:
    """Copy bytes, in a loop whose places count from 0: only such a one is made a copy of memory."""
    for at in range(len(target)):
        target[at] = source[at]


@compiled
def put_pieces(
    source: Array, begins: Array, sizes: Array, start: Array, places: Array, target: Array
) -> None:
    """Copy pieces of `source` to their places in `target`, each with `start` before it (uint8).

    Args:
        begins, sizes: where each piece begins in `source`, and how many bytes it has.
        places: where each `start` begins in `target`.
    """
    for piece in range(len(begins)):
        begin, at = begins[piece], places[piece]
        _put(target[at : at + len(start)], start)
        at += len(start)
        _put(target[at : at + sizes[piece]], source[begin : begin + sizes[piece]])
