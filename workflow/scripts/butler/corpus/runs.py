"""Runs of letters in many texts, told apart only where that is asked for.

Most runs of a corpus stand in no protected text. Their first letters show it: a number for each
place costs a tenth of a hash of the whole run.
"""

import numpy as np

from butler.corpus.code_points import Array
from butler.corpus.folding import Grams, mixed

_SPAN = 4  # letters of an opening, where a run has as many
_FACTOR = np.uint32(0x9E3779B1)  # odd, as all factors here: nothing is lost modulo 2**32
_SPREAD = np.uint32(0x85EBCA6B)
_FACTORS = np.random.default_rng(0).integers(0, 1 << 63, 1 << 12, np.uint64) << np.uint64(1) | 1
_WINDOW = 8  # runs side by side of which one is kept for later; a power of two
_NEVER = np.uint32(0xFFFFFFFF)


class Runs:
    """The runs of `length` letters by their places, counted in the letters of all texts.

    `openings` holds for each place a number of the letters that begin there (uint32), its upper
    bits well spread; all bits are set where what begins there leaves its text.
    """

    def __init__(self, grams: Grams, length: int) -> None:
        self._length, self._ends = length, np.cumsum(grams.sizes)
        windows, span, factor = grams.codes, 1, _FACTOR
        with np.errstate(over="ignore"):
            while span < _SPAN and 2 * span <= length:
                windows = windows[:-span] * factor + windows[span:]
                span, factor = 2 * span, factor * factor
            self.openings: Array = windows[: max(len(grams.codes) - length + 1, 0)] * _SPREAD
        ends, sizes = self._ends[grams.sizes > 0, None], grams.sizes[grams.sizes > 0, None]
        leaving = np.maximum(ends - np.arange(1, length), ends - sizes)
        self.openings[leaving[leaving < len(self.openings)]] = _NEVER
        self._windows, self._steps = windows, [*range(0, length - span, span), length - span]

    def inside(self, places: Array) -> tuple[Array, Array]:
        """Those of the places, in ascending order, whose run ends in its text, and that text."""
        before = np.searchsorted(places, self._ends)
        texts = np.repeat(np.arange(len(before)), np.diff(before, prepend=0))
        whole = self._ends[texts] - places >= self._length
        return places[whole], texts[whole]

    def hashes(self, places: Array) -> Array:
        """The hash of the run at each of these places, as uint64."""
        found = np.zeros(len(places), np.uint64)
        with np.errstate(over="ignore"):
            for step, factor in zip(self._steps, _FACTORS, strict=False):
                found += self._windows[places + step] * factor
        return mixed(found)

    def sampled(self) -> tuple[Array, Array]:
        """Some runs, by their openings (hashes as uint32), and how many each text has.

        Winnowing (Schleimer, Wilkerson and Aiken, SIGMOD 2003): the smallest of each 8 side by
        side. Of 8 such runs that two texts have in common, both keep the same.
        """
        more = _WINDOW - 1
        lowest = _extremes(np.minimum, np.pad(self.openings, (0, more), constant_values=_NEVER))
        # A run is the smallest of one of its windows if it is the largest of their smallest.
        highest = _extremes(np.maximum, np.pad(lowest, (more, 0)))
        places = np.flatnonzero((self.openings == highest) & (self.openings != _NEVER))
        hashes = (self.hashes(places) >> np.uint64(32)).astype(np.uint32)
        return hashes, np.diff(np.searchsorted(places, self._ends), prepend=0)


def _extremes(of: np.ufunc, numbers: Array) -> Array:
    """The smallest or the largest of each window of numbers."""
    span = 1
    while span < _WINDOW:
        numbers = of(numbers[:-span], numbers[span:])
        span *= 2
    return numbers
