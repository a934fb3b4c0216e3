"""What is written of code points, as UTF-8: what records are known by, and conversations."""

import numpy as np

from butler.corpus.code_points import Array
from butler.corpus.compiled import compiled

MOST = 6  # bytes of a code point
_ESCAPED = np.zeros(93, np.uint8)  # what stands after the backslash, by code point
for _char, _sign in zip('\b\t\n\f\r"\\', 'btnfr"\\', strict=True):
    _ESCAPED[ord(_char)] = ord(_sign)
_DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8)


@compiled
def _put(code: int, text: Array, at: int) -> int:
    """Write a code point as UTF-8; return where it ends."""
    if 0x800 <= code < 0x10000:  # as most are
        text[at] = 0xE0 | code >> 12
        text[at + 1] = 0x80 | code >> 6 & 63
        text[at + 2] = 0x80 | code & 63
        return at + 3
    if code < 0x80:
        text[at] = code
        return at + 1
    if code < 0x800:
        text[at] = 0xC0 | code >> 6
        text[at + 1] = 0x80 | code & 63
        return at + 2
    text[at] = 0xF0 | code >> 18
    text[at + 1] = 0x80 | code >> 12 & 63
    text[at + 2] = 0x80 | code >> 6 & 63
    text[at + 3] = 0x80 | code & 63
    return at + 4


@compiled
def _put_json(code: int, text: Array, at: int) -> int:
    """Write a code point as it stands in a JSON string; return where it ends."""
    if code > 92 or code > 34 and code < 92:
        return _put(code, text, at)
    if _ESCAPED[code]:
        text[at] = 92
        text[at + 1] = _ESCAPED[code]
        return at + 2
    if code >= 32:
        text[at] = code
        return at + 1
    text[at], text[at + 1], text[at + 2], text[at + 3] = 92, 117, 48, 48
    text[at + 4], text[at + 5] = _DIGITS[code >> 4], _DIGITS[code & 15]
    return at + 6


@compiled
def _before(codes: Array, first: int, second: int) -> bool:
    """Whether the line that begins at `first` sorts before the other; a line feed ends each."""
    while codes[first] == codes[second] != 10:
        first, second = first + 1, second + 1
    return codes[second] != 10 and (codes[first] == 10 or codes[first] < codes[second])


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
    order = np.empty(len(starts), np.int64)
    at = 0
    for record in range(len(first)):
        count = 0
        for line in range(first[record], middle[record]):
            place = count
            while place and _before(codes, starts[line], order[place - 1]):
                order[place] = order[place - 1]
                place -= 1
            order[place] = starts[line]
            count += 1
        for place in range(count):
            letter = order[place]
            while codes[letter] != 10:
                at = _put(codes[letter], text, at)
                letter += 1
            text[at] = 10
            at += 1
        text[at] = 10
        at += 1
        for letter in range(starts[middle[record]], starts[end[record]]):
            if codes[letter] != 10:
                at = _put(codes[letter], text, at)
        ends[record] = at


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
        asked: the questions, a line feed after each; codes, bounds: as Conversations.lines() has
            them.
        pieces: bytes after the question, between the two texts, and after them.
    """
    before, between, end = pieces
    at = letter = 0
    for record in range(len(sizes)):
        begin = at
        while asked[letter] != 10:
            at = _put_json(asked[letter], written, at)
            letter += 1
        letter += 1
        first, second, last = bounds[0, record], bounds[1, record], bounds[2, record]
        for byte in before:
            written[at] = byte
            at += 1
        for place in range(first, second - 1):
            at = _put_json(codes[place], written, at)
        for byte in between:
            written[at] = byte
            at += 1
        for place in range(second, last - 1):
            at = _put_json(codes[place], written, at)
        for byte in end:
            written[at] = byte
            at += 1
        sizes[record] = at - begin
    return at
