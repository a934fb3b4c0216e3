"""Processes that share the chunks out, and the files that they leave."""

import gc
import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache
from itertools import chain, repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from butler.corpus import worker
from butler.corpus.read import Chunk
from butler.corpus.sample import Conversations
from butler.corpus.select import Shuffle, Table, drawn_numbers
from butler.corpus.worker import Job, Outcome, Worker, spool_path
from butler.errors import ButlerError
from butler.tools import dies_with_us

Array = np.ndarray[Any, Any]
_AHEAD = 3  # chunks handed out per process: enough that none waits, few enough for memory
_WORTH_SHARING = 50_000  # records
_BLOCK = 1 << 18  # what the processor holds near
_RECORDS = 100_000  # whose numbers are read at a time


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
            with _held(signal.SIGTERM):
                self._pool.submit(int)  # which starts them all

    def __enter__(self) -> "Processes":
        gc.disable()  # nothing here makes cycles, and chunks make many objects
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

    def shuffle(self, table: Table, seed: int, purpose: str) -> Shuffle:
        """What puts records in an order drawn by seed and content; several processes draw at once.

        They begin now, so that this one can go on until an order is asked for.
        """
        contents = table.contents.astype(">u8").tobytes()
        if self._pool and len(table) > _WORTH_SHARING:
            step = -(-len(table) // self.count) * 16
            parts = [contents[at : at + step] for at in range(0, len(contents), step)]
            futures = [self._pool.submit(drawn_numbers, seed, purpose, part) for part in parts]
        else:
            futures = []

        @cache
        def numbers() -> Array:
            drawn = [future.result() for future in futures]
            return np.concatenate(drawn or [drawn_numbers(seed, purpose, contents)])

        def shuffled(records: Array) -> Array:
            own = numbers()[records]
            order = np.argsort(own)
            if (own[order][1:] == own[order][:-1]).any():
                keys = table.contents[records]
                order = np.lexsort((keys[:, 1], keys[:, 0], own))
            return records[order]

        return shuffled

    @contextmanager
    def copying(self, table: Table, records: Array, target: Path) -> Iterator[None]:
        """Write the samples of the records to `target`, in this order, beside what is done here."""
        start = Conversations(self.job.style.system).start
        sizes = table.columns["sizes"][records].astype(np.int64)
        places = table.spools[records], table.columns["offsets"][records], sizes
        ends = np.cumsum(sizes + len(start))
        with target.open("wb") as stream:
            stream.truncate(int(ends[-1]) if len(ends) else 0)
        share = self.count if len(records) > _WORTH_SHARING else 1
        futures = []
        for part in np.array_split(np.arange(len(records)), share):
            if not len(part):
                continue
            at = int(ends[part[0]] - sizes[part[0]]) - len(start)
            task = (self.job.folder, start, target, at, *(column[part] for column in places))
            if self._pool and share > 1:
                futures.append(self._pool.submit(_copy, *task))
            else:
                _copy(*task)
        yield
        for future in futures:
            future.result()


def _copy(
    folder: Path,
    start: bytes,
    target: Path,
    at: int,
    spools: Array,
    offsets: Array,
    sizes: Array,
) -> None:
    """Write samples from the spools, after their start, to `target` from byte `at` on."""
    handles = {int(number): _open(folder, "samples", int(number)) for number in np.unique(spools)}
    try:
        with target.open("r+b", buffering=_BLOCK) as stream:
            stream.seek(at)
            files = map(handles.__getitem__, spools.tolist())
            samples = map(os.pread, files, sizes.tolist(), offsets.tolist())
            stream.writelines(chain.from_iterable(zip(repeat(start), samples, strict=False)))
    finally:
        for handle in handles.values():
            os.close(handle)


def _open(folder: Path, part: str, number: int) -> int:
    return os.open(spool_path(folder, part, number), os.O_RDONLY)


class Spools:
    """Reads what the workers wrote, by record."""

    def __init__(self, job: Job, table: Table) -> None:
        self._folder, self._table = job.folder, table
        self._start = Conversations(job.style.system).start
        self._handles: dict[tuple[str, int], int] = {}

    def __enter__(self) -> "Spools":
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles.values():
            os.close(handle)

    def _read(self, part: str, record: int, offset: int, size: int) -> bytes:
        return self._bytes(part, int(self._table.spools[record]), offset, size)

    def _bytes(self, part: str, number: int, offset: int, size: int) -> bytes:
        if (part, number) not in self._handles:
            self._handles[part, number] = _open(self._folder, part, number)
        return os.pread(self._handles[part, number], size, offset)

    def sample(self, record: int) -> bytes:
        """The finished sample of a record, a line of JSON."""
        columns = self._table.columns
        place = int(columns["offsets"][record]), int(columns["sizes"][record])
        return self._start + self._read("samples", record, *place)

    def numbers(self, part: str, record: int) -> Array:
        """What a record has in "shingles" or "grams", as uint32."""
        columns = self._table.columns
        size = int(columns[part][record]) * 4
        offset = int(columns[f"{part.removesuffix('s')}_offsets"][record])
        return np.frombuffer(self._read(part, record, offset, size), np.uint32)

    def all_numbers(self, part: str) -> Iterator[tuple[Array, Array]]:
        """Everything in a kind of spool, chunk by chunk: the record of each number, and these."""
        columns = self._table.columns
        counts = columns[part].astype(np.int64)
        offsets = columns[f"{part.removesuffix('s')}_offsets"]
        for begin in range(0, len(counts), _RECORDS):
            own = slice(begin, begin + _RECORDS)
            records = np.repeat(np.arange(len(counts))[own], counts[own])
            numbers = [self._run(part, *run) for run in self._runs(own, offsets, counts)]
            yield records, np.concatenate(numbers) if numbers else np.empty(0, np.uint32)

    def _runs(self, own: slice, offsets: Array, counts: Array) -> Iterator[tuple[int, int, int]]:
        """Stretches of consecutive records that lie one after another: (spool, offset, bytes)."""
        first, sizes, spools = offsets[own], counts[own] * 4, self._table.spools[own]
        breaks = (first[1:] != first[:-1] + sizes[:-1]) | (spools[1:] != spools[:-1])
        starts = np.concatenate(([0], np.flatnonzero(breaks) + 1)) if len(first) else []
        for start, total in zip(starts, np.add.reduceat(sizes, starts), strict=True):
            yield int(spools[start]), int(first[start]), int(total)

    def _run(self, part: str, number: int, offset: int, size: int) -> Array:
        return np.frombuffer(self._bytes(part, number, offset, size), np.uint32)
