"""Texts that must not be trained on, and which training records hold them.

The measure: the share of a protected text's runs of `ngram` letters that stand in one training
record. A record with `share` of them or more is contaminated. A few idioms in common ("锅中倒油烧热
放入葱姜蒜") are a small share of a text and throw nothing out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from butler.corpus.compiled import compiled
from butler.corpus.folding import Grams, Letters
from butler.corpus.gates import Lines
from butler.corpus.ngrams import Marks, Runs

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class OverlapRule:
    """Letters in a run, and the share of a protected text's runs from which a record goes."""

    ngram: int
    share: float


@compiled
def _first_of_each(owners: Array, wanted: Array) -> Array:
    """Whether each number is among the first that its owner has as many of as are wanted."""
    left = wanted.copy()
    chosen = np.empty(len(owners), np.bool_)
    for place, owner in enumerate(owners):
        chosen[place] = left[owner] > 0
        left[owner] -= 1
    return chosen


class Protected:
    """Protected texts, ready to be looked for; `short` counts those with too few letters for it."""

    def __init__(self, texts: Sequence[str], rule: OverlapRule) -> None:
        self.rule = rule
        # What a line feed parts, a space does too.
        joined = "\n".join(text.replace("\n", " ") for text in texts)
        grams = Letters(Lines(joined + "\n")).grams()
        hashes, counts = grams.hashes(rule.ngram)
        owner = np.repeat(np.arange(len(counts), dtype=np.uint64), counts)
        # The last bits of a run's hash give way to its owner's number.
        self._owner_bits = np.uint64((1 << len(texts).bit_length()) - 1)
        self.runs, at = np.unique(hashes & ~self._owner_bits | owner, return_index=True)
        owners = (self.runs & self._owner_bits).astype(np.int64)
        self.totals: Array = np.bincount(owners, minlength=len(texts))
        self.short = int((self.totals == 0).sum())
        runs = Runs(grams, rule.ngram)
        self.sampled: Array = _distinct(runs.sampled()[0])
        enough = at[self._enough(owners)]
        openings, hashes = (found[enough] for found in runs.all())
        self._first: Array = _distinct(hashes)
        # A look at the opening, and one at the hash, leave few runs to be searched for.
        self._openings = Marks(openings)
        self._hashes = Marks((self._first >> np.uint64(32)).astype(np.uint32))

    def _enough(self, owners: Array) -> Array:
        """Numbers of runs of which a record that has `share` of a text's has at least one.

        That is all but so many of each text.
        """
        spared = np.maximum(self.totals * self.rule.share - 1e-6, 0).astype(np.int64)
        return np.flatnonzero(_first_of_each(owners, self.totals - spared))

    def find(self, grams: Grams, runs: Runs) -> dict[int, tuple[int, float]]:
        """{record: (protected text, share)} for the contaminated records, the largest share each.

        Args:
            grams: the records' letters; runs: their runs of the rule's length.
        """
        suspects = self._suspects(runs)
        if not len(suspects):
            return {}
        wanted, counts = grams.of(suspects).hashes(self.rule.ngram)
        record = np.repeat(suspects, counts)
        wanted &= ~self._owner_bits
        first = np.searchsorted(self.runs, wanted, "left")
        many = np.searchsorted(self.runs, wanted | self._owner_bits, "right") - first
        record, wanted = np.repeat(record, many), np.repeat(wanted, many)
        within = np.arange(len(record)) - np.repeat(np.cumsum(many) - many, many)
        owner = self.runs[np.repeat(first, many) + within] & self._owner_bits
        both = np.unique(np.stack((record.astype(np.uint64), owner, wanted)), axis=1)
        pairs, common = np.unique(both[:2].astype(np.int64), axis=1, return_counts=True)
        found: dict[int, tuple[int, float]] = {}
        shares = common / self.totals[pairs[1]]
        for at in np.flatnonzero(shares >= self.rule.share).tolist():
            hit, text, share = int(pairs[0, at]), int(pairs[1, at]), float(shares[at])
            if share > found.get(hit, (0, 0.0))[1]:
                found[hit] = (text, share)
        return found

    def _suspects(self, runs: Runs) -> Array:
        """The records that may hold enough of a text."""
        records, hashes = runs.marked(self._openings, self._hashes)
        at = np.minimum(np.searchsorted(self._first, hashes), max(len(self._first) - 1, 0))
        return np.unique(records[self._first[at] == hashes] if len(self._first) else records[:0])


def _distinct(numbers: Array) -> Array:
    """Numbers in ascending order, each once; numpy.unique takes ten times as long for so many."""
    ordered = np.sort(numbers)
    return ordered[np.concatenate(([True], ordered[1:] != ordered[:-1]))[: len(ordered)]]
