"""What texts are compared by, letters alone and without case, for many lines at once."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np

from butler.corpus.code_points import Array, CodePoints
from butler.corpus.gates import IDEOGRAPHS, Lines
from butler.corpus.text import letters

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


class Letters:
    """The letters() of every line: `codes` and `text` end each with a line feed.

    `starts` says where in `codes` a line begins; it has one entry more than there are lines.
    """

    def __init__(self, lines: Lines) -> None:
        codes = fold_table().of(lines.codes)
        several = np.flatnonzero(codes == _SEVERAL)
        if len(several):
            codes[several] = 0
        codes = codes[codes != 0]
        self.text = codes.tobytes().decode("utf-32-le")
        if len(several):
            folded = self.text.split("\n")
            for line in set(lines.lines_of(several).tolist()):
                begin, end = lines.starts[line], lines.ends[line]
                folded[line] = letters(lines.codes[begin:end].tobytes().decode("utf-32-le"))
            self.text = "\n".join(folded)
            codes = np.frombuffer(self.text.encode("utf-32-le"), np.uint32)
        self.codes: Array = codes
        self._feeds: Array = codes == 10
        self.starts: Array = np.concatenate(([0], np.flatnonzero(self._feeds) + 1))

    def lines(self) -> list[str]:
        """The letters of each line."""
        return self.text.split("\n")[:-1]

    def grams(self, first: Array | None = None, end: Array | None = None) -> "Grams":
        """Lines [`first`, `end`) of each text, in order; by default each line is a text."""
        if first is None or end is None:
            lines = np.arange(len(self.starts))
            first, end = lines[:-1], lines[1:]
        begins, ends = self.starts[first], self.starts[end]
        kept = ~self._feeds
        between = np.flatnonzero(np.append(begins, len(kept)) > np.append(0, ends))
        for gap in between.tolist():  # few
            kept[ends[gap - 1] if gap else 0 : begins[gap] if gap < len(begins) else None] = False
        return Grams(self.codes[kept], ends - begins - (end - first))


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
