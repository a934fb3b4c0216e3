"""Letters of many texts, and hashes of every run of some of them, side by side in NumPy."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from butler.corpus.rules.text import NEVER_LETTERS, fold

Array = np.ndarray[Any, Any]
BASE = np.uint64(0x9E3779B97F4A7C15)  # odd; hashes are taken modulo 2**64
WINDOW = 8  # runs side by side of which one is kept by Grams.sampled


@cache
def _letters() -> tuple[Array, Array]:
    """Whether each code point may be a letter or a digit once it is folded; whether it is one.

    Line feeds and what parts the texts count.
    """
    are = np.fromiter((chr(code).isalnum() for code in range(0x110000)), bool, 0x110000)
    are[[0, 10]] = True
    may_be = np.ones_like(are)
    may_be[list(map(ord, NEVER_LETTERS))] = False
    return may_be, are


def letters_of(texts: Sequence[str]) -> list[str]:
    """rules.text.letters() of each line of the texts, the lines as they stand."""
    may_be, are = _letters()
    return _kept(map(fold, _kept(texts, may_be)), are) if texts else []


def _kept(texts: Iterable[str], kept: Array) -> list[str]:
    """The texts with those characters that are kept, by their code."""
    joined = "\0\n".join(text.replace("\0", "") for text in texts)
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
    left = codes[kept.take(codes)].tobytes().decode("utf-32-le", "surrogatepass")
    return left.split("\0\n")


@dataclass(frozen=True)
class Grams:
    """The letters of many texts, without line feeds; no run of letters crosses texts.

    `codes` holds the letters of all texts as uint32, `sizes` how many each has.
    """

    codes: Array
    sizes: Array

    @classmethod
    def of_letters(cls, texts: Sequence[str]) -> "Grams":
        """Of texts that are letters_of() some; lines are run together."""
        bare = [text.replace("\n", "") for text in texts]
        joined = "".join(bare).encode("utf-32-le", "surrogatepass")
        return cls(
            np.frombuffer(joined, np.uint32), np.fromiter(map(len, bare), np.int64, len(bare))
        )

    def hashes(self, length: int) -> tuple[Array, Array]:
        """The hash of each run of `length` letters (uint64), and how many runs each text has.

        A text with fewer letters has none. Built by doubling: a run of 2k letters from two of k.
        """
        power, base, done = self.codes.astype(np.uint64) + np.uint64(1), BASE, 0
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


def sampled(hashes: Array, counts: Array) -> tuple[Array, Array]:
    """Some of the hashes of each text as uint32, and how many of each.

    Winnowing (Schleimer, Wilkerson and Aiken, SIGMOD 2003): the smallest of each WINDOW side by
    side. Of so many runs that two texts have in common in one piece, both keep the same.
    """
    if not len(hashes):
        return np.empty(0, np.uint32), np.zeros_like(counts)
    ends = np.cumsum(counts)
    left = np.repeat(ends, counts) - np.arange(len(hashes))  # runs up to the end of the text
    lowest = hashes.copy()
    span = 1
    while span < WINDOW:
        # A window that would leave its text ends there.
        further = np.where(left[:-span] > span, lowest[span:], lowest[:-span])
        lowest[:-span] = np.minimum(lowest[:-span], further)
        span *= 2
    # Windows that begin in the last places of a text are cut: no harm, they are kept of both.
    new = np.concatenate(([True], (lowest[1:] != lowest[:-1]) | (left[1:] >= left[:-1])))
    owners = np.repeat(np.arange(len(counts)), counts)[new]
    return (lowest[new] >> np.uint64(32)).astype(np.uint32), np.bincount(
        owners, minlength=len(counts)
    )


def mixed(hashes: Array) -> Array:
    """Spread what differs over all bits (the finaliser of MurmurHash3, 64 bits)."""
    with np.errstate(over="ignore"):
        hashes = hashes ^ (hashes >> np.uint64(33))
        hashes *= np.uint64(0xFF51AFD7ED558CCD)
        hashes ^= hashes >> np.uint64(33)
    return hashes
