"""Which usable records stay, and on which side: duplicates out, split by dish.

Nothing here depends on the order of the input: every choice is made by content and seed.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from butler.corpus.near import NearRule, drop_near
from butler.corpus.ngrams import Array, Grams, letters_of, mixed
from butler.corpus.protected import OverlapRule, Protected
from butler.corpus.samples import body, question_of, stable_hash
from butler.corpus.table import Table

REASONS = ("", "duplicate", "near_duplicate", "not_sampled", "contaminated")
_EXAMPLES = 5
_TOGETHER = 1000  # records measured at a time


def drawn(numbers: Array, seed: int, purpose: str) -> Array:
    """A number for each (uint64), drawn by seed and purpose."""
    return mixed(numbers ^ np.uint64(stable_hash(seed, purpose)))


def in_order(table: Table, records: Array, seed: int, purpose: str) -> Array:
    """The records in an order drawn by seed and content."""
    keys = table.columns["contents"][records]
    return records[np.lexsort((keys[:, 1], keys[:, 0], drawn(keys[:, 0], seed, purpose)))]


class Drops:
    """Why each usable record goes: `reason` numbers REASONS, 0 for one that stays.

    `instead` is the record kept in its place (-1 for none); `details` says what no number can;
    `doubt` is the mean share in doubt of all that a sample was drawn from and of the sample.
    """

    def __init__(self, records: int) -> None:
        self.reason: Array = np.zeros(records, np.uint8)
        self.instead: Array = np.full(records, -1, np.int64)
        self.details: dict[int, str] = {}
        self.sample = 0
        self.doubt: dict[str, float] = {}
        self._held: dict[str, Counter[str]] = {"benchmark": Counter(), "test": Counter()}

    def drop(self, records: Any, reason: str, instead: Any = -1) -> None:
        """Take these records out."""
        self.reason[records] = REASONS.index(reason)
        self.instead[records] = instead

    def contaminated(self, record: int, kind: str, name: str, share: float) -> None:
        """Take out a record that holds a protected text, of the benchmark or the test side."""
        self.drop(record, "contaminated")
        what = "question" if kind == "benchmark" else "the test record"
        self.details[record] = f"holds {share:.0%} of {what} {name}"
        self._held[kind][name] += 1

    def staying(self, records: Array) -> Array:
        """Those of the records that were not taken out."""
        return records[self.reason[records] == 0]

    def removed(self, reason: str) -> dict[str, int]:
        """How many records went for a better one, and in how many groups."""
        gone = self.reason == REASONS.index(reason)
        return {"groups": len(np.unique(self.instead[gone])), "removed": int(gone.sum())}

    def contamination(self) -> dict[str, Any]:
        """Records taken out, and the protected texts that most of them held, by kind."""
        return {
            kind: {
                "records": sum(counts.values()),
                "texts": len(counts),
                "examples": dict(
                    sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_EXAMPLES]
                ),
            }
            for kind, counts in self._held.items()
        }


def best_first(table: Table, records: Array) -> Array:
    """The records, the better one first: dish named, longer answer, shorter name, then a hash."""
    columns = table.columns
    keys = (
        *(table.columns["lines"], table.files, columns["ties"], columns["contents"][:, 0]),
        *(columns["name_sizes"], -columns["characters"], ~columns["named"]),
    )
    return records[np.lexsort([key[records] for key in keys])]


def drop_exact(table: Table, drops: Drops) -> Array:
    """Keep the best record of each content."""
    ranked = best_first(table, np.arange(len(table)))
    contents = table.columns["contents"][ranked]
    order = np.lexsort((contents[:, 1], contents[:, 0]))  # stable: the best of equals comes first
    same = (contents[order][1:] == contents[order][:-1]).all(axis=1)
    first = np.maximum.accumulate(np.where(np.append(False, same), 0, np.arange(len(order))))
    gone = np.flatnonzero(np.append(False, same))
    drops.drop(ranked[order[gone]], "duplicate", ranked[order[first[gone]]])
    return drops.staying(np.arange(len(table)))


def drop_like(table: Table, kept: Array, rule: NearRule, drops: Drops) -> Array:
    """Keep the best of records that are like each other."""
    gone = drop_near(
        table.columns["bands"],
        table.columns["shingle_counts"],
        best_first(table, kept),
        table.shingles,
        rule,
    )
    records = np.fromiter(gone, np.int64, len(gone))
    drops.drop(records, "near_duplicate", np.fromiter(gone.values(), np.int64, len(gone)))
    return drops.staying(kept)


def drop_benchmark(table: Table, kept: Array, names: Sequence[str], drops: Drops) -> Array:
    """Take out records that hold questions of a benchmark."""
    for record, (question, share) in table.contaminated.items():
        if not drops.reason[record]:
            drops.contaminated(record, "benchmark", names[question], share)
    return drops.staying(kept)


@dataclass(frozen=True)
class Split:
    """Records of both sides in the order that they are written in, and the dish of each record."""

    train: Array
    test: Array
    dishes: Array

    def dish_counts(self) -> dict[str, int]:
        """How many dishes are on each side."""
        sides = {"train": self.train, "test": self.test}
        return {side: len(np.unique(self.dishes[records])) for side, records in sides.items()}


def dish_of_each(keys: Array) -> Array:
    """A number of each record's dish; records that share a key, also through others, share it.

    Args:
        keys: of name and dish, uint64 [records, 2], 0 for none.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    distinct, places = np.unique(keys, return_inverse=True)
    places = places.reshape(-1, 2)
    both = keys[:, 1] != 0
    edges = places[both, 0], places[both, 1]
    size = len(distinct)
    graph = coo_array((np.ones(len(edges[0]), bool), edges), (size, size))
    of_key: Array = connected_components(graph, directed=False)[1]
    return of_key[places[:, 0]]


