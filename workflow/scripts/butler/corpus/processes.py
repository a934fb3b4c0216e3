"""Processes that share the chunks out, and the files that they leave."""

import gc
import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from butler.corpus import worker
from butler.corpus.draw import drawn_numbers
from butler.corpus.pieces import put_pieces
from butler.corpus.read import Chunk
from butler.corpus.sample import Conversations
from butler.corpus.select import Places, Table
from butler.corpus.worker import SAMPLES, SHARES, Job, Outcome, Worker, spool_path
from butler.errors import ButlerError
from butler.process import dies_with_us

Array = np.ndarray[Any, Any]
_AHEAD = 3  # chunks handed out per process: enough that none waits, few enough for memory
_WORTH_SHARING = 50_000  # records
_BLOCK = 1 << 17  # bytes put together at a time: few enough for the processor's cache
_PIECE = 1 << 20  # bytes of numbers read at a time
_HANDLES = 256  # files open at once


@contextmanager
def _held(sign: signal.Signals) -> Iterator[None]:
    """Keep a signal back: processes started meanwhile get it when they let it through.

    Before a new process has its own handler, one in Python may be ignored (`threading` ends a fork
    with what lets no exception out), and the process would live on.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {sign})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Processes:
    """Does the stage's work in this process, or in several.

    Raises:
        ButlerError: on leaving it, if one of its processes was killed.
    """

    def __init__(self, job: Job, count: int) -> None:
        self.job, self.count = job, count
        self._here = Worker(job) if count == 1 else None
        self._pool = None
        if count > 1:
            # Forked, so that what is protected is read once, and what is compiled.
            worker.compile_loops(job)
            own = (job, dies_with_us())
            self._pool = ProcessPoolExecutor(count, get_context("fork"), worker.start, own)

    def __enter__(self) -> "Processes":
        # Before the fork, for all: nothing here makes cycles, and chunks make many objects.
        gc.disable()
        if self._pool:
            with _held(signal.SIGTERM):
                self._pool.submit(int)  # which starts them all
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        gc.enable()
        if self._here:
            self._here.close()
        if self._pool:
            self._pool.shutdown(cancel_futures=True)
        if isinstance(error, BrokenProcessPool):
            raise ButlerError(
                "a process of the corpus stage was killed, as for want of memory; use fewer "
                "--processes"
            ) from None

    def outcomes(self, chunks: Iterable[Chunk]) -> Iterator[Outcome]:
        """What each chunk leaves, in the order of the chunks."""
        if self._here:
            yield from map(self._here.run, chunks)
            return
        assert self._pool
        waiting: deque[Future[Outcome]] = deque()
        for chunk in chunks:
            waiting.append(self._pool.submit(worker.work, chunk))
            if len(waiting) >= _AHEAD * self.count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def draw(self, table: Table, seed: int, purpose: str) -> Array:
        """A number for each record, drawn by seed and content, as uint64."""
        contents = table.contents.astype(">u8").tobytes()
        if not self._pool or len(table) <= _WORTH_SHARING:
            return drawn_numbers(seed, purpose, contents)
        step = -(-len(table) // self.count) * 16
        parts = [contents[at : at + step] for at in range(0, len(contents), step)]
        futures = [self._pool.submit(drawn_numbers, seed, purpose, part) for part in parts]
        return np.concatenate([future.result() for future in futures])

    @contextmanager
    def copying(self, table: Table, sides: Sequence[tuple[Array, Path]]) -> Iterator[None]:
        """Write the samples of each side's records to its file, beside what is done here.

        The records are in the drawn order. The spools of samples are emptied.
        """
        tasks: list[list[_Part]] = [[] for _ in SAMPLES]
        start = Conversations(self.job.style.settings.system).start
        for records, target in sides:
            places = table.places(records)
            begins = np.append(0, np.cumsum(places.sizes.astype(np.int64) + len(start)))
            with target.open("wb") as stream:
                stream.truncate(int(begins[-1]))
            bounds = np.searchsorted(places.shares, np.arange(SHARES + 1))
            for parts, first, last in zip(tasks, bounds[:-1], bounds[1:], strict=True):
                if last > first:
                    parts.append((target, int(begins[first]), places.of(slice(first, last))))
        futures = []
        for parts in filter(None, tasks):
            if self._pool and len(table) > _WORTH_SHARING:
                futures.append(self._pool.submit(_copy, self.job.folder, start, parts))
            else:
                _copy(self.job.folder, start, parts)
        yield
        for future in futures:
            future.result()


_Part = tuple[Path, int, Places]


def _copy(folder: Path, start: bytes, parts: Sequence[_Part]) -> None:
    """Write the samples of one share, after their start, to each target from a byte of it on.

    Then its spools are emptied: the system takes their memory for what is written next.
    """
    share = SAMPLES[parts[0][2].shares[0]]
    numbers = np.unique(np.concatenate([places.spools for _, _, places in parts])).tolist()
    paths = {number: spool_path(folder, share, number) for number in numbers}
    # Mapped, as few samples of a spool may be wanted.
    spools = {number: np.asarray(np.memmap(path, mode="r")) for number, path in paths.items()}
    for target, at, places in parts:
        with target.open("r+b") as stream:
            stream.seek(at)
            for block in _blocks(spools, np.frombuffer(start, np.uint8), places):
                stream.write(block)
    spools.clear()
    for path in paths.values():
        os.truncate(path, 0)


def _blocks(spools: Mapping[int, Array], start: Array, places: Places) -> Iterator[Array]:
    """The samples at these places, each after `start`, some at a time."""
    ends = np.cumsum(places.sizes + len(start), dtype=np.int64)
    first = 0
    while first < len(ends):
        begin = ends[first - 1] if first else 0
        last = max(int(np.searchsorted(ends, begin + _BLOCK, "right")), first + 1)
        some = places.of(slice(first, last))
        targets = ends[first:last] - some.sizes - len(start) - begin
        block = np.empty(ends[last - 1] - begin, np.uint8)
        for number, spool in spools.items():
            own = np.flatnonzero(some.spools == number)
            put_pieces(spool, some.offsets[own], some.sizes[own], start, targets[own], block)
        yield block
        first = last


class Spools:
    """Reads what the workers wrote, by record."""

    def __init__(self, job: Job, table: Table) -> None:
        self._folder, self._table = job.folder, table
        self._start = Conversations(job.style.settings.system).start
        self._handles: dict[tuple[str, int], int] = {}

    def __enter__(self) -> "Spools":
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        for handle in self._handles.values():
            os.close(handle)
        self._handles.clear()

    def _bytes(self, part: str, number: int, offset: int, size: int) -> bytes:
        if (part, number) not in self._handles:
            if len(self._handles) >= _HANDLES:
                self._close()
            path = spool_path(self._folder, part, number)
            self._handles[part, number] = os.open(path, os.O_RDONLY)
        return os.pread(self._handles[part, number], size, offset)

    def samples(self, records: Array) -> Iterator[bytes]:
        """The finished samples of records, each a line of JSON."""
        places = self._table.places(records)
        columns = (places.shares, places.spools, places.offsets, places.sizes)
        for share, *place in zip(*(column.tolist() for column in columns), strict=True):
            yield self._start + self._bytes(SAMPLES[share], *place)

    def numbers(self, part: str, record: int) -> Array:
        """What a record has in "shingles", as uint32."""
        columns = self._table.columns
        size = int(columns[part][record]) * 4
        offset = int(columns[f"{part.removesuffix('s')}_offsets"][record])
        number = int(self._table.spools[record])
        return np.frombuffer(self._bytes(part, number, offset, size), np.uint32)

    def holding(self, runs: Array) -> Array:
        """The records that kept one of these runs (uint32, ascending), in ascending order."""
        table = self._table
        holding = np.zeros(len(table), bool)
        for number in np.unique(table.spools).tolist():
            places = _places_of(runs, spool_path(self._folder, "grams", number))
            records = np.flatnonzero(table.spools == number)
            begins = table.columns["gram_offsets"][records] // 4
            # A worker's records lie in order; one without runs begins where the next does.
            holding[records[np.searchsorted(begins, places, "right") - 1]] = True
        return np.flatnonzero(holding)


def _places_of(numbers: Array, path: Path) -> Array:
    """Where in a file of uint32 one of these numbers (ascending) stands."""
    last = np.uint32((1 << 22) - 1)  # bits of a number that are looked at first
    seen = np.zeros(last + 1, bool)
    seen[numbers & last] = True
    found, begin = [np.empty(0, np.int64)], 0
    with path.open("rb") as stream:
        while piece := stream.read(_PIECE):
            own = np.frombuffer(piece, np.uint32)
            hits = np.flatnonzero(seen.take(own & last))
            at = np.searchsorted(numbers[:-1], own[hits])
            found.append(hits[numbers[at] == own[hits]] + begin)
            begin += len(own)
    return np.concatenate(found)
