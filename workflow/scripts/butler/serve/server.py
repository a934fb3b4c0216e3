"""The OpenAI-compatible HTTP server of the reference engine."""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from butler.chat_tokenizer import ChatTokenizer
from butler.errors import ButlerError
from butler.reference.batch import PromptTooLong
from butler.reference.generate import Engine
from butler.serve.address import OUR_SERVER
from butler.serve.front import INVALID, Front, ServerLimits, busy
from butler.serve.openapi import CHAT, COMPLETIONS, HEALTH, METRICS, MODEL, MODELS, described
from butler.serve.protocol import ChatRequest, CompletionRequest, first_fault
from butler.serve.replies import Answer, ChatReply, CompletionReply, Piece, Reply, Told, error_body
from butler.serve.service import Service, TooSlow

DISCONNECT_EVERY = 16


def create_app(
    engine: Engine,
    tokenizer: ChatTokenizer,
    model_name: str,
    limits: ServerLimits | None = None,
    allow_origins: Sequence[str] = (),
) -> FastAPI:
    """Return the application that serves `engine` as model `model_name`; pages of `allow_origins`
    may ask it from a browser, too."""
    service = Service(engine, tokenizer, model_name, limits or ServerLimits())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.scheduler.start()
        yield
        await asyncio.to_thread(service.close)

    app = FastAPI(title="Recipe Butler reference engine", lifespan=lifespan)
    _add_error_handlers(app)
    app.openapi = lambda: described(app, service.limits)  # type: ignore[method-assign]
    app.add_middleware(Front, limits=service.limits, metrics=service.metrics)
    if allow_origins:
        # Outermost: a browser asks without the key whether it may, and shows a page no refusal
        # that does not name it.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=allow_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
        )
    card = {"id": model_name, "object": "model", "created": 0, "owned_by": OUR_SERVER}

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
        return JSONResponse({"object": "list", "data": [card]})

    @app.get("/v1/models/{model:path}", **MODEL)
    async def model(model: str) -> Response:
        return JSONResponse(card) if model == model_name else _no_model(service, model)

    @app.post("/v1/chat/completions", **CHAT)
    async def chat(request: ChatRequest, http: Request) -> Response:
        return await _reply(service, request, http, ChatReply)

    @app.post("/v1/completions", **COMPLETIONS)
    async def completions(request: CompletionRequest, http: Request) -> Response:
        return await _reply(service, request, http, CompletionReply)

    return app


def _no_model(service: Service, asked: str) -> Response:
    message = f"model '{asked}' is not served here; use '{service.model_name}'"
    return JSONResponse(error_body(message, INVALID, "model_not_found"), 404)


async def _reply(
    service: Service,
    request: ChatRequest | CompletionRequest,
    http: Request,
    kind: type[Reply],
) -> Response:
    """Return the answers to a request, whole or as a stream, or say why there are none."""
    if request.model != service.model_name:
        return _no_model(service, request.model)
    params = request.params()
    count, most = request.prompt_count() * len(params), service.limits.chats
    if count > most:
        raise ButlerError(f"{count} answers are asked for at once; this server takes {most}")
    if service.open + count > most:
        return busy(service.limits)
    service.open += count
    try:
        prompts = await service.encode(request)
    except BaseException:
        service.open -= count
        raise
    reply = kind(service.model_name, sum(map(len, prompts)), service.tokenizer.text_of)
    asked = [(prompt, one) for prompt in prompts for one in params]
    pieces = service.answers(asked, request.stops())
    if not request.stream:
        return await _collect(pieces, count, reply, http)
    # The first piece is awaited here, so that a prompt that cannot be run is still a 4xx.
    first = await anext(pieces)
    events = _events(first, pieces, count, reply, request.wants_usage())
    return StreamingResponse(events, media_type="text/event-stream")


async def _collect(
    pieces: AsyncIterator[Piece], count: int, reply: Reply, http: Request
) -> Response:
    """Return the whole answers, unless the client has gone."""
    answers, tokens = [Answer() for _ in range(count)], 0
    async for piece in pieces:
        answers[piece.index].add(piece)
        tokens += 1
        if tokens % DISCONNECT_EVERY == 0 and await http.is_disconnected():
            await pieces.aclose()
            return Response(status_code=499)
    return JSONResponse(reply.whole(answers, tokens))


async def _events(
    first: Piece, pieces: AsyncIterator[Piece], count: int, reply: Reply, usage: bool
) -> AsyncIterator[str]:
    """Yield the server-sent events of the answers."""
    told: defaultdict[int, list[Told]] = defaultdict(list)  # of tokens whose text is held back
    tokens = 0
    piece: Piece | None = first
    try:
        for index in range(count):
            for chunk in reply.begin(index):
                yield _event(chunk)
        while piece:
            tokens += 1
            told[piece.index] += [piece.told] if piece.told else []
            if piece.text:
                yield _event(reply.chunk(piece.index, piece.text, told.pop(piece.index, ())))
            if piece.finish:
                rest = told.pop(piece.index, ())
                yield _event(reply.chunk(piece.index, None, rest, piece.finish))
            piece = await anext(pieces, None)
        if usage:
            yield _event(reply.usage_chunk(tokens))
        yield "data: [DONE]\n\n"
    except Exception as error:  # noqa: BLE001 - the status is sent: the stream must tell
        yield _event(error_body(f"{type(error).__name__}: {error}", "server_error"))
    finally:
        await pieces.aclose()


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def invalid(http: Request, error: RequestValidationError) -> Response:
        sent_as = http.headers.get("Content-Type", "nothing")
        message = first_fault(error.errors())
        if "json" not in sent_as:  # as curl sends it by itself: it was not even read as JSON
            message = f"the body is {sent_as}; add the header Content-Type: application/json"
        return JSONResponse(error_body(message, INVALID), 400)

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
