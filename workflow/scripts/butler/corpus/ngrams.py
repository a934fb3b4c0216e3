"""Runs of letters in many texts, told apart only where that is asked for.

Most runs of a corpus stand in no protected text. Their first letters show it: a number for each
place costs a tenth of a hash of the whole run.
"""

import numpy as np

from butler.corpus.code_points import Array
from butler.corpus.compiled import compiled
from butler.corpus.folding import Grams

_SPAN = 4  # letters of an opening, where a run has as many
_FACTOR = np.uint32(0x9E3779B1)  # odd, as all factors here: nothing is lost modulo 2**32
_SPREAD = np.uint32(0x85EBCA6B)
_MIX = np.uint64(0xFF51AFD7ED558CCD)
_HALF = np.uint64(33)
_FACTORS = np.random.default_rng(0).integers(0, 1 << 63, 1 << 12, np.uint64) << np.uint64(1) | 1
_WINDOW = 8  # runs side by side of which one is kept for later
_NEVER = np.uint32(0xFFFFFFFF)
_BITS = 23  # of a number that Marks go by


@compiled
def _number(windows: Array, span: int) -> None:
    """Put in the place of each letter a number of the `span` that begin there, a power of two."""
    width, factor = 1, _FACTOR
    while width < span:
        for at in range(len(windows) - width):
            windows[at] = np.uint32(windows[at] * factor + windows[at + width])
        width, factor = 2 * width, np.uint32(factor * factor)


@compiled
def _opening(window: np.uint32) -> np.uint32:
    """The letters at a place as a number with well spread upper bits."""
    return np.uint32(window * _SPREAD)


@compiled
def _hash(windows: Array, at: int, steps: Array, factors: Array) -> np.uint64:
    """The hash of the run at a place, of the windows in it (MurmurHash3's finaliser)."""
    found = np.uint64(0)
    for step in range(len(steps)):
        found += np.uint64(windows[at + steps[step]]) * factors[step]
    found ^= found >> _HALF
    found *= _MIX
    return found ^ found >> _HALF


@compiled
def _upper(number: np.uint64) -> np.uint32:
    return np.uint32(number >> np.uint64(32))


@compiled
def _all(
    windows: Array,
    ends: Array,
    length: int,
    factors: tuple[Array, Array],
    runs: tuple[Array, Array],
) -> int:
    """Write opening and hash of every run; return how many there are."""
    openings, hashes = runs
    steps, multipliers = factors
    count = begin = 0
    for text in range(len(ends)):
        for at in range(begin, ends[text] - length + 1):
            openings[count] = _opening(windows[at])
            hashes[count] = _hash(windows, at, steps, multipliers)
            count += 1
        begin = ends[text]
    return count


@compiled
def _slide(numbers: Array, lowest: Array, highest: Array, count: int) -> None:
    """The smallest of `count` windows of 8 numbers, and the largest of 8 of these side by side."""
    for at in range(count):
        smallest = numbers[at]
        for away in range(1, _WINDOW):
            smallest = min(smallest, numbers[at + away])
        lowest[at] = smallest
    for at in range(count - _WINDOW + 1):
        largest = lowest[at]
        for away in range(1, _WINDOW):
            largest = max(largest, lowest[at + away])
        highest[at] = largest


@compiled
def _sample(
    windows: Array, ends: Array, length: int, factors: tuple[Array, Array], kept: Array
) -> Array:
    """Write the hashes of the runs that are kept; return how many each text has."""
    steps, multipliers = factors
    counts = np.zeros(len(ends), np.int64)
    most = _WINDOW - 1
    count = begin = longest = 0
    for end in ends:
        longest, begin = max(longest, end - begin), end
    # Openings of a text, with room on both sides, and the extremes of their windows.
    own = np.full(longest + 2 * most, _NEVER)
    lowest, highest = np.empty_like(own), np.empty_like(own)
    places = np.empty(longest + 1, np.int64)
    begin = 0
    for text in range(len(ends)):
        runs = max(ends[text] - length + 1 - begin, 0)
        for place in range(runs):
            own[most + place] = _opening(windows[begin + place])
        own[most + runs : most + runs + most] = _NEVER
        _slide(own, lowest, highest, runs + most)
        found = 0
        for place in range(runs):
            # A run is the smallest of one of its windows if it is the largest of their smallest.
            opening = own[most + place]
            places[found] = begin + place
            found += opening == highest[place] and opening != _NEVER
        for place in places[:found]:
            kept[count] = _upper(_hash(windows, place, steps, multipliers))
            count += 1
        counts[text] = found
        begin = ends[text]
    return counts


