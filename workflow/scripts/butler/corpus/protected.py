"""Texts that must not be trained on, and which training records hold them.

The measure: the share of a protected text's runs of `ngram` letters that stand in one training
record. A record with `share` of them or more is contaminated. A few idioms in common ("锅中倒油烧热
放入葱姜蒜") are a small share of a text and throw nothing out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from butler.corpus.ngrams import Array, Grams, letters_of, sampled

_BITS = 23  # of a hash that the first look goes by


@dataclass(frozen=True)
class OverlapRule:
    """Letters in a run, and the share of a protected text's runs from which a record goes."""

    ngram: int
    share: float


class Protected:
    """Protected texts, ready to be looked for; `short` counts those with too few letters for it.

    `sampled` holds the hashes of some of their runs (ngrams.sampled), ascending.
    """

    def __init__(self, texts: Sequence[str], rule: OverlapRule) -> None:
        self.rule = rule
        hashes, counts = Grams.of_letters(letters_of(texts)).hashes(rule.ngram)
        owner = np.repeat(np.arange(len(counts), dtype=np.uint64), counts)
        # The last bits of a run's hash give way to its owner's number.
        self._owner_bits = np.uint64((1 << len(texts).bit_length()) - 1)
        self._runs = np.unique(hashes & ~self._owner_bits | owner)
        owners = (self._runs & self._owner_bits).astype(np.int64)
        self._totals: Array = np.bincount(owners, minlength=len(texts))
        self.short = int((self._totals == 0).sum())
        self.sampled: Array = np.unique(sampled(hashes, counts)[0])
        self._seen: Array = np.zeros(1 << _BITS, bool)
        self._seen[self._runs >> np.uint64(64 - _BITS)] = True

    def find(self, hashes: Array, counts: Array) -> dict[int, tuple[int, float]]:
        """{record: (protected text, share)} for the contaminated records, the largest share each.

        Args:
            hashes, counts: of the records' runs (Grams.hashes).
        """
        may = np.flatnonzero(self._seen.take(hashes >> np.uint64(64 - _BITS)))
        record = np.searchsorted(np.cumsum(counts), may, "right")
        wanted = hashes[may] & ~self._owner_bits
        first = np.searchsorted(self._runs, wanted, "left")
        many = np.searchsorted(self._runs, wanted | self._owner_bits, "right") - first
        record, wanted = np.repeat(record, many), np.repeat(wanted, many)
        if not len(record):
            return {}
        within = np.arange(len(record)) - np.repeat(np.cumsum(many) - many, many)
        owner = self._runs[np.repeat(first, many) + within] & self._owner_bits
        both = np.unique(np.stack((record.astype(np.uint64), owner, wanted)), axis=1)
        pairs, common = np.unique(both[:2].astype(np.int64), axis=1, return_counts=True)
        found: dict[int, tuple[int, float]] = {}
        shares = common / self._totals[pairs[1]]
        for at in np.flatnonzero(shares >= self.rule.share).tolist():
            hit, text, share = int(pairs[0, at]), int(pairs[1, at]), float(shares[at])
            if share > found.get(hit, (0, 0.0))[1]:
                found[hit] = (text, share)
        return found
