"""Requests to an engine, timed: one after another, or a fixed number at a time.

An engine here is a list of instances, each with LMDeploy's `async_stream_infer`.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from typing import Any, Protocol

from butler.efficiency.timings import Load, RequestTiming
from butler.errors import ButlerError

PROMPT_SEED = 0


class Instance(Protocol):
    """What answers one request at a time."""

    def async_stream_infer(
        self, session_id: int, input_ids: list[int], **options: Any
    ) -> AsyncIterator[Any]:
        """Yield the answer so far, with `num_token` new tokens, as it grows."""


def random_prompts(count: int, tokens: int, vocab: int) -> list[list[int]]:
    """Return prompts of random token ids, always the same ones."""
    generator = random.Random(PROMPT_SEED)
    return [[generator.randrange(vocab) for _ in range(tokens)] for _ in range(count)]


async def ask(instance: Instance, number: int, prompt: list[int], setting: Any) -> RequestTiming:
    """Time one answer of at least `setting.max_new_tokens` tokens; `number` is the request's own.

    Raises:
        ButlerError: if the engine fails or stops early.
    """
    came: list[float] = []
    tokens = 0
    sent = time.perf_counter()
    stream = instance.async_stream_infer(
        number,
        prompt,
        gen_config=setting,
        stream_output=True,
        sequence_start=True,
        sequence_end=True,
        step=0,
    )
    async for output in stream:
        if output.num_token > tokens:  # the last one may bring no more than that it is the last
            came.append(time.perf_counter())
            tokens = output.num_token
    # TurboMind 0.7.3 gives one token more than it is asked for; all that are given are counted.
    if tokens < setting.max_new_tokens:
        raise ButlerError(
            f"the engine ended a request after {tokens} of {setting.max_new_tokens} new tokens"
        )
    gaps = [later - earlier for earlier, later in pairwise(came)]
    return RequestTiming(sent, came[0], came[-1], tokens, gaps)


async def one_by_one(
    instance: Instance, prompts: Sequence[list[int]], setting: Any
) -> list[RequestTiming]:
    """Answer each prompt when the one before has ended."""
    return [await ask(instance, n + 1, prompt, setting) for n, prompt in enumerate(prompts)]


async def at_once(
    instances: Sequence[Instance], prompts: Sequence[list[int]], setting: Any
) -> Load:
    """Answer all prompts, one at each instance at a time."""
    waiting = iter(enumerate(prompts, start=1))

    async def work(instance: Instance) -> list[RequestTiming]:
        return [await ask(instance, number, prompt, setting) for number, prompt in waiting]

    found = await asyncio.gather(*(work(instance) for instance in instances))
    return Load(len(instances), [answer for answers in found for answer in answers])
