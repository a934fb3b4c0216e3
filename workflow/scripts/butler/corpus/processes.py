"""Processes that share the blocks out."""

import signal
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context

from butler.corpus import ngrams, worker
from butler.corpus.reading import Block
from butler.corpus.worker import Job, Outcome, Worker
from butler.errors import ButlerError
from butler.process import dies_with_us

_AHEAD = 3  # blocks handed out per process: enough that none waits, few enough for memory


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


def outcomes(job: Job, blocks: Iterable[Block], count: int) -> Iterator[Outcome]:
    """What each block leaves, in the order of the blocks, made by `count` processes.

    Raises:
        ButlerError: if one of the processes was killed.
    """
    ngrams.letters_of([""])  # its table is made once, before the processes are
    if count == 1:
        yield from map(Worker(job).run, blocks)
        return
    # Forked, so that what is protected is read once.
    pool = ProcessPoolExecutor(count, get_context("fork"), worker.start, (job, dies_with_us()))
    try:
        with _held(signal.SIGTERM):
            pool.submit(int)  # which starts them all
        waiting: deque[Future[Outcome]] = deque()
        for block in blocks:
            waiting.append(pool.submit(worker.work, block))
            if len(waiting) >= _AHEAD * count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise ButlerError(
            "a process of the corpus stage was killed, as for want of memory; use fewer --processes"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)