@compiled
def _marked(bits: Array, number: np.uint32) -> bool:
    place = number >> np.uint32(32 - _BITS)
    return bits[place >> np.uint32(3)] >> (place & np.uint32(7)) & 1 != 0


@compiled
def _mark(bits: Array, numbers: Array) -> None:
    for number in numbers:
        place = number >> np.uint32(32 - _BITS)
        bits[place >> np.uint32(3)] |= np.uint8(1) << np.uint8(place & np.uint32(7))


@compiled
def _look(
    windows: Array,
    ends: Array,
    length: int,
    factors: tuple[Array, Array],
    marks: tuple[Array, Array],
    found: tuple[Array, Array],
) -> int:
    """Write text and hash of the runs that have both marks; return how many there are."""
    texts, hashes = found
    first, second = marks
    steps, multipliers = factors
    count = begin = 0
    for text in range(len(ends)):
        for at in range(begin, ends[text] - length + 1):
            if _marked(first, _opening(windows[at])):
                own = _hash(windows, at, steps, multipliers)
                if _marked(second, _upper(own)):
                    texts[count], hashes[count] = text, own
                    count += 1
        begin = ends[text]
    return count


class Marks:
    """A bit for each of many numbers (uint32), found by the upper bits of a number."""

    def __init__(self, numbers: Array) -> None:
        self.bits: Array = np.zeros(1 << _BITS - 3, np.uint8)
        _mark(self.bits, numbers)


class Runs:
    """The runs of `length` letters of many texts, in order; none crosses texts.

    A run's opening (uint32) numbers its first letters, its hash (uint64) all of them.
    """

    def __init__(self, grams: Grams, length: int) -> None:
        self._length, self._ends = length, np.cumsum(grams.sizes)
        span = min(_SPAN, 1 << length.bit_length() - 1)
        steps = np.array([*range(0, length - span, span), length - span])
        self._factors = steps, _FACTORS[: len(steps)]
        self._windows = grams.codes.copy()
        _number(self._windows, span)

    def all(self) -> tuple[Array, Array]:
        """The openings and the hashes of all runs."""
        openings, hashes = np.empty_like(self._windows), np.empty(len(self._windows), np.uint64)
        count = _all(self._windows, self._ends, self._length, self._factors, (openings, hashes))
        return openings[:count], hashes[:count]

    def marked(self, openings: Marks, hashes: Marks) -> tuple[Array, Array]:
        """The texts (by number) and the hashes of the runs marked by opening and upper half."""
        texts, found = (
            np.empty(len(self._windows), np.int64),
            np.empty(len(self._windows), np.uint64),
        )
        marks = openings.bits, hashes.bits
        count = _look(self._windows, self._ends, self._length, self._factors, marks, (texts, found))
        return texts[:count], found[:count]

    def sampled(self) -> tuple[Array, Array]:
        """Some runs, by their openings (hashes as uint32), and how many each text has.

        Winnowing (Schleimer, Wilkerson and Aiken, SIGMOD 2003): the smallest of each 8 side by
        side. Of 8 such runs that two texts have in common, both keep the same.
        """
        kept = np.empty_like(self._windows)
        counts = _sample(self._windows, self._ends, self._length, self._factors, kept)
        return kept[: int(counts.sum())], counts
