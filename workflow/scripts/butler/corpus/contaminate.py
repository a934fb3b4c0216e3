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
from butler.corpus.folding import Grams, Letters
from butler.corpus.gates import Lines

Array = np.ndarray[Any, Any]
_FILTER = 24  # bits of a hash that a look goes by
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
        folded = Letters(Lines(joined + "\n")).lines() if texts else []
        hashes, counts = Grams(folded).hashes(rule.ngram)
        owner = np.repeat(np.arange(len(folded), dtype=np.int64), counts)
        order = np.argsort(hashes, kind="stable")  # the owners of a run stay in order
        hashes, owner = hashes[order], owner[order]
        new = np.ones(len(hashes), bool)
        new[1:] = (hashes[1:] != hashes[:-1]) | (owner[1:] != owner[:-1])
        self.hashes: Array = hashes[new]
        self.owners: Array = owner[new]
        self.totals: Array = np.bincount(self.owners, minlength=len(folded))
        self.short = int((self.totals == 0).sum())
        # Two looks by different bits of the hash leave few runs to be searched for.
        self._seen = np.zeros((2, 1 << _FILTER), bool)
        for look in range(2):
            self._seen[look, _bits(self.hashes, look)] = True

    def find(self, hashes: Array, counts: Array) -> dict[int, tuple[int, float]]:
        """{record: (protected text, share)} for the contaminated records, the largest share each.

        Args:
            hashes: those of the records' runs, one record after another; counts: of each.
        """
        places = np.flatnonzero(np.take(self._seen[0], _bits(hashes, 0)))
        places = places[self._seen[1][_bits(hashes[places], 1)]]
        if not len(places):
            return {}
        wanted = hashes[places]
        first = np.searchsorted(self.hashes, wanted, "left")
        many = np.searchsorted(self.hashes, wanted, "right") - first
        record = np.searchsorted(np.cumsum(counts), places, "right")
        record, wanted = np.repeat(record, many), np.repeat(wanted, many)
        within = np.arange(len(record)) - np.repeat(np.cumsum(many) - many, many)
        owner = self.owners[np.repeat(first, many) + within]
        both = np.unique(
            np.stack((record.astype(np.uint64), owner.astype(np.uint64), wanted)), axis=1
        )
        pairs, common = np.unique(both[:2].astype(np.int64), axis=1, return_counts=True)
        found: dict[int, tuple[int, float]] = {}
        shares = common / self.totals[pairs[1]]
        for at in np.flatnonzero(shares >= self.rule.share).tolist():
            hit, text, share = int(pairs[0, at]), int(pairs[1, at]), float(shares[at])
            if share > found.get(hit, (0, 0.0))[1]:
                found[hit] = (text, share)
        return found


def _bits(hashes: Array, look: int) -> Array:
    shifted = hashes >> np.uint64(_FILTER * look) if look else hashes
    return (shifted & np.uint64((1 << _FILTER) - 1)).view(np.int64)


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
        for row in read_rows(path, ("question",)):
            parts = [row.get(key, "") for key in ("question", "A", "B", "C", "D")]
            texts.append("\n".join(parts))
            names.append(f"{path.stem} {row.get('id', len(texts))}")
    return texts, names
