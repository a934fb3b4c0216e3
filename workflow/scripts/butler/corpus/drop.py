"""Usable records that do not stay, each with its reason."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import orjson

from butler.corpus.contaminate import OverlapRule, Protected
from butler.corpus.folding import Letters
from butler.corpus.gates import Lines
from butler.corpus.near import NearRule, drop_near
from butler.corpus.ngrams import Runs
from butler.corpus.processes import Spools
from butler.corpus.sample import INGREDIENTS_HEADER, STEPS_HEADER, stable_hash
from butler.corpus.select import Gatherer, Split, Table, Texts, drop_duplicates, ranked

Array = np.ndarray[Any, Any]
REASONS = ("", "duplicate", "near_duplicate", "not_sampled", "contaminated")
_EXAMPLES = 5
_TOGETHER = 1000  # records measured at a time


class Drops:
    """Why each usable record goes: `reason` numbers REASONS, 0 for one that stays.

    `instead` is the record kept in its place (-1 for none); `details` says what no number can.
    """

    def __init__(self, records: int) -> None:
        self.reason: Array = np.zeros(records, np.uint8)
        self.instead: Array = np.full(records, -1, np.int64)
        self.details: dict[int, str] = {}
        self.sample = 0
        self._held: dict[str, Counter[str]] = {"benchmark": Counter(), "test": Counter()}

    def drop(self, records: Any, reason: str, instead: Any = -1) -> None:
        """Take these records out."""
        self.reason[records] = REASONS.index(reason)
        self.instead[records] = instead

    def benchmark(
        self, gatherer: Gatherer, table: Table, kept: Array, names: Sequence[str]
    ) -> Array:
        """Take out records that hold questions of the benchmark; return those that stay."""
        staying = np.zeros(len(table), bool)
        staying[kept] = True
        begin = 0
        for outcome in gatherer.outcomes:
            for row, (question, share) in outcome.contaminated.items():
                record = begin + row
                if staying[record]:
                    staying[record] = False
                    self._contaminated(record, "benchmark", names[question], share)
            begin += len(outcome.contents) // 16
        return kept[staying[kept]]

    def _contaminated(self, record: int, kind: str, name: str, share: float) -> None:
        self.drop(record, "contaminated")
        what = "question" if kind == "benchmark" else "the test record"
        self.details[record] = f"holds {share:.0%} of {what} {name}"
        self._held[kind][name] += 1

    def test(self, record: int, name: str, share: float) -> None:
        """Take out a record that holds one of the test side."""
        self._contaminated(record, "test", name, share)

    def contamination_counts(self) -> dict[str, Any]:
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


def drop_exact(
    gatherer: Gatherer, table: Table, spools: Spools, drops: Drops
) -> tuple[Array, dict[str, int]]:
    """Keep the best record of each content; return the kept ones and the counts."""
    dishes = Texts(gatherer, "dishes")

    def ties(records: Array, groups: Array) -> Array:
        # In the drawn order equals stay side by side, and few spools are open at a time.
        order = np.argsort(table.columns["drawn"][records], kind="stable")
        numbers = np.empty(len(records), np.uint64)
        numbers[order] = _ties(records[order], groups[order], dishes, spools)
        return numbers

    best, sizes = drop_duplicates(table, ties)
    here = np.arange(len(table))
    gone = np.flatnonzero(best != here)
    drops.drop(gone, "duplicate", best[gone])
    kept = np.flatnonzero(best == here)
    groups = int((sizes[kept] > 1).sum())
    return kept, {"groups": groups, "removed": len(gone)}


def _ties(records: Array, groups: Array, dishes: Texts, spools: Spools) -> Array:
    """A number of each record by its dish and sample; 0 in a group where all have the same.

    `groups` holds a number for each record, the same for those of one group, side by side.
    """
    found = np.zeros(len(records), np.uint64)
    texts = np.empty(len(records), object)
    order = np.argsort(records)
    texts[order] = dishes.texts(records[order])
    before: tuple[int, list[int], str, bytes] = (-1, [], "", b"")  # what a group begins with
    entries = zip(groups.tolist(), texts.tolist(), spools.samples(records), strict=True)
    for place, (group, dish, sample) in enumerate(entries):
        first, same, *text = before
        if group != first:
            before = group, [place], dish, sample
        elif text == [dish, sample]:
            same.append(place)
            found[place] = found[same[0]]
        else:
            found[place] = _tie(dish, sample)
            if not found[same[0]]:
                found[same] = _tie(*text)
    return found


def _tie(dish: str, sample: bytes) -> int:
    return stable_hash(dish, sample.hex())


def drop_like(
    table: Table, kept: Array, spools: Spools, rule: NearRule, drops: Drops
) -> tuple[Array, dict[str, int]]:
    """Keep the best of records that are like each other; return the kept ones and the counts."""
    gone = drop_near(
        table.columns["bands"],
        table.columns["shingles"],
        ranked(table, kept),
        lambda record: spools.numbers("shingles", record),
        rule,
    )
    records = np.fromiter(gone, np.int64, len(gone))
    instead = np.fromiter(gone.values(), np.int64, len(gone))
    drops.drop(records, "near_duplicate", instead)
    groups = len(np.unique(instead))
    return kept[drops.reason[kept] == 0], {"groups": groups, "removed": len(gone)}


def drop_unsampled(order: Array, size: int, drops: Drops) -> Array:
    """Keep the first `size` records of a drawn order."""
    drops.sample = size
    drops.drop(order[size:], "not_sampled")
    return np.sort(order[:size])


def body(sample: bytes) -> str:
    """What a finished sample is compared by, on one line.

    Of a recipe that is the answer without its headers, of a pair question and answer: that two
    questions have the answer in common, such as "In the fridge.", makes neither known.
    """
    turn = orjson.loads(sample)["conversation"][0]
    lines = turn["output"].split("\n")
    if lines[0] == INGREDIENTS_HEADER and STEPS_HEADER in lines:
        lines.remove(STEPS_HEADER)
        return " ".join(lines[1:])
    return " ".join((*turn["input"].split("\n"), *lines))


def drop_contaminated(
    table: Table, split: Split, spools: Spools, rule: OverlapRule, drops: Drops
) -> Split:
    """Take out training records that hold one of the test side.

    First those that have a kept run in common with the test side are found, as any has that holds
    eight runs of a text in one piece; then these are measured by all runs.
    """
    if not len(split.test) or not len(split.train):
        return split
    texts = [body(sample) for sample in spools.samples(split.test)]
    protected = Protected(texts, rule)
    train = np.zeros(len(table), bool)
    train[split.train] = True
    suspects = spools.holding(protected.sampled)
    suspects = suspects[train[suspects]]
    # In the drawn order few spools are open at a time.
    suspects = suspects[np.argsort(table.columns["drawn"][suspects])]
    for begin in range(0, len(suspects), _TOGETHER):
        some = suspects[begin : begin + _TOGETHER]
        joined = "\n".join(map(body, spools.samples(some)))
        grams = Letters(Lines(joined + "\n")).grams()
        for place, (text, share) in protected.find(grams, Runs(grams, rule.ngram)).items():
            (sample,) = spools.samples(split.test[text : text + 1])
            turn = orjson.loads(sample)["conversation"][0]
            drops.test(int(some[place]), turn["input"], share)
    return replace(split, train=split.train[drops.reason[split.train] == 0])
