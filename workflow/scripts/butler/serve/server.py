"""The OpenAI-compatible HTTP server of the reference engine."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from butler.chat_tokenizer import ChatTokenizer, TextStream
from butler.errors import ButlerError
from butler.reference.batch import PromptTooLong, Step
from butler.reference.generate import Engine
from butler.reference.sampling import SamplingParams
from butler.serve.front import INVALID, Front, Metrics, ServerLimits, busy
from butler.serve.openapi import CHAT, HEALTH, METRICS, MODELS, described
from butler.serve.protocol import ChatReply, ChatRequest, error_body, first_fault
from butler.serve.scheduler import Scheduler

DISCONNECT_EVERY = 16


class TooSlow(ButlerError):
    """An answer that was not finished in time."""


@dataclass(frozen=True)
class Piece:
    """New text of an answer; `finish` is set on the last one; `tokens` counts so far."""

    text: str
    finish: str | None
    tokens: int


class ChatService:
    """What the endpoints do: from a request to pieces of text."""

    def __init__(
        self, engine: Engine, tokenizer: ChatTokenizer, model_name: str, limits: ServerLimits
    ) -> None:
        self.tokenizer = tokenizer
        self.model_name = model_name
        self.limits = limits
        self.scheduler = Scheduler(engine)
        self.open = 0  # answers that run or wait
        self.metrics = Metrics(lambda: self.open)
        # A long prompt takes a while; the loop goes on with the answers of others.
        self._encoder = ThreadPoolExecutor(1, "tokenizer")

    async def encode(self, request: ChatRequest) -> list[int]:
        """Return the prompt of a request."""
        messages = [message.plain() for message in request.messages]
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._encoder, self.tokenizer.encode_chat, messages)

    def close(self) -> None:
        """End the threads."""
        self.scheduler.stop()
        self._encoder.shutdown()

    async def answer(
        self, prompt: list[int], params: SamplingParams, stops: list[str]
    ) -> AsyncIterator[Piece]:
        """Yield the answer piece by piece; leaving early takes it out of the batch.

        It gives back the place among the open answers that was taken for it.

        Raises:
            ButlerError: before the first piece, if the prompt cannot be run.
            TooSlow: if the answer takes longer than the limit.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + self.limits.answer_seconds
        steps: asyncio.Queue[Step | Exception] = asyncio.Queue()
        stream = TextStream(self.tokenizer, stops)
        count, finish = 0, None
        cancel: Callable[[], None] | None = None
        try:
            cancel = self.scheduler.submit(
                prompt,
                params,
                self.tokenizer.stop_ids,
                lambda step: loop.call_soon_threadsafe(steps.put_nowait, step),
            )
            while not finish:
                try:
                    async with asyncio.timeout_at(end):
                        step = await steps.get()
                except TimeoutError:
                    seconds = self.limits.answer_seconds
                    raise TooSlow(f"the answer took longer than {seconds:g} s") from None
                if isinstance(step, Exception):
                    raise step
                count, finish = count + 1, step.finish
                text = "" if finish == "stop" else stream.push(step.token)
                text += stream.flush() if finish else ""
                finish = "stop" if stream.stopped else finish
                self.metrics.tokens.inc()
                yield Piece(text, finish, count)
        finally:
            self.open -= 1
            if cancel:
                cancel()


