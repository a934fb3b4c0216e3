"""The usable records as columns in memory; samples and shingles on disk, read by record."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np

from butler.corpus.ngrams import Array
from butler.corpus.worker import Outcome

_PIECE = 1 << 22  # bytes of samples put together before they are written
# The column that tells how long each record's part of a spool is, and the bytes of a unit.
_SIZES = {
    "samples": ("sizes", 1),
    "shingles": ("shingle_counts", 4),
    "taken_out": ("taken_out_sizes", 1),
}


class Table:
    """Collects outcomes block by block; after `finish` its records can be chosen among.

    `columns` are those of worker.Outcome, `files` numbers the file of each record. `read` counts
    the entries of each file; `rejected` holds (file, line, reason, detail, name).
    """

    def __init__(self, folder: Path) -> None:
        self.names: list[str] = []
        self.read: dict[int, int] = {}
        self.rejected: list[tuple[int, int, str, str, str | None]] = []
        self.contaminated: dict[int, tuple[int, float]] = {}
        self.columns: dict[str, Array] = {}
        self.files: Array = np.empty(0, np.int32)
        self._parts: dict[str, list[Array]] = {}
        self._runs: list[Array] = []
        self._begins: dict[str, Array] = {}
        self._open = ExitStack()
        self._spools: dict[str, IO[bytes]] = {
            kind: self._open.enter_context((folder / kind).open("w+b")) for kind in _SIZES
        }

    def __enter__(self) -> "Table":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._open.close()

    def __len__(self) -> int:
        return len(self.files)

    def add(self, outcome: Outcome) -> None:
        """Take in a block's outcome; they come in the order of the input."""
        file = outcome.block.file
        self.read[file] = self.read.get(file, 0) + outcome.entries
        self.rejected += [(file, *rejection) for rejection in outcome.rejected]
        begin = len(self.names)
        self.contaminated |= {begin + row: why for row, why in outcome.contaminated.items()}
        self.names += outcome.names
        for name, values in outcome.columns.items():
            self._parts.setdefault(name, []).append(values)
        files = np.full(len(outcome.names), file, np.int32)
        self._parts.setdefault("files", []).append(files)
        self._spools["samples"].write(outcome.samples)
        self._spools["taken_out"].write(outcome.taken_out)
        if outcome.shingles is not None:
            self._spools["shingles"].write(outcome.shingles)
        if outcome.runs is not None:
            self._runs.append(outcome.runs)

    def finish(self) -> None:
        """Make columns of the parts."""
        for name in list(self._parts):
            self.columns[name] = np.concatenate(self._parts.pop(name))
        self.files = self.columns.pop("files", self.files)
        for kind, (sizes, unit) in _SIZES.items():
            if sizes in self.columns:
                ends = np.cumsum(self.columns[sizes], dtype=np.int64) * unit
                self._begins[kind] = ends - self.columns[sizes].astype(np.int64) * unit
            self._spools[kind].flush()

    def samples(self, records: Array) -> Iterator[bytes]:
        """The finished samples of records, each a line of JSON."""
        return self._read("samples", records)

    def taken_out(self, records: Array) -> Iterator[str]:
        """What was taken out of records, clauses one a line."""
        return (text.decode("utf-8", "surrogatepass") for text in self._read("taken_out", records))

    def _read(self, kind: str, records: Array) -> Iterator[bytes]:
        handle = self._spools[kind].fileno()
        begins, sizes = self._begins[kind][records], self.columns[_SIZES[kind][0]][records]
        for begin, size in zip(begins.tolist(), sizes.tolist(), strict=True):
            yield os.pread(handle, size, begin)

    def write(self, records: Array, target: Path) -> None:
        """Write the samples of records to a file, in this order."""
        with target.open("wb", _PIECE) as stream:
            stream.writelines(self.samples(records))

    def shingles(self, record: int) -> Array:
        """The sorted shingles of a record, as uint32."""
        begin = int(self._begins["shingles"][record])
        size = int(self.columns["shingle_counts"][record]) * 4
        return np.frombuffer(os.pread(self._spools["shingles"].fileno(), size, begin), np.uint32)

    def holding(self, runs: Array) -> Array:
        """Whether each record kept one of these runs (uint32, ascending), as bool [records]."""
        ends = np.cumsum(self.columns["run_counts"])
        holding = np.zeros(len(self), bool)
        begin = 0
        for part in self._runs:
            hits = np.flatnonzero(np.isin(part, runs)) + begin
            holding[np.searchsorted(ends, hits, "right")] = True
            begin += len(part)
        return holding
