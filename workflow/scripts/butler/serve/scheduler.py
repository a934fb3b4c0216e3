"""The thread that runs the batch for the server."""

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any

from butler.reference.batch import Generation, RunningBatch, Step
from butler.reference.generate import Engine
from butler.reference.sampling import SamplingParams

Listener = Callable[[Step | Exception], None]


class Scheduler:
    """Runs one batch in its own thread; requests come from other threads.

    `submit` and `cancel` may be called from any thread. A listener is called in the scheduler's
    thread, with each new step of its answer, or once with the exception that ended it.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._batch: RunningBatch = engine.new_batch()
        self._listeners: dict[Generation, Listener] = {}
        self._calls: queue.SimpleQueue[Callable[[], Any]] = queue.SimpleQueue()
        self._running = True
        self._thread = threading.Thread(target=self._run, name="scheduler", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the step in progress; unfinished answers get no more steps."""
        self._calls.put(self._end)
        self._thread.join()

    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def __len__(self) -> int:
        """Return how many answers run or wait."""
        return len(self._batch)

    def submit(
        self,
        prompt: Sequence[int],
        params: SamplingParams,
        stop_ids: frozenset[int],
        listener: Listener,
    ) -> Callable[[], None]:
        """Queue a prompt; return a function that cancels it.

        Raises:
            ButlerError: if the prompt cannot be run.
        """
        self._batch.check(prompt)
        answers: list[Generation] = []

        def begin() -> None:
            answers.append(self._batch.submit(prompt, params, stop_ids))
            self._listeners[answers[0]] = listener

        def cancel() -> None:
            # Calls run in order, so `begin` has run by then.
            if answers and self._listeners.pop(answers[0], None):
                self._batch.cancel(answers[0])

        self._calls.put(begin)
        return lambda: self._calls.put(cancel)

    def _end(self) -> None:
        self._running = False

    def _run(self) -> None:
        while self._running:
            try:
                self._take_calls()
                if not len(self._batch):
                    continue
                steps = self._batch.step()
            except Exception as error:  # noqa: BLE001 - every client must hear of it
                self._fail(error)
                continue
            for step in steps:
                listener = self._listeners[step.answer]
                if step.finish:
                    del self._listeners[step.answer]
                listener(step)

    def _take_calls(self) -> None:
        """Run what other threads asked for; wait for it if there is nothing else to do."""
        if not len(self._batch):
            self._calls.get()()
        while not self._calls.empty():
            self._calls.get()()

    def _fail(self, error: Exception) -> None:
        listeners = list(self._listeners.values())
        self._listeners.clear()
        self._batch = self._engine.new_batch()
        for listener in listeners:
            listener(error)
