"""What is written of code points, as UTF-8: what records are known by, and conversations."""

import numpy as np

from butler.corpus.code_points import Array
from butler.corpus.compiled import compiled

MOST = 6  # bytes of a code point
_ESCAPED = np.zeros(93, np.uint8)  # what stands after the backslash, by code point
for _char, _sign in zip('\b\t\n\f\r"\\', 'btnfr"\\', strict=True):
    _ESCAPED[ord(_char)] = ord(_sign)
# Places in a text are unsigned, and so is all that is added to them: a signed one could count from
# the end, and Numba would look at each of them for that.
_0, _1, _2, _3, _4, _5, _6 = map(np.uint64, range(7))
_DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8)


@compiled
def _put(code: int, text: Array, at: np.uint64) -> np.uint64:
    """Write a code point as UTF-8; return where it ends."""
    if 0x800 <= code < 0x10000:  # as most are
        text[at] = 0xE0 | code >> 12
        text[at + _1] = 0x80 | code >> 6 & 63
        text[at + _2] = 0x80 | code & 63
        return at + _3
    if code < 0x80:
        text[at] = code
        return at + _1
    if code < 0x800:
        text[at] = 0xC0 | code >> 6
        text[at + _1] = 0x80 | code & 63
        return at + _2
    text[at] = 0xF0 | code >> 18
    text[at + _1] = 0x80 | code >> 12 & 63
    text[at + _2] = 0x80 | code >> 6 & 63
    text[at + _3] = 0x80 | code & 63
    return at + _4


@compiled
def _put_json(code: int, text: Array, at: np.uint64) -> np.uint64:
    """Write a code point as it stands in a JSON string; return where it ends."""
    if code > 92 or code > 34 and code < 92:
        return _put(code, text, at)
    if _ESCAPED[code]:
        text[at] = 92
        text[at + _1] = _ESCAPED[code]
        return at + _2
    if code >= 32:
        text[at] = code
        return at + _1
    text[at], text[at + _1], text[at + _2], text[at + _3] = 92, 117, 48, 48
    text[at + _4], text[at + _5] = _DIGITS[code >> 4], _DIGITS[code & 15]
    return at + _6


@compiled
def _before(codes: Array, first: int, second: int) -> bool:
    """Whether the line that begins at `first` sorts before the other; a line feed ends each."""
    while codes[first] == codes[second] != 10:
        first, second = first + 1, second + 1
    return codes[second] != 10 and (codes[first] == 10 or codes[first] < codes[second])


@compiled
def _sort(codes: Array, starts: Array) -> None:
    """Put the lines that begin at these places in ascending order."""
    for line in range(1, len(starts)):  # few, so that inserting them is fast
        start, place = starts[line], line
        while place and _before(codes, start, starts[place - 1]):
            starts[place] = starts[place - 1]
            place -= 1
        starts[place] = start


@compiled
def write_contents(
    codes: Array, starts: Array, lines: tuple[Array, Array, Array], text: Array, ends: Array
) -> None:
    """Write what records are known by (sample.content_key), and where each ends in `text`.

    Args:
        codes: the letters of lines, a line feed after each; starts: where each line begins.
        lines: of each record the first line of its ingredients, that of its steps, and the next.
    """
    first, middle, end = lines
    at = _0
    for record in range(len(first)):
        order = starts[first[record] : middle[record]].copy()
        _sort(codes, order)
        for start in order:
            letter = np.uint64(start)
            while codes[letter] != 10:
                at = _put(codes[letter], text, at)
                letter += _1
            text[at] = 10
            at += _1
        text[at] = 10
        at += _1
        for code in codes[starts[middle[record]] : starts[end[record]]]:
            if code != 10:
                at = _put(code, text, at)
        ends[record] = at


@compiled
def _put_bytes(piece: Array, text: Array, at: np.uint64) -> np.uint64:
    """Write bytes; return where they end."""
    for byte in piece:
        text[at] = byte
        at += _1
    return at


@compiled
def write_conversations(
    asked: Array,
    codes: Array,
    bounds: Array,
    pieces: tuple[Array, Array, Array],
    written: Array,
    sizes: Array,
) -> int:
    """Write conversations, and how long each is in bytes; return how many bytes they all have.

    Args:
        asked: the questions, a NUL after each; codes, bounds: as Conversations.lines() has them.
        pieces: bytes after the question, between the two texts, and after them.
    """
    before, between, end = pieces
    at = letter = _0
    for record in range(len(sizes)):
        begin = at
        while asked[letter]:
            at = _put_json(asked[letter], written, at)
            letter += _1
        letter += _1
        first, second, last = bounds[0, record], bounds[1, record], bounds[2, record]
        at = _put_bytes(before, written, at)
        for code in codes[first : second - 1]:
            at = _put_json(code, written, at)
        at = _put_bytes(between, written, at)
        for code in codes[second : last - 1]:
            at = _put_json(code, written, at)
        at = _put_bytes(end, written, at)
        sizes[record] = at - begin
    return at
