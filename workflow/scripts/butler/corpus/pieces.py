"""Pieces of bytes put in another order."""

from butler.corpus.code_points import Array
from butler.corpus.compiled import compiled


@compiled
def _fill(target: Array, source: Array) -> None:
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

    Raises:
        IndexError: if a piece lies outside of `source` or `target`, as in a file that was cut.
    """
    for piece in range(len(begins)):
        begin, at = begins[piece], places[piece]
        end, after = begin + sizes[piece], at + len(start) + sizes[piece]
        if min(begin, at) < 0 or end > len(source) or after > len(target):
            raise IndexError("a piece lies outside of what it is copied from or to")
        _fill(target[at : at + len(start)], start)
        _fill(target[at + len(start) : after], source[begin:end])
