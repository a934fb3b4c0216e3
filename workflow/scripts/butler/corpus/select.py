"""Which records stay, and on which side: duplicates out, sample, split by dish.

Nothing here depends on the order of the input: every choice is made by content and seed.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import accumulate
from typing import Any

import numpy as np

from butler.corpus.dish import dish_key
from butler.corpus.draw import drawn_for, in_order
from butler.corpus.worker import Outcome, share_of

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Places:
    """Where samples lie: the worker that spooled each, the share, and its bytes in this spool."""

    spools: Array
    shares: Array
    offsets: Array
    sizes: Array

    def of(self, some: Any) -> "Places":
        """Those of some of the samples."""
        return Places(*(column[some] for column in vars(self).values()))


@dataclass
class Table:
    """The usable records as columns, in the order of the input.

    `files` and `lines` say where a record stood, `spools`, `offsets` and `sizes` where its sample
    is; `contents` is the content key as uint64 [records, 2]. `columns` holds further arrays by name
    (worker.py), `key_numbers` one of them.
    """

    files: Array
    lines: Array
    spools: Array
    contents: Array
    key_numbers: Array
    columns: dict[str, Array]

    def __len__(self) -> int:
        return len(self.files)

    def places(self, records: Array) -> Places:
        """Where the samples of records lie."""
        columns = self.columns
        shares = share_of(columns["drawn"][records])
        own = columns["offsets"][records], columns["sizes"][records]
        return Places(self.spools[records], shares, *own)

    def rank_columns(self) -> tuple[Array, ...]:
        """What makes a record the better one, for numpy.lexsort: the last counts first.

        Better is a record whose dish the corpus names, then the longer answer, then the shorter
        name.
        """
        columns = self.columns
        return columns["name_sizes"], -columns["characters"], ~columns["named"]


@dataclass
class Gatherer:
    """Collects outcomes chunk by chunk and makes the table of them."""

    outcomes: list[Outcome] = field(default_factory=list)
    read: dict[int, int] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        """Take in a chunk's outcome; they come in the order of the input."""
        file = outcome.chunk.file
        before = self.read.get(file, 0)
        if not outcome.chunk.first and not outcome.chunk.numbers:
            outcome.rejected = [(line + before, *rest) for line, *rest in outcome.rejected]
            if outcome.arrays:
                outcome.arrays["lines"] += before
        self.read[file] = before + outcome.entries
        self.outcomes.append(outcome)

    def table(self) -> Table:
        """The table of all usable records; the outcomes give up their arrays."""
        full = [outcome for outcome in self.outcomes if outcome.arrays]
        counts = [len(outcome.arrays["lines"]) for outcome in full]
        names = list(full[0].arrays) if full else []
        joined = {name: np.concatenate([o.arrays.pop(name) for o in full]) for name in names}
        contents = np.frombuffer(b"".join(o.contents for o in full), ">u8").astype(np.uint64)
        return Table(
            np.repeat([o.chunk.file for o in full], counts).astype(np.int32),
            joined.pop("lines", np.empty(0, np.int64)),
            np.repeat([o.spool for o in full], counts),
            contents.reshape(-1, 2),
            joined.pop("key_numbers", np.empty((0, 2), np.uint64)),
            joined,
        )


