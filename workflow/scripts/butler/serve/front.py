"""What stands before the endpoints: who may ask, how much and how long, and the counts of it."""

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from fastapi.responses import JSONResponse, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

from butler.serve.replies import error_body

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

INVALID = "invalid_request_error"
ENDPOINTS = {"/health", "/metrics", "/v1/models", "/v1/chat/completions", "/v1/completions"}
OPEN = {"/health"}  # without the key: whoever watches the server has none


@dataclass(frozen=True)
class ServerLimits:
    """What one server takes on.

    `chats` answers run or wait at a time; an answer takes `answer_seconds` at most, waiting
    included, and the body of a request `body_bytes` and `body_seconds`; all bodies together hold
    `held_bytes`. Of `connections` at a time, each sends the head of its request in `head_seconds`
    and takes some of its answer every `send_seconds`; one that is refused may go on sending for
    `linger_seconds`. With an `api_key`, every request but /health must bring it as a bearer token.
    """

    chats: int = 256
    answer_seconds: float = 600.0
    body_bytes: int = 1 << 20
    body_seconds: float = 30.0
    held_bytes: int = 64 << 20
    connections: int = 2048
    head_seconds: float = 10.0
    send_seconds: float = 30.0
    linger_seconds: float = 10.0
    api_key: str | None = None


class Metrics:
    """Counts in Prometheus's text form; `running` tells the answers that run or wait."""

    def __init__(self, running: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "butler_requests",
            "Requests by path and status",
            ["path", "code"],
            registry=self._registry,
        )
        self.seconds = Histogram(
            "butler_request_seconds", "Time of a request", ["path"], registry=self._registry
        )
        self.tokens = Counter("butler_tokens", "Tokens generated", registry=self._registry)
        answers = Gauge("butler_answers", "Answers that run or wait", registry=self._registry)
        answers.set_function(running)

    def page(self) -> Response:
        """Return the counts."""
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)


class Front:
    """ASGI middleware that reads the body itself, so that a request costs bounded memory."""

    def __init__(self, app: Any, limits: ServerLimits, metrics: Metrics) -> None:
        self._app, self._limits, self._metrics = app, limits, metrics
        self._held = 0  # bytes of all bodies whose requests are not answered yet

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on with its body read."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Paths of others' choosing would each be a new row of the metrics.
        path = scope["path"] if scope["path"] in ENDPOINTS else "other"
        started, codes = time.perf_counter(), [499]

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                codes[0] = message["status"]
            await send(message)

        body = Body()
        try:
            refusal = self._stranger(scope) or await self._read(body, scope, receive)
            if refusal is None:
                await self._app(scope, _replay(bytes(body.content), receive), counted)
            elif body.left:
                self._drop(body)
                await self._refuse_early(refusal, scope, receive, counted)
            else:
                await refusal(scope, receive, counted)
        finally:
            self._drop(body)
            self._metrics.requests.labels(path, str(codes[0])).inc()
            self._metrics.seconds.labels(path).observe(time.perf_counter() - started)

    def _stranger(self, scope: Message) -> Response | None:
        key = self._limits.api_key
        if key is None or scope["path"] in OPEN:
            return None
        given = dict(scope["headers"]).get(b"authorization", b"")
        if hmac.compare_digest(given, f"Bearer {key}".encode()):
            return None
        message = "this server asks for an API key: send Authorization: Bearer KEY"
        return _refuse(401, message, "invalid_api_key", {"WWW-Authenticate": "Bearer"})

    async def _read(self, body: "Body", scope: Message, receive: Receive) -> Response | None:
        """Read the body; return the refusal of one that is too large, too slow or cut off."""
        limit = self._limits.body_bytes
        length = dict(scope["headers"]).get(b"content-length", b"0")
        body.left = True
        if length.isdigit() and (len(length) > 18 or int(length) > limit):
            return _too_large(limit)
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                while body.left:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        body.left = False
                        return Response(status_code=499)
                    new = message.get("body", b"")
                    body.left = bool(message.get("more_body"))
                    if len(body.content) + len(new) > limit:
                        return _too_large(limit)
                    if self._held + len(new) > self._limits.held_bytes:
                        return _refuse(503, "too much is asked at once", "overloaded", _AGAIN)
                    body.content += new
                    self._held += len(new)
        except TimeoutError:
            seconds = self._limits.body_seconds
            return _refuse(408, f"the body took longer than {seconds:g} s", None, _CLOSE)
        return None

    def _drop(self, body: "Body") -> None:
        """Make room for the bodies of others."""
        self._held -= len(body.content)
        body.content = bytearray()

    async def _refuse_early(
        self, refusal: Response, scope: Message, receive: Receive, send: Send
    ) -> None:
        """Refuse before the body has come, and let the client read it: what it still sends is
        taken and thrown away for a while, as to close upon it would throw our answer away."""

        async def unfinished(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "more_body": True}
            await send(message)

        await refusal(scope, receive, unfinished)
        waits = (b"expect", b"100-continue") in scope["headers"]
        with suppress(TimeoutError):  # the client had its time
            async with asyncio.timeout(0 if waits else self._limits.linger_seconds):
                while (await receive()).get("more_body"):
                    continue
        await send({"type": "http.response.body", "body": b"", "more_body": False})


@dataclass
class Body:
    """What has come of a body, and whether more of it is `left`."""

    content: bytearray = field(default_factory=bytearray)
    left: bool = False


_CLOSE = {"Connection": "close"}  # what is still to come of the body is not kept
_AGAIN = {**_CLOSE, "Retry-After": "1"}


def _refuse(code: int, message: str, name: str | None, headers: dict[str, str]) -> Response:
    return JSONResponse(error_body(message, INVALID, name), code, headers)


def _too_large(limit: int) -> Response:
    return _refuse(413, f"the body has more than {limit} bytes", None, _CLOSE)


def busy(limits: ServerLimits) -> Response:
    """Return the answer to a request for which there is no room."""
    message = f"{limits.chats} answers at most run or wait here; ask again in a moment"
    return _refuse(429, message, "rate_limit_exceeded", {"Retry-After": "1"})


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the body first, then what follows it."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
