"""Which records stay, and on which side: duplicates out, sample, split by dish.

Nothing here depends on the order of the input: every choice is made by content and seed.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from heapq import heapify, heappop
from itertools import accumulate
from typing import Any

import numpy as np

from butler.corpus.worker import Outcome

Array = np.ndarray[Any, Any]


@dataclass
class Table:
    """The usable records as columns, in the order of the input.

    `files` and `lines` say where a record stood, `spools`, `offsets` and `sizes` where its sample
    is; `contents` is the content key as uint64 [records, 2]; `keys` numbers the keys of name and
    dish (-1 for none) in `key_names`. `columns` holds further arrays by name (worker.py).
    """

    files: Array
    lines: Array
    spools: Array
    contents: Array
    keys: Array
    key_names: list[str]
    columns: dict[str, Array]

    def __len__(self) -> int:
        return len(self.files)

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
    _ids: dict[str, int] = field(default_factory=dict)
    _keys: list[Array] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Take in a chunk's outcome; they come in the order of the input."""
        file = outcome.chunk.file
        before = self.read.get(file, 0)
        if not outcome.chunk.first and not outcome.chunk.numbers:
            outcome.rejected = [(line + before, *rest) for line, *rest in outcome.rejected]
            if outcome.arrays:
                outcome.arrays["lines"] += before
        self.read[file] = before + outcome.entries
        if outcome.arrays:
            ids = self._ids
            keys = outcome.keys.decode().split("\n")
            numbers = [ids.setdefault(key, len(ids)) if key else -1 for key in keys]
            self._keys.append(np.array(numbers, np.int32).reshape(-1, 2))
            outcome.keys = b""
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
            np.concatenate(self._keys) if self._keys else np.empty((0, 2), np.int32),
            list(self._ids),
            joined,
        )


class Texts:
    """One kind of text ("names" or "dishes") of usable records, by record."""

    def __init__(self, gatherer: Gatherer, kind: str) -> None:
        full = [outcome for outcome in gatherer.outcomes if outcome.contents]
        self._blobs: list[bytes] = [getattr(outcome, kind) for outcome in full]
        self._ends = list(accumulate(len(outcome.contents) // 16 for outcome in full))
        self._open: tuple[int, list[str]] = (-1, [])

    def text(self, record: int) -> str:
        """The text of one record."""
        blob = bisect_right(self._ends, record)
        if self._open[0] != blob:
            self._open = blob, self._blobs[blob].decode().split("\n")
        texts = self._open[1]
        return texts[record - self._ends[blob] + len(texts)]


def drop_duplicates(table: Table, tie: Callable[[int], int]) -> tuple[Array, Array]:
    """For each record the one that stays of its content (itself, if it is), and its group's size.

    `tie` gives a number of a record by its sample; it decides between equals only. The table must
    not be empty.
    """
    best, sizes = np.arange(len(table)), np.ones(len(table), np.int64)
    alike = np.unique(_neighbours(np.argsort(table.contents[:, 0]), table.contents[:, :1]))
    if not len(alike):
        return best, sizes
    ties = np.zeros(len(table), np.uint64)
    rank = np.stack(table.rank_columns(), axis=1)
    order = _by_content(table, alike, ties)
    tied = np.unique(_neighbours(order, table.contents, rank))
    if len(tied):
        ties[tied] = [tie(record) for record in tied.tolist()]
        order = _by_content(table, alike, ties)
    new = np.concatenate(([True], ~_same(order, table.contents)))
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


def _same(order: Array, values: Array) -> Array:
    return np.all(values[order[1:]] == values[order[:-1]], axis=1)


def _neighbours(order: Array, *values: Array) -> Array:
    """The records that have the same values as one beside them in this order."""
    same = np.logical_and.reduce([_same(order, some) for some in values])
    return np.concatenate((order[1:][same], order[:-1][same]))


def ranked(table: Table, records: Array) -> Array:
    """The records, best first; between equals the smaller content key."""
    chosen = [column[records] for column in table.rank_columns()]
    content = table.contents[records]
    return records[np.lexsort((content[:, 1], content[:, 0], *chosen))]


def drawn_numbers(seed: int, purpose: str, contents: bytes) -> Array:
    """A number for each content key (16 bytes each), drawn by seed and purpose, as uint64."""
    start = blake2b(f"{seed}\x1f{purpose}\x1f".encode(), digest_size=8)
    text = contents.hex().encode()
    digests = []
    for at in range(0, len(text), 32):
        digests.append(_digest(start, text[at : at + 32]))
    return np.frombuffer(b"".join(digests), ">u8").astype(np.uint64)


def _digest(start: blake2b, rest: bytes) -> bytes:
    """The hash of what `start` has taken in and `rest`, as stable_hash() has it."""
    hashed = start.copy()
    hashed.update(rest)
    return hashed.digest()


Shuffle = Callable[[Array], Array]


@dataclass(frozen=True)
class Split:
    """Both sides as record numbers; `dishes` numbers the dish of each record of the table."""

    train: Array
    test: Array
    dishes: Array

    def dish_counts(self) -> dict[str, int]:
        """How many dishes are on each side."""
        sides = {"train": self.train, "test": self.test}
        return {side: len(np.unique(self.dishes[records])) for side, records in sides.items()}


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


def dish_groups(keys: Array, key_names: Sequence[str]) -> tuple[Array, dict[int, str]]:
    """The dish of each record, and the name of each dish: the smallest key of its group.

    Args:
        keys: numbers of the keys of name and dish [records, 2], -1 for none.
    """
    both = keys[:, 1] >= 0
    groups = _components(keys[both, 0], keys[both, 1], len(key_names))
    names: dict[int, str] = {}
    used = np.flatnonzero(np.bincount(keys[keys >= 0]))
    for key, group in zip(used.tolist(), groups[used].tolist(), strict=True):
        name = key_names[key]
        if group not in names or name < names[group]:
            names[group] = name
    return groups[keys[:, 0]], names


def split_by_dish(
    table: Table, records: Array, test_size: int, seed: int, shuffle: Shuffle
) -> Split:
    """Give whole dishes, in an order drawn by seed, to the test side until it has `test_size`.

    A dish with more records than there is room for goes to train, so the test side has exactly
    `test_size` records wherever single-record dishes are left.
    """
    dishes, names = dish_groups(table.keys[records], table.key_names)
    counts = np.bincount(dishes)
    present = np.flatnonzero(counts)
    sizes = dict(zip(present.tolist(), counts[present].tolist(), strict=True))
    chosen: list[int] = []
    room = test_size
    if room:
        start = blake2b(f"{seed}\x1fsplit\x1f".encode(), digest_size=8)
        drawn = [(_digest(start, names[dish].encode()), names[dish], dish) for dish in sizes]
        heapify(drawn)  # few of them are wanted
        while drawn and room:
            _, _, dish = heappop(drawn)
            if sizes[dish] <= room:
                chosen.append(dish)
                room -= sizes[dish]
    held_out = np.isin(dishes, chosen)
    of_all = np.full(len(table), -1, np.int32)
    of_all[records] = dishes
    return Split(shuffle(records[~held_out]), shuffle(records[held_out]), of_all)
