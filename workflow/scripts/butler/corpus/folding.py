"""What texts are compared by, letters alone and without case, for many lines at once."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import ClassVar

import numpy as np

from butler.corpus.code_points import Array, CodePoints
from butler.corpus.compiled import compiled
from butler.corpus.gates import IDEOGRAPHS, Lines
from butler.corpus.text import letters
from butler.corpus.utf8 import write_contents

_SEVERAL = 0xFFFFFFFF  # this character becomes several letters, or joins with a neighbour
_UNSEEN = 0xFFFFFFFE


@cache
def fold_table() -> CodePoints:
    """The letter that stands for each code point in letters(), 0 for none, or _SEVERAL: uint32."""
    folded = CodePoints(np.uint32, _UNSEEN, _folded)
    for first, last in IDEOGRAPHS:
        folded.known[first : last + 1] = np.arange(first, last + 1)
    folded.known[10] = 10
    return folded


def _folded(code: int) -> int:
    char = chr(code)
    kind = unicodedata.category(char)
    text = letters(char) if kind not in ("Cn", "Co", "Cs") else ""
    joins = kind[0] == "M" or "\u1100" <= char <= "\u11ff"
    # Nothing else in these planes is a letter of a recipe.
    rare = 0x3400 <= code < 0xA000 or code >= 0x20000
    return _SEVERAL if rare or joins or len(text) > 1 else ord(text) if text else 0


@compiled
def _fold(codes: Array, known: Array, folded: Array, starts: Array, several: Array) -> int:
    """Write the letter for each code point, and where each line begins; return their number.

    -1 where a character is not known yet. `several` tells the lines with one that becomes several
    letters.
    """
    count = line = 0
    several[:] = False
    for at in range(len(codes)):
        letter = known[codes[at]]
        if letter == _UNSEEN:
            return -1
        if letter == _SEVERAL:
            several[line] = True
        elif letter:
            folded[count] = letter
            count += 1
            if letter == 10:
                line += 1
                starts[line] = count
    return count


@compiled
def _pack(codes: Array, starts: Array, first: Array, end: Array, packed: Array) -> int:
    """Write the letters of lines [`first`, `end`) of each text, without feeds; return how many."""
    count = 0
    for text in range(len(first)):
        for at in range(starts[first[text]], starts[end[text]]):
            packed[count] = codes[at]
            count += codes[at] != 10
    return count


class Letters:
    """The letters() of every line: `codes` ends each with a line feed.

    `starts` says where in `codes` a line begins; it has one entry more than there are lines.
    """

    def __init__(self, lines: Lines) -> None:
        table, codes = fold_table(), lines.codes
        self.starts: Array = np.zeros(len(lines.ends) + 1, np.int64)
        folded, several = np.empty_like(codes), np.empty(len(lines.ends), bool)
        while (count := _fold(codes, table.known, folded, self.starts, several)) < 0:
            table.meet_all(codes)
        self.codes: Array = folded[:count]
        if several.any():
            self._spell_out(lines, np.flatnonzero(several))

    def _spell_out(self, lines: Lines, places: Array) -> None:
        """Put the letters of lines with a character that becomes several in their places."""
        texts = self.lines()
        for line in places.tolist():
            codes = lines.codes[lines.starts[line] : lines.ends[line]]
            texts[line] = letters(codes.tobytes().decode("utf-32-le"))
        text = "\n".join(texts) + "\n"
        # Writable, as it is elsewhere: for others the loops would be compiled once more.
        self.codes = np.frombuffer(bytearray(text.encode("utf-32-le")), np.uint32)
        self.starts[1:] = np.flatnonzero(self.codes == 10) + 1

    def lines(self) -> list[str]:
        """The letters of each line."""
        return self.codes.tobytes().decode("utf-32-le").split("\n")[:-1]

    def contents(self, first: Array, middle: Array, end: Array) -> list[memoryview]:
        """What records are known by (sample.content_key): ingredients in lines [`first`,
        `middle`), steps in lines [`middle`, `end`)."""
        sizes = self.starts[end] - self.starts[first]
        text, ends = np.empty(4 * int(sizes.sum()) + len(first), np.uint8), np.empty_like(first)
        write_contents(self.codes, self.starts, (first, middle, end), text, ends)
        whole, bounds = memoryview(text), [0, *ends.tolist()]
        return [whole[begin:end] for begin, end in pairwise(bounds)]

    def grams(self, first: Array | None = None, end: Array | None = None) -> "Grams":
        """Lines [`first`, `end`) of each text, in order; by default each line is a text."""
        if first is None or end is None:
            lines = np.arange(len(self.starts))
            first, end = lines[:-1], lines[1:]
        sizes = self.starts[end] - self.starts[first] - (end - first)
        packed = np.empty(int(sizes.sum()) + 1, np.uint32)
        return Grams(packed[: _pack(self.codes, self.starts, first, end, packed)], sizes)


@dataclass(frozen=True)
class Grams:
    """Rolling hashes of the letters of many texts, line feeds left out; no gram crosses texts.

    `codes` holds the letters of all texts as uint32, `sizes` how many each has.
    """

    codes: Array
    sizes: Array

    _BASE: ClassVar[np.uint64] = np.uint64(0x9E3779B97F4A7C15)  # odd; hashes are taken modulo 2**64

    @classmethod
    def joined(cls, parts: Sequence["Grams"]) -> "Grams":
        """The texts of all parts, one part after another."""
        if len(parts) == 1:
            return parts[0]
        codes, sizes = [part.codes for part in parts], [part.sizes for part in parts]
        return cls(np.concatenate(codes), np.concatenate(sizes))

    def of(self, texts: Array) -> "Grams":
        """Some of the texts, by their numbers in ascending order."""
        chosen = np.zeros(len(self.sizes), bool)
        chosen[texts] = True
        return Grams(self.codes[np.repeat(chosen, self.sizes)], self.sizes[chosen])

    def hashes(self, length: int) -> tuple[Array, Array]:
        """The hash of each run of `length` letters (uint64), and how many runs each text has.

        A text with fewer letters has none. Built by doubling: a run of 2k letters from two of k.
        """
        power, base, done = self.codes.astype(np.uint64) + np.uint64(1), self._BASE, 0
        whole: Array | None = None
        span = 1
        with np.errstate(over="ignore"):
            while done < length:
                if length & span:
                    if whole is None:
                        whole = power
                    else:
                        kept = len(self.codes) - done - span + 1
                        if kept <= 0:
                            return np.empty(0, np.uint64), np.zeros_like(self.sizes)
                        whole = whole[:kept] * base + power[done : done + kept]
                    done += span
                if done < length:
                    if len(power) <= span:
                        return np.empty(0, np.uint64), np.zeros_like(self.sizes)
                    power = power[:-span] * base + power[span:]
                    base = base * base
                    span *= 2
        assert whole is not None
        return self._within(whole, length)

    def _within(self, hashes: Array, length: int) -> tuple[Array, Array]:
        counts = np.maximum(self.sizes - length + 1, 0)
        ends = np.cumsum(self.sizes)
        keep = np.ones(len(self.codes), bool)
        for back in range(1, length):  # the last places of a text, where a run would leave it
            keep[np.maximum(ends - back, ends - self.sizes)[self.sizes > 0]] = False
        return mixed(hashes[keep[: len(hashes)]]), counts


def mixed(hashes: Array) -> Array:
    """Spread what differs over all bits (the finaliser of MurmurHash3, 64 bits)."""
    with np.errstate(over="ignore"):
        hashes = hashes ^ (hashes >> np.uint64(33))
        hashes *= np.uint64(0xFF51AFD7ED558CCD)
        hashes ^= hashes >> np.uint64(33)
    return hashes
