"""Continuous batching: answers join and leave the running batch at every step."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from butler.errors import ButlerError
from butler.reference.cache import KVCache
from butler.reference.model import Decoder
from butler.reference.prefixes import (
    CHUNK,
    PREFIX_BYTES,
    CachedPrefix,
    PrefixStore,
    shared_chunks,
)
from butler.reference.sampling import Likelihood, SamplingParams, choose, likelihood

PREFILL_PER_STEP = 2048


class PromptTooLong(ButlerError):
    """A prompt that leaves no room for an answer."""


@dataclass(eq=False)
class Generation:
    """One prompt and the answer growing on it, in token ids."""

    prompt: list[int]
    params: SamplingParams
    stop_ids: frozenset[int]
    limit: int
    tokens: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.generator = self.params.generator()


@dataclass(frozen=True)
class Step:
    """One new token of an answer; `finish` is None, "stop" (a stop token) or "length", and
    `likelihood` told where SamplingParams.alternatives asks for it."""

    answer: Generation
    token: int
    finish: str | None
    likelihood: Likelihood | None = None


class RunningBatch:
    """The running batch. Not thread-safe: one thread calls its methods.

    Args:
        decoder: the model.
        cache: an empty cache; row i belongs to the i-th running answer.
        session_len: most tokens of prompt and answer together.
        max_size: most answers that run at once; the rest wait in order.
        prefix_bytes: most that is kept of prompts whose answers have ended, for those that begin
            alike; 0 runs each prompt whole.
    """

    def __init__(
        self,
        decoder: Decoder,
        cache: KVCache,
        session_len: int,
        max_size: int,
        prefix_bytes: int = PREFIX_BYTES,
    ) -> None:
        self._decoder = decoder
        self._cache = cache
        self._session_len = session_len
        self._max_size = max_size
        self._waiting: deque[Generation] = deque()
        self._running: list[Generation] = []
        self._ended = PrefixStore(prefix_bytes)

    def __len__(self) -> int:
        return len(self._waiting) + len(self._running)

    def check(self, prompt: Sequence[int]) -> None:
        """Raise ButlerError unless `prompt` can be run and leaves room for an answer."""
        if not prompt:
            raise ButlerError("the prompt is empty; give at least one token")
        if len(prompt) >= self._session_len:
            raise PromptTooLong(
                f"the prompt has {len(prompt)} tokens and the session holds {self._session_len} "
                "with the answer; shorten it"
            )
        vocab = self._decoder.config.vocab
        if not all(0 <= token < vocab for token in prompt):
            raise ButlerError(f"the prompt has a token outside the vocabulary of {vocab}")

    def submit(
        self, prompt: Sequence[int], params: SamplingParams, stop_ids: frozenset[int]
    ) -> Generation:
        """Queue a prompt; the answer is cut where the session is full."""
        self.check(prompt)
        room = self._session_len - len(prompt)
        limit = min(params.max_new_tokens or room, room)
        answer = Generation(list(prompt), params, stop_ids, limit)
        self._waiting.append(answer)
        return answer

    @torch.inference_mode()
    def cancel(self, answer: Generation) -> None:
        """Drop an answer, waiting or running; nothing happens if it has ended."""
        if answer in self._waiting:
            self._waiting.remove(answer)
        elif answer in self._running:
            self._leave(self._running.index(answer))

    @torch.inference_mode()
    def step(self) -> list[Step]:
        """Give every running answer one token, after letting waiting ones join."""
        steps = self._decode() if self._running else []
        prefilled = 0
        while self._waiting and len(self._running) < self._max_size:
            prompt = self._waiting[0].prompt
            known = self._known(prompt)
            to_run = len(prompt) - len(known.tokens)
            if prefilled and prefilled + to_run > PREFILL_PER_STEP:
                break
            prefilled += to_run
            steps.append(self._join(self._waiting.popleft(), known))
        for step in steps:
            if step.finish:
                self._leave(self._running.index(step.answer))
        return steps

    def _known(self, prompt: Sequence[int]) -> CachedPrefix:
        """Return the longest beginning of `prompt` that a running or ended one has, maybe none."""
        if not self._ended.budget:
            return CachedPrefix()
        known = self._ended.longest(prompt)
        for row, other in enumerate(self._running):
            if (shared := shared_chunks(prompt, other.prompt)) > len(known.tokens):
                known = CachedPrefix(prompt[:shared], self._cache.stored(row, shared))
        return known

    def _join(self, answer: Generation, known: CachedPrefix) -> Step:
        row = self._cache.add()
        self._running.append(answer)
        if known.tokens:
            self._cache.fill(row, known.parts)
        rest = answer.prompt[len(known.tokens) :]
        hidden = prefill(self._decoder, self._cache, row, rest)
        [step] = self._choose(self._decoder.logits(hidden[-1:]), [answer])
        return step

    def _decode(self) -> list[Step]:
        last = torch.tensor([[answer.tokens[-1]] for answer in self._running])
        hidden = self._decoder.forward(last, self._cache, 0)[:, 0]
        return self._choose(self._decoder.logits(hidden), self._running)

    def _choose(self, logits: torch.Tensor, answers: Sequence[Generation]) -> list[Step]:
        """Give each answer a token by its row of fp32 `logits` [answers, vocab]."""
        tokens = choose(
            logits,
            [answer.params for answer in answers],
            [answer.prompt for answer in answers],
            [answer.tokens for answer in answers],
            [answer.generator for answer in answers],
        )
        return [self._accept(*row) for row in zip(answers, tokens, logits, strict=True)]

    def _accept(self, answer: Generation, token: int, logits: torch.Tensor) -> Step:
        answer.tokens.append(token)
        finish = None
        if token in answer.stop_ids:
            finish = "stop"
        elif len(answer.tokens) >= answer.limit:
            finish = "length"
        count = answer.params.alternatives
        told = None if count is None else likelihood(logits, token, count)
        return Step(answer, token, finish, told)

    def _leave(self, row: int) -> None:
        prompt = self._running[row].prompt
        self._ended.keep(CachedPrefix(prompt, self._cache.stored(row, len(prompt))))
        if self._cache.remove(row) is not None:
            self._running[row] = self._running[-1]
        self._running.pop()


@torch.inference_mode()
def prefill(decoder: Decoder, cache: KVCache, row: int, prompt: Sequence[int]) -> torch.Tensor:
    """Append `prompt` to cache row `row`; return the last chunk's hidden states [n, hidden]."""
    # A deque of one runs through the chunks and keeps the last.
    return deque(prefill_chunks(decoder, cache, row, prompt), maxlen=1)[0]


def prefill_chunks(
    decoder: Decoder, cache: KVCache, row: int, prompt: Sequence[int]
) -> Iterator[torch.Tensor]:
    """Append `prompt` to cache row `row`; yield hidden states [n, hidden] chunk by chunk."""
    tokens = torch.tensor(prompt).view(1, -1)
    for chunk in tokens.split(CHUNK, dim=1):
        yield decoder.forward(chunk, cache, row)[0]
