"""Asking the servers: one question to several models at once, the answers as they grow."""

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import openai

from butler.errors import ButlerError

SHOW_EVERY_S = 0.1
TIMEOUT_S = 600.0
_ASKING = ("做", "怎", "如何", "教", "?", "？")


@dataclass(frozen=True)
class Served:
    """A model and the API that serves it, its address ending in /v1."""

    name: str
    url: str
    api_key: str | None = None

    def client(self) -> openai.OpenAI:
        """Return a client; an API on this machine is not asked for through a proxy."""
        local = "://127.0.0.1" in self.url or "://localhost" in self.url or "://[::1]" in self.url
        http = httpx.Client(trust_env=not local, timeout=TIMEOUT_S)
        key = self.api_key or "none"
        return openai.OpenAI(base_url=self.url, api_key=key, http_client=http, max_retries=2)


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

    def request(self, question: str) -> dict[str, Any]:
        """Return the arguments of the request for a question."""
        messages = [{"role": "system", "content": self.system}] if self.system.strip() else []
        return {
            "messages": [*messages, {"role": "user", "content": question}],
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
    error: str = ""
    done: bool = False
    started: float = field(default_factory=time.monotonic)


def served_by(url: str, api_key: str | None = None) -> list[Served]:
    """Return the models of a running API; `url` is its address with or without /v1.

    Raises:
        ButlerError: if it cannot be asked.
    """
    if not url.startswith(("http://", "https://")):
        raise ButlerError(f"{url} is no address of an API; give one such as http://127.0.0.1:23333")
    base = url.rstrip("/").removesuffix("/v1") + "/v1"
    try:
        models = Served("", base, api_key).client().models.list().data
    except openai.APIConnectionError as error:
        raise ButlerError(f"nobody answers at {base}; start that server first") from error
    except openai.OpenAIError as error:
        raise ButlerError(f"the API at {base} does not tell its models: {_why(error)}") from error
    return [Served(model.id, base, api_key) for model in models]


def question(dish: str) -> str:
    """Return the question that is asked: a dish's name alone becomes one, as in training."""
    dish = dish.strip()
    return dish if any(word in dish for word in _ASKING) else f"{dish}的做法"


def ask(models: Sequence[Served], text: str, settings: ChatOptions) -> Iterator[list[Reply]]:
    """Ask all models at once; yield their replies so far until all are done.

    Leaving early ends the requests, and with them the work of the servers.
    """
    replies = [Reply(model.name) for model in models]
    left = threading.Event()
    threads = [
        threading.Thread(target=_follow, args=(model, reply, text, settings, left), daemon=True)
        for model, reply in zip(models, replies, strict=True)
    ]
    for thread in threads:
        thread.start()
    try:
        while not all(reply.done for reply in replies):
            yield replies
            threads[0].join(SHOW_EVERY_S) if not replies[0].done else time.sleep(SHOW_EVERY_S)
        yield replies
    finally:
        left.set()


def _follow(
    model: Served, reply: Reply, text: str, settings: ChatOptions, left: threading.Event
) -> None:
    """Let `reply` grow as the model's answer comes."""
    try:
        with (
            model.client() as client,
            client.chat.completions.create(
                model=model.name,
                stream=True,
                stream_options={"include_usage": True},
                **settings.request(text),
            ) as stream,
        ):
            for chunk in stream:
                if left.is_set():
                    return
                _grow(reply, chunk)
        if not reply.finish:
            reply.error = "回答中断了，请再问一次"
    except (openai.OpenAIError, httpx.HTTPError) as error:
        reply.error = _why(error)
    finally:
        reply.seconds = time.monotonic() - reply.started
        reply.done = True


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


def _why(error: Exception) -> str:
    """Return the server's own sentence where it sent one."""
    body = getattr(error, "body", None)
    if isinstance(body, dict) and body.get("message"):
        return str(body["message"])
    if isinstance(error, openai.APITimeoutError):
        return "等得太久了，请稍后再试"
    if isinstance(error, openai.APIConnectionError | httpx.HTTPError):
        return "模型服务没有响应，请稍后再试"
    return str(error)
