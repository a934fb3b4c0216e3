"""Texts that must not be trained on, and which training records hold them.

The measure: the share of a protected text's runs of `ngram` letters that stand in one training
record. A record with `share` of them or more is contaminated. A few idioms in common ("锅中倒油烧热
放入葱姜蒜") are a small share of a text and throw nothing out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from butler.ceval import read_rows
from butler.corpus.folding import Letters
from butler.corpus.gates import Lines

Array = np.ndarray[Any, Any]
_FILTER = 23  # bits of a hash that a look goes by
SAMPLED = 15  # a run with these bits of its hash unset is among those that are kept for later


@dataclass(frozen=True)
class OverlapRule:
    """Letters in a run, and the share of a protected text's runs from which a record goes."""

    ngram: int
    share: float


class Protected:
    """Protected texts, ready to be looked for; `short` counts those with too few letters for it."""

    def __init__(self, texts: Sequence[str], rule: OverlapRule) -> None:
        self.rule = rule
        # What a line feed parts, a space does too.
        joined = "\n".join(text.replace("\n", " ") for text in texts)
        hashes, counts = Letters(Lines(joined + "\n")).grams().hashes(rule.ngram)
        owner = np.repeat(np.arange(len(counts), dtype=np.uint64), counts)
        self.sampled: Array = _distinct(np.sort(sampled(hashes, counts)[0]))
        # The last bits of a run's hash give way to its owner's number.
        self._owner_bits = np.uint64((1 << len(texts).bit_length()) - 1)
        runs = np.sort(hashes & ~self._owner_bits | owner)
        self.runs: Array = _distinct(runs)
        owners = (self.runs & self._owner_bits).astype(np.int64)
        self.totals: Array = np.bincount(owners, minlength=len(texts))
        self.short = int((self.totals == 0).sum())
        self._first = self._enough(owners)
        # Two looks by different bits of the hash leave few runs to be searched for.
        self._seen = np.zeros((2, 1 << _FILTER - 3), np.uint8)
        for look in range(2):
            np.bitwise_or.at(self._seen[look], *_bits(self._first, look))

    def _enough(self, owners: Array) -> Array:
        """Runs of which a record has one if it has `share` of a text's: all but so many of each."""
        order = np.argsort(owners.astype(np.min_scalar_type(len(self.totals))), kind="stable")
        starts = np.cumsum(self.totals) - self.totals
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order)) - np.repeat(starts, self.totals)
        spared = np.maximum(self.totals * self.rule.share - 1e-6, 0).astype(np.int64)
        chosen = self.runs[rank < (self.totals - spared)[owners]]
        return _distinct(chosen & ~self._owner_bits)

    def find(self, hashes: Array, counts: Array) -> dict[int, tuple[int, float]]:
        """{record: (protected text, share)} for the contaminated records, the largest share each.

        Args:
            hashes: those of the records' runs, one record after another; counts: of each.
        """
        record, wanted = self._suspects(hashes, counts)
        if not len(record):
            return {}
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

    def _marked(self, hashes: Array, look: int) -> Array:
        byte, bit = _bits(hashes, look)
        return self._seen[look].take(byte) & bit

    def _suspects(self, hashes: Array, counts: Array) -> tuple[Array, Array]:
        """The runs of records that may hold enough of a text: the record of each, and its hash."""
        places = np.flatnonzero(self._marked(hashes, 0))
        places = places[self._marked(hashes[places], 1) != 0]
        wanted = hashes[places] & ~self._owner_bits
        at = np.minimum(np.searchsorted(self._first, wanted), len(self._first) - 1)
        places = places[self._first[at] == wanted] if len(at) else places
        ends = np.cumsum(counts)
        records = np.unique(np.searchsorted(ends, places, "right"))
        own = [np.arange(ends[record] - counts[record], ends[record]) for record in records]
        runs = np.concatenate(own) if own else np.empty(0, np.int64)
        return np.repeat(records, counts[records]), hashes[runs]


def _distinct(numbers: Array) -> Array:
    """Sorted numbers, each once."""
    return numbers[np.concatenate(([True], numbers[1:] != numbers[:-1]))[: len(numbers)]]


def _bits(hashes: Array, look: int) -> tuple[Array, Array]:
    """Where a hash is marked: the byte (int64), and its bit there (uint8)."""
    # From the top, which every hash keeps.
    found = hashes >> np.uint64(64 - _FILTER * (look + 1)) & np.uint64((1 << _FILTER) - 1)
    bit = np.left_shift(np.uint8(1), found.astype(np.uint8) & np.uint8(7))
    return (found >> np.uint64(3)).view(np.int64), bit


def sampled(hashes: Array, counts: Array) -> tuple[Array, Array]:
    """One run in 16, by its hash (uint32), and how many each text has."""
    kept = np.flatnonzero((hashes & np.uint64(SAMPLED)) == 0)
    owner = np.searchsorted(np.cumsum(counts), kept, "right")
    runs = (hashes[kept] >> np.uint64(32)).astype(np.uint32)
    return runs, np.bincount(owner, minlength=len(counts))


def benchmark_questions(paths: Sequence[Path]) -> tuple[list[str], list[str]]:
    """The questions of C-Eval's files with their options, and where each stands ("law_val 3").

    Raises:
        ButlerError: if a file is no table, or has no column named question.
    """
    texts, names = [], []
    for path in paths:
        table = path.stem
        for row in read_rows(path, ("question",)):
            parts = [row.get(key, "") for key in ("question", "A", "B", "C", "D")]
            texts.append("\n".join(parts))
            names.append(f"{table} {row.get('id', len(texts))}")
    return texts, names