def split_by_dish(table: Table, kept: Array, test_size: int, seed: int) -> Split:
    """Give whole dishes, in an order drawn by seed, to the test side until it has `test_size`.

    A dish with more records than there is room for goes to train, so the test side has exactly
    `test_size` records wherever single-record dishes are left.
    """
    keys = table.columns["keys"][kept]
    own = dish_of_each(keys)
    sizes = np.bincount(own)
    # A dish is known by its smallest key, whatever order its records came in.
    lowest = np.full(len(sizes), np.iinfo(np.uint64).max, np.uint64)
    for column in keys.T:
        np.minimum.at(lowest, own[column != 0], column[column != 0])
    chosen = np.zeros(len(sizes), bool)
    room = test_size
    for dish in np.lexsort((lowest, drawn(lowest, seed, "split"))).tolist():
        if room == 0:
            break
        if sizes[dish] and sizes[dish] <= room:
            chosen[dish] = True
            room -= int(sizes[dish])
    held_out = chosen[own]
    of_all = np.full(len(table), -1, np.int64)
    of_all[kept] = own
    train, test = (
        in_order(table, side, seed, "order") for side in (kept[~held_out], kept[held_out])
    )
    return Split(train, test, of_all)


def drop_test_records(
    table: Table, split: Split, rule: OverlapRule, recipes: bool, drops: Drops
) -> Split:
    """Take out training records that hold one of the test side.

    First those that have a kept run in common with the test side are found, as any has that holds
    some letters of a text in one piece (ngrams.sampled); then these are measured by all runs.
    """
    tested = list(table.samples(split.test))
    protected = Protected([body(line, recipes) for line in tested], rule)
    suspects = split.train[table.holding(protected.sampled)[split.train]]
    for begin in range(0, len(suspects), _TOGETHER):
        some = suspects[begin : begin + _TOGETHER]
        letters = letters_of([body(line, recipes) for line in table.samples(some)])
        found = protected.find(*Grams.of_letters(letters).hashes(rule.ngram))
        for place, (text, share) in found.items():
            drops.contaminated(int(some[place]), "test", question_of(tested[text]), share)
    return Split(drops.staying(split.train), split.test, split.dishes)