def create_app(
    engine: Engine, tokenizer: ChatTokenizer, model_name: str, limits: ServerLimits | None = None
) -> FastAPI:
    """Return the application that serves `engine` as model `model_name`."""
    service = ChatService(engine, tokenizer, model_name, limits or ServerLimits())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.scheduler.start()
        yield
        await asyncio.to_thread(service.close)

    app = FastAPI(title="Recipe Butler reference engine", lifespan=lifespan)
    _add_error_handlers(app)
    app.openapi = lambda: described(app, service.limits)  # type: ignore[method-assign]
    app.add_middleware(Front, limits=service.limits, metrics=service.metrics)

    @app.get("/metrics", **METRICS)
    async def metrics() -> Response:
        return service.metrics.page()

    @app.get("/health", **HEALTH)
    async def health() -> Response:
        if service.scheduler.alive():
            return JSONResponse({"status": "ok", "answers": len(service.scheduler)})
        return JSONResponse({"status": "the scheduler has stopped"}, status_code=503)

    @app.get("/v1/models", **MODELS)
    async def models() -> Response:
        card = {"id": model_name, "object": "model", "created": 0, "owned_by": "recipe-butler"}
        return JSONResponse({"object": "list", "data": [card]})

    @app.post("/v1/chat/completions", **CHAT)
    async def chat(request: ChatRequest, http: Request) -> Response:
        return await _chat(service, request, http)

    return app


async def _chat(service: ChatService, request: ChatRequest, http: Request) -> Response:
    """Return the answer to a request, whole or as a stream, or say why there is none."""
    name = service.model_name
    if request.model != name:
        message = f"model '{request.model}' is not served here; use '{name}'"
        return JSONResponse(error_body(message, INVALID, "model_not_found"), 404)
    params, stops = request.params(), request.stops()
    if service.open >= service.limits.chats:
        return busy(service.limits)
    service.open += 1
    try:
        prompt = await service.encode(request)
    except BaseException:
        service.open -= 1
        raise
    reply = ChatReply(name, len(prompt))
    pieces = service.answer(prompt, params, stops)
    if not request.stream:
        return await _collect(pieces, reply, http)
    # The first piece is awaited here, so that a prompt that cannot be run is still a 4xx.
    first = await anext(pieces)
    usage = bool(request.stream_options and request.stream_options.include_usage)
    return StreamingResponse(_events(first, pieces, reply, usage), media_type="text/event-stream")


async def _collect(pieces: AsyncIterator[Piece], reply: ChatReply, http: Request) -> Response:
    """Return the whole answer, unless the client has gone."""
    text = ""
    async for piece in pieces:
        text += piece.text
        if piece.finish:
            return JSONResponse(reply.whole(text, piece.finish, piece.tokens))
        if piece.tokens % DISCONNECT_EVERY == 0 and await http.is_disconnected():
            break
    await pieces.aclose()
    return Response(status_code=499)


async def _events(
    first: Piece, pieces: AsyncIterator[Piece], reply: ChatReply, usage: bool
) -> AsyncIterator[str]:
    """Yield the server-sent events of an answer."""
    yield _event(reply.chunk({"role": "assistant", "content": ""}))
    piece: Piece | None = first
    try:
        while piece:
            if piece.text:
                yield _event(reply.chunk({"content": piece.text}))
            if piece.finish:
                yield _event(reply.chunk({}, piece.finish))
                if usage:
                    yield _event(reply.usage_chunk(piece.tokens))
                yield "data: [DONE]\n\n"
                return
            piece = await anext(pieces)
    except Exception as error:  # noqa: BLE001 - the status is sent: the stream must tell
        yield _event(error_body(f"{type(error).__name__}: {error}", "server_error"))
    finally:
        await pieces.aclose()


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        return JSONResponse(error_body(first_fault(error.errors()), INVALID), 400)

    @app.exception_handler(ButlerError)
    async def refused(_: Request, error: ButlerError) -> Response:
        if isinstance(error, TooSlow):
            return JSONResponse(error_body(str(error), "server_error", "timeout"), 504)
        code = "context_length_exceeded" if isinstance(error, PromptTooLong) else None
        return JSONResponse(error_body(str(error), INVALID, code), 400)

    @app.exception_handler(HTTPException)
    async def http_error(_: Request, error: HTTPException) -> Response:
        body = error_body(str(error.detail), INVALID)
        return JSONResponse(body, error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> Response:
        message = f"{type(error).__name__}: {error}"
        return JSONResponse(error_body(message, "server_error"), 500)