class Texts:
    """One kind of text ("names" or "dishes") of usable records, by record."""

    def __init__(self, gatherer: Gatherer, kind: str) -> None:
        full = [outcome for outcome in gatherer.outcomes if outcome.contents]
        self._blobs: list[bytes] = [getattr(outcome, kind) for outcome in full]
        sizes = [len(outcome.contents) // 16 for outcome in full]
        self._begins = [0, *accumulate(sizes)]
        self._open: tuple[int, list[str]] = (-1, [])

    def text(self, record: int) -> str:
        """The text of one record."""
        blob = bisect_right(self._begins, record) - 1
        return self._lines(blob)[record - self._begins[blob]]

    def texts(self, records: Array) -> list[str]:
        """The texts of records; best in ascending order, as one chunk's are held at a time."""
        begins = np.array(self._begins)
        blobs = np.searchsorted(begins, records, "right") - 1
        within = (records - begins[blobs]).tolist()
        return [self._lines(blob)[line] for blob, line in zip(blobs.tolist(), within, strict=True)]

    def _lines(self, blob: int) -> list[str]:
        if self._open[0] != blob:
            self._open = blob, self._blobs[blob].decode().split("\0")
        return self._open[1]


def drop_duplicates(table: Table, ties: Callable[[Array, Array], Array]) -> tuple[Array, Array]:
    """For each record the one that stays of its content (itself, if it is), and its group's size.

    `ties` gives a number of each record by its sample, that decides between equals only. It is
    given records, equals side by side, and a number for each of them, the same for equals. The
    table must not be empty.
    """
    best, sizes = np.arange(len(table)), np.ones(len(table), np.int64)
    first, second = table.contents.T
    order = np.argsort(first)
    same = _same(order, first)
    alike = np.sort(order[_beside(same)])
    if not len(alike):
        return best, sizes
    numbers = np.zeros(len(table), np.uint64)
    order = _by_content(table, alike, numbers)
    same = _same(order, first, second)
    equal = same & _same(order, *table.rank_columns())
    if equal.any():
        tied = _beside(equal)
        groups = np.cumsum(np.concatenate(([True], ~equal)))
        numbers[order[tied]] = ties(order[tied], groups[tied])
        order = _by_content(table, alike, numbers)
    new = np.concatenate(([True], ~same))
    group = np.cumsum(new) - 1
    best[order] = order[np.flatnonzero(new)][group]
    sizes[order] = np.bincount(group)[group]
    return best, sizes


def _by_content(table: Table, records: Array, ties: Array) -> Array:
    """The records, those with the same content side by side, the best of them first."""
    keys = (
        *(table.lines, table.files, ties),
        *table.rank_columns(),
        *(table.contents[:, 1], table.contents[:, 0]),
    )
    return records[np.lexsort([key[records] for key in keys])]


def _same(order: Array, *columns: Array) -> Array:
    """Whether each record but the first has the same values as the one before it in this order."""
    ordered = (column[order] for column in columns)
    return np.logical_and.reduce([values[1:] == values[:-1] for values in ordered])


def _beside(same: Array) -> Array:
    """Whether each record of an order is the same as one beside it."""
    return np.concatenate((same, [False])) | np.concatenate(([False], same))


def ranked(table: Table, records: Array) -> Array:
    """The records, best first; between equals the smaller content key."""
    chosen = [column[records] for column in table.rank_columns()]
    content = table.contents[records]
    return records[np.lexsort((content[:, 1], content[:, 0], *chosen))]


@dataclass(frozen=True)
class Split:
    """Both sides as record numbers; `dishes` numbers the dish of each record of the table."""

    train: Array
    test: Array
    dishes: Array

    def dish_counts(self) -> dict[str, int]:
        """How many dishes are on each side."""
        sides = {"train": self.train, "test": self.test}
        dishes = {side: np.bincount(self.dishes[records]) for side, records in sides.items()}
        return {side: int(np.count_nonzero(counts)) for side, counts in dishes.items()}


def _components(first: Array, second: Array, count: int) -> Array:
    """The smallest node that each of `count` nodes hangs together with, by edges first - second."""
    roots = np.arange(count)
    while len(first):
        ends = np.stack((roots[first], roots[second]))
        np.minimum.at(roots, ends.max(axis=0), ends.min(axis=0))
        while (roots[roots] != roots).any():
            roots = roots[roots]
        apart = roots[first] != roots[second]
        first, second = first[apart], second[apart]
    return roots


def dish_groups(keys: Array) -> tuple[Array, Array, Array]:
    """The dish of each record, and for each dish its smallest key and how many keys it has.

    Dishes are numbered in the order of their smallest keys.

    Args:
        keys: numbers of the keys of name and dish, uint64 [records, 2], 0 for none.
    """
    flat = keys.ravel()
    order = np.argsort(flat)
    ordered = flat[order]
    new = np.concatenate(([True], ordered[1:] != ordered[:-1]))
    places = np.empty(len(flat), np.int64)
    places[order] = np.cumsum(new) - 1
    distinct, nodes = ordered[new], places.reshape(-1, 2)
    both = keys[:, 1] != 0
    roots = _components(nodes[both, 0], nodes[both, 1], len(distinct))
    counts = np.bincount(roots)
    counts[roots[distinct == 0]] = 0  # that is no key
    present = np.flatnonzero(counts)
    numbers = np.cumsum(counts > 0) - 1
    return numbers[roots[nodes[:, 0]]], distinct[present], counts[present]


class Dishes:
    """The dishes of records, and the number that each dish drew: that of its smallest name.

    `of` numbers the dish of each record, in the order of `lowest`, the smallest number that a key
    of the dish drew. The dish's own is not below that, so that few names need be looked at.
    """

    def __init__(self, table: Table, records: Array, names: "Texts", dishes: "Texts") -> None:
        self._keys, self._records = table.key_numbers[records], records
        self._names, self._dishes = names, dishes
        self.of, self.lowest, self._counts = dish_groups(self._keys)

    def drawn(self, begin: int, end: int, seed: int) -> list[int]:
        """What the dishes `begin` to `end` drew."""
        drawn = self.lowest[begin:end].copy()
        several = np.zeros(len(self.lowest), bool)
        several[begin:end] = self._counts[begin:end] > 1
        names: dict[int, str] = {}
        places = np.flatnonzero(several[self.of])
        for dish, name in zip(self.of[places].tolist(), self._smaller_names(places), strict=True):
            names[dish] = min(name, names.get(dish, name))
        drawn[np.array(list(names), np.int64) - begin] = drawn_for(seed, "split", names.values())
        return drawn.tolist()

    def _smaller_names(self, places: Array) -> Iterator[str]:
        """The smaller key of name and dish of these records, in ascending order."""
        records = self._records[places]
        texts = zip(self._names.texts(records), self._dishes.texts(records), strict=True)
        for (name, dish), has_dish in zip(texts, self._keys[places, 1] != 0, strict=True):
            key = dish_key(name)
            yield min(key, dish_key(dish)) if has_dish else key


def _held_out(dishes: Dishes, test_size: int, seed: int) -> list[int]:
    """The dishes of the test side: in the order drawn, each that there is still room for."""
    sizes = np.bincount(dishes.of).tolist()
    lowest = [*dishes.lowest.tolist(), 1 << 64]
    chosen: list[int] = []
    waiting: list[tuple[int, int]] = []
    begin, step = 0, 1024
    while begin < len(sizes) and test_size:
        end = min(begin + step, len(sizes))
        for entry in zip(dishes.drawn(begin, end, seed), range(begin, end), strict=True):
            heappush(waiting, entry)
        while waiting and test_size and waiting[0][0] < lowest[end]:
            _, dish = heappop(waiting)
            if sizes[dish] <= test_size:
                chosen.append(dish)
                test_size -= sizes[dish]
        begin, step = end, 2 * step
    return chosen


def split_by_dish(table: Table, dishes: Dishes, records: Array, test_size: int, seed: int) -> Split:
    """Give whole dishes, in an order drawn by seed, to the test side until it has `test_size`.

    A dish with more records than there is room for goes to train, so the test side has exactly
    `test_size` records wherever single-record dishes are left.
    """
    chosen = np.zeros(len(dishes.lowest), bool)
    chosen[_held_out(dishes, test_size, seed)] = True
    held_out = chosen[dishes.of]
    of_all = np.full(len(table), -1, np.int32)
    of_all[records] = dishes.of
    drawn = table.columns["drawn"]
    train, test = (
        in_order(side, drawn, table.contents) for side in (records[~held_out], records[held_out])
    )
    return Split(train, test, of_all)
