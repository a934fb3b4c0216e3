"""Near-duplicates: MinHash over letter n-grams, bands to find candidates, exact Jaccard to decide.

A record is the set of its runs of `shingle` letters. Two records are near-duplicates if the Jaccard
similarity of their sets is at least `threshold`. MinHash with bands (Broder 1997; Leskovec et al.,
Mining of Massive Datasets, ch. 3) only proposes pairs; each is then decided by the sets themselves.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from butler.corpus.ngrams import Array, Grams

_MISSED = 0.005  # share of pairs right at the threshold that no band may propose
_LARGEST = 160  # permutations
_BLOCK = 1 << 15  # hashes at a time: what the processor's cache holds


@dataclass(frozen=True)
class NearRule:
    """Which records are near-duplicates: similarity from 0 to 1, and letters in a shingle."""

    threshold: float
    shingle: int

    @cached_property
    def bands(self) -> tuple[int, int]:
        """Bands, and rows in each: the most rows that still find pairs at the threshold.

        A pair of similarity s meets in a band with probability s**rows.
        """
        for rows in range(16, 0, -1):
            alike = min(self.threshold**rows, 1 - 1e-9)
            bands = int(np.ceil(np.log(_MISSED) / np.log1p(-alike)))
            if bands * rows <= _LARGEST:
                return max(bands, 1), rows
        return _LARGEST, 1


@dataclass(frozen=True)
class Signatures:
    """What a chunk's records are compared by.

    `bands` holds a hash per band as uint32 [records, bands]; `shingles` the sorted sets of all
    records one after another as uint32, `counts` how many each has.
    """

    bands: Array
    shingles: Array
    counts: Array


def signatures(grams: Grams, rule: NearRule) -> Signatures:
    """The signatures of texts by their letters."""
    bands, rows = rule.bands
    hashes, counts = grams.hashes(rule.shingle)
    texts = len(counts)
    owner = np.repeat(np.arange(texts, dtype=np.uint64), counts)
    keys = np.sort(owner << np.uint64(32) | hashes >> np.uint64(32))
    keys = keys[np.concatenate(([True], keys[1:] != keys[:-1]))] if len(keys) else keys
    shingles = (keys & np.uint64(0xFFFFFFFF)).astype(np.uint32)
    counts = np.bincount((keys >> np.uint64(32)).astype(np.int64), minlength=texts)
    return Signatures(_bands(shingles, counts, bands, rows), shingles, counts)


def _bands(shingles: Array, counts: Array, bands: int, rows: int) -> Array:
    """A hash per band, 0 for records without shingles, which are not compared."""
    found = np.zeros((len(counts), bands), np.uint32)
    factors = np.random.default_rng(0).integers(0, 1 << 32, (bands * rows, 2), dtype=np.uint32)
    factors[:, 0] |= 1  # odd: then the product is a permutation of the 32-bit numbers
    filled = np.flatnonzero(counts)
    starts = np.cumsum(counts) - counts
    begin = 0
    while begin < len(filled):
        end = begin + 1
        first = starts[filled[begin]]
        while end < len(filled) and starts[filled[end]] - first < _BLOCK:
            end += 1
        chosen = filled[begin:end]
        block = shingles[first : starts[chosen[-1]] + counts[chosen[-1]]]
        found[chosen] = _banded(_minima(block, starts[chosen] - first, factors), bands, rows)
        begin = end
    return found


def _minima(block: Array, starts: Array, factors: Array) -> Array:
    """The smallest value of each permutation in each record, as uint32 [permutations, records]."""
    minima = np.empty((len(factors), len(starts)), np.uint32)
    product = np.empty_like(block)
    with np.errstate(over="ignore"):
        for row, (factor, shift) in enumerate(factors):
            np.multiply(block, factor, out=product)
            np.add(product, shift, out=product)
            np.minimum.reduceat(product, starts, out=minima[row])
    return minima


def _banded(minima: Array, bands: int, rows: int) -> Array:
    """The minima of each band as one number, uint32 [records, bands]."""
    joined = np.zeros((bands, minima.shape[1]), np.uint64)
    with np.errstate(over="ignore"):
        for row in range(rows):
            joined = (joined ^ minima[row::rows].astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
            joined ^= joined >> np.uint64(32)
    return (joined >> np.uint64(16)).astype(np.uint32).T


def buckets(bands: Array, ranked: Array) -> tuple[Array, Array]:
    """Which records share a band with another: (places in `ranked`, bucket), by place.

    Args:
        bands: uint32 [records, bands].
        ranked: the records to compare, best first.
    """
    places, names, used = [], [], 0
    for band in range(bands.shape[1]):
        values = bands[ranked, band]
        order = np.argsort(values, kind="stable")
        same = values[order[1:]] == values[order[:-1]]
        if not same.any():
            continue
        shared = np.concatenate((same, [False])) | np.concatenate(([False], same))
        number = np.cumsum(np.concatenate(([True], ~same))) + used
        places.append(order[shared].astype(np.int32))
        names.append(number[shared].astype(np.int32))
        used = int(number[-1])
    if not places:
        return np.empty(0, np.int32), np.empty(0, np.int32)
    place, name = np.concatenate(places), np.concatenate(names)
    order = np.argsort(place, kind="stable")
    return place[order], name[order]


def drop_near(
    bands: Array, counts: Array, ranked: Array, read: Callable[[int], Array], rule: NearRule
) -> dict[int, int]:
    """Go through the records, best first: drop one that is like a better one that stays.

    Args:
        bands: uint32 [records, bands]; counts: shingles of each record.
        ranked: the records, best first; which come out depends on nothing else.
        read: gives the sorted shingles of a record, as uint32.

    Returns:
        {record dropped: the record that stays, the best of those it is like}.
    """
    ranked = ranked[counts[ranked] > 0]
    places, names = buckets(bands, ranked)
    sizes = counts[ranked].tolist()
    ends = np.searchsorted(places, np.unique(places), side="right").tolist()
    names_of = names.tolist()
    kept: dict[int, list[int]] = {}
    cached: dict[int, set[int]] = {}
    dropped: dict[int, int] = {}

    def shingles(place: int) -> set[int]:
        found = cached.get(place)
        if found is None:
            if len(cached) >= 8192:
                cached.clear()
            found = cached[place] = set(read(int(ranked[place])).tolist())
        return found

    begin = 0
    for end in ends:
        place = int(places[begin])
        own = names_of[begin:end]
        begin = end
        others = {other for bucket in own for other in kept.get(bucket, ())}
        for other in sorted(others):
            small, large = sorted((sizes[place], sizes[other]))
            if small < rule.threshold * large:
                continue
            common = len(shingles(place) & shingles(other))
            if common >= rule.threshold * (small + large - common):
                dropped[int(ranked[place])] = int(ranked[other])
                break
        else:
            for bucket in own:
                kept.setdefault(bucket, []).append(place)
    return dropped
