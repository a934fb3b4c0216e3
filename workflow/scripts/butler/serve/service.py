"""From a request to the pieces of its answers, within what the server takes on."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from butler.chat_tokenizer import ChatTokenizer, TextStream
from butler.errors import ButlerError
from butler.reference.batch import Step
from butler.reference.generate import Engine
from butler.reference.sampling import SamplingParams
from butler.serve.front import Metrics, ServerLimits
from butler.serve.protocol import ChatRequest, CompletionRequest
from butler.serve.replies import Piece, Told
from butler.serve.scheduler import Scheduler


class TooSlow(ButlerError):
    """An answer that was not finished in time."""


class Service:
    """One model, its tokenizer and the answers that run or wait.

    Attributes:
        open: how many those are; whoever takes places counts them in, `answers` gives them back.
    """

    def __init__(
        self, engine: Engine, tokenizer: ChatTokenizer, model_name: str, limits: ServerLimits
    ) -> None:
        self.tokenizer = tokenizer
        self.model_name = model_name
        self.limits = limits
        self.scheduler = Scheduler(engine)
        self.open = 0
        self.metrics = Metrics(lambda: self.open)
        # A long prompt takes a while; the loop goes on with the answers of others.
        self._encoder = ThreadPoolExecutor(1, "tokenizer")

    async def encode(self, request: ChatRequest | CompletionRequest) -> list[list[int]]:
        """Return the prompts of a request."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._encoder, request.prompts, self.tokenizer)

    def close(self) -> None:
        """End the threads."""
        self.scheduler.stop()
        self._encoder.shutdown()

    async def answers(
        self, asked: Sequence[tuple[list[int], SamplingParams]], stops: list[str]
    ) -> AsyncIterator[Piece]:
        """Yield the answers to prompts piece by piece, as they come; leaving early takes them out
        of the batch.

        Raises:
            ButlerError: before the first piece, if a prompt cannot be run.
            TooSlow: if they take longer than the limit.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + self.limits.answer_seconds
        steps: asyncio.Queue[tuple[int, Step | Exception]] = asyncio.Queue()
        streams = [TextStream(self.tokenizer, stops) for _ in asked]
        cancels: dict[int, Callable[[], None]] = {}
        unfinished = len(asked)

        def listener(index: int) -> Callable[[Step | Exception], None]:
            return lambda step: loop.call_soon_threadsafe(steps.put_nowait, (index, step))

        try:
            for index, (prompt, params) in enumerate(asked):
                stop_ids = self.tokenizer.stop_ids
                cancels[index] = self.scheduler.submit(prompt, params, stop_ids, listener(index))
            while cancels:
                try:
                    async with asyncio.timeout_at(end):
                        index, step = await steps.get()
                except TimeoutError:
                    seconds = self.limits.answer_seconds
                    raise TooSlow(f"the answer took longer than {seconds:g} s") from None
                if isinstance(step, Exception):
                    raise step
                if index not in cancels:
                    continue  # it came between a stop string and what that cancelled
                piece = _piece(index, step, streams[index])
                self.metrics.tokens.inc()
                if piece.finish:
                    unfinished -= 1
                    self.open -= 1
                    cancels.pop(index)()
                yield piece
        finally:
            self.open -= unfinished
            for cancel in cancels.values():
                cancel()


def _piece(index: int, step: Step, stream: TextStream) -> Piece:
    """Return what a step adds to the text; a stop token has none, and no likelihood is told."""
    if step.finish == "stop":
        return Piece(index, stream.flush(), "stop", None)
    text = stream.push(step.token) + (stream.flush() if step.finish else "")
    told = Told(step.token, step.likelihood) if step.likelihood else None
    return Piece(index, text, "stop" if stream.stopped else step.finish, told)
