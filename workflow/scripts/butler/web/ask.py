"""Asking the servers: one question to several models, the answers as they grow."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import httpx
import openai

from butler.errors import ButlerError
from butler.web.models import Served, client_of, server_sentence

SHOW_EVERY_S = 0.1
TOO_LONG = "context_length_exceeded"  # OpenAI's code, which our server answers with

Messages = list[dict[str, str]]


class Fault(StrEnum):
    """Why there is no answer, or no whole one."""

    TOO_LONG = "too_long"
    ENDED = "ended"  # a server that the page started
    NOT_STARTED = "not_started"
    GONE = "gone"  # a server of others
    SLOW = "slow"
    REFUSED = "refused"


@dataclass(frozen=True)
class ChatOptions:
    """What the page lets its user choose for an answer; the defaults are those of chat.py."""

    system: str = ""
    temperature: float = 0.1
    top_p: float = 0.75
    top_k: int = 40
    repetition_penalty: float = 1.0
    max_tokens: int = 512
    seed: int | None = None

    def request(self, conversation: Messages) -> dict[str, Any]:
        """Return the arguments of the request for the next answer of a conversation."""
        messages = [{"role": "system", "content": self.system}] if self.system.strip() else []
        return {
            "messages": [*messages, *conversation],
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_tokens": self.max_tokens,
            "seed": self.seed,
            "extra_body": {"top_k": self.top_k, "repetition_penalty": self.repetition_penalty},
        }


@dataclass
class Reply:
    """One model's answer so far; times in seconds, `first` and `finish` once they are known."""

    model: str
    text: str = ""
    first: float | None = None
    seconds: float = 0.0
    tokens: int = 0
    finish: str = ""
    fault: Fault | None = None
    said: str = ""  # the server's own sentence on it
    restarting: bool = False
    done: bool = False
    started: float = field(default_factory=time.monotonic)


async def ask(
    models: Sequence[Served],
    conversations: Sequence[Messages],
    options: ChatOptions,
    in_turn: bool = False,
) -> AsyncIterator[list[Reply]]:
    """Ask each model for the next answer of its conversation; yield the replies as they grow.

    They are asked at once, or `in_turn`. Leaving early ends the requests, and with them the work
    of the servers.
    """
    replies = [Reply(model.name) for model in models]
    asked = list(zip(models, replies, conversations, strict=True))

    async def follow_all() -> None:
        if in_turn:
            for model, reply, conversation in asked:
                await _follow(model, reply, conversation, options)
        else:
            await asyncio.gather(*(_follow(*one, options) for one in asked))

    task = asyncio.create_task(follow_all())
    try:
        while not task.done():
            yield replies
            await asyncio.wait([task], timeout=SHOW_EVERY_S)
        await task
        yield replies
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _follow(model: Served, reply: Reply, asked: Messages, options: ChatOptions) -> None:
    """Let `reply` grow as the model's answer comes."""
    try:
        reply.restarting = model.ended()
        url = await asyncio.to_thread(model.url)
        client = client_of(url, model.api_key)
        reply.restarting, reply.started = False, time.monotonic()
        async with (
            client,
            await client.chat.completions.create(
                model=model.name,
                stream=True,
                stream_options={"include_usage": True},
                **options.request(asked),
            ) as stream,
        ):
            async for chunk in stream:
                _grow(reply, chunk)
        if not reply.finish:
            reply.fault = Fault.ENDED if model.ended() else Fault.GONE
        # So LMDeploy tells a prompt that fills its session.
        elif reply.finish == "length" and not reply.text:
            reply.fault = Fault.TOO_LONG
    except ButlerError as error:
        # The visitor cannot mend it; whoever started the page can.
        print(f"error: {error}", file=sys.stderr, flush=True)
        reply.fault = Fault.NOT_STARTED
    except (openai.OpenAIError, httpx.HTTPError) as error:
        reply.fault, reply.said = _fault(error, model), server_sentence(error)
    finally:
        reply.seconds = time.monotonic() - reply.started
        reply.restarting, reply.done = False, True


def _grow(reply: Reply, chunk: Any) -> None:
    now = time.monotonic() - reply.started
    for choice in chunk.choices:
        reply.text += choice.delta.content or ""
        if reply.text and reply.first is None:
            reply.first = now
        reply.finish = choice.finish_reason or reply.finish
    if chunk.usage:
        reply.tokens = chunk.usage.completion_tokens
    reply.seconds = now


def _fault(error: Exception, model: Served) -> Fault:
    if getattr(error, "code", None) == TOO_LONG:
        return Fault.TOO_LONG
    if isinstance(error, openai.APITimeoutError | httpx.TimeoutException):
        return Fault.SLOW
    if isinstance(error, openai.APIConnectionError | httpx.HTTPError):
        return Fault.ENDED if model.ended() else Fault.GONE
    return Fault.REFUSED
