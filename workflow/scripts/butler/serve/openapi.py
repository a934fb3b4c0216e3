"""What /openapi.json says: every answer of the server, the refusals too."""

from typing import Any, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from butler.serve.front import OPEN, ServerLimits


class ErrorDetail(BaseModel):
    """What was wrong, in a sentence; `code` names it for programs where OpenAI has a name."""

    message: str
    type: Literal["invalid_request_error", "server_error"]
    param: None
    code: str | None


class Error(BaseModel):
    """An error in OpenAI's form."""

    error: ErrorDetail


class Health(BaseModel):
    """Whether answers are made, and how many run or wait."""

    status: str
    answers: int | None = None


class ModelCard(BaseModel):
    """The model served."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(BaseModel):
    """The one model served."""

    object: Literal["list"]
    data: list[ModelCard]


class Usage(BaseModel):
    """Tokens of the prompts and of the answers."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class AssistantMessage(BaseModel):
    """What the model said."""

    role: Literal["assistant"]
    content: str


class TokenLogprob(BaseModel):
    """A token; `bytes` is null for a part of a character."""

    token: str
    bytes: list[int] | None
    logprob: float


class ContentLogprob(TokenLogprob):
    """A token of the answer, and the likeliest in its place."""

    top_logprobs: list[TokenLogprob]


class ChatLogprobs(BaseModel):
    """The tokens of an answer of a chat."""

    content: list[ContentLogprob]
    refusal: None


class ChatChoice(BaseModel):
    """An answer of a chat."""

    index: int
    message: AssistantMessage
    logprobs: ChatLogprobs | None
    finish_reason: Literal["stop", "length"]


class ChatCompletion(BaseModel):
    """The whole answers of a chat."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


class TextLogprobs(BaseModel):
    """The tokens of a text, and the likeliest in the place of each."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class TextChoice(BaseModel):
    """A text that goes on from a prompt."""

    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: Literal["stop", "length"]


class TextCompletion(BaseModel):
    """The whole texts."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage


_REFUSALS = {
    400: "the body is no JSON, a value is wrong, or the prompt leaves no room for an answer",
    401: "the API key is missing or wrong",
    404: "another model is asked for than the one served",
    408: "the body did not come in time",
    413: "the body is too large",
    429: "as many answers run or wait as the server takes; ask again in a moment",
    500: "the engine failed",
    503: "too much is asked at once; ask again in a moment",
    504: "the answer was not finished in time",
}


def _refusals(*codes: int) -> dict[int | str, dict[str, Any]]:
    return {code: {"model": Error, "description": _REFUSALS[code]} for code in codes}


_BODY = (408, 413, 503)  # whatever is asked may come with a body
# Of one event of the stream: data is a chunk as JSON, or [DONE].
_EVENT = {"type": "object", "properties": {"data": {"type": "string"}}, "required": ["data"]}
_STREAM = {"text/event-stream": {"schema": _EVENT}}


def _answers(whole: type[BaseModel], chunks: str) -> dict[str, Any]:
    told = f"the answers, or with `stream` {chunks} events"
    found = {"model": whole, "content": _STREAM, "description": told}
    refusals = _refusals(400, 401, 404, 429, 500, 504, *_BODY)
    return {"response_model": None, "responses": {200: found, **refusals}}


CHAT = _answers(ChatCompletion, "chat.completion.chunk")
COMPLETIONS = _answers(TextCompletion, "text_completion")
MODELS: dict[str, Any] = {
    "response_model": None,
    "responses": {200: {"model": ModelList}, **_refusals(401, *_BODY)},
}
MODEL: dict[str, Any] = {
    "response_model": None,
    "responses": {200: {"model": ModelCard}, **_refusals(401, 404, *_BODY)},
}
HEALTH: dict[str, Any] = {
    "response_model": None,
    "responses": {
        200: {"model": Health},
        **_refusals(408, 413),
        503: {"model": Health | Error, "description": "no answers are made"},
    },
}
METRICS: dict[str, Any] = {
    "response_model": None,
    "responses": {
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "counts"},
        **_refusals(401, *_BODY),
    },
}


def described(app: FastAPI, limits: ServerLimits) -> dict[str, Any]:
    """Return the description: without FastAPI's 422, which is a 400 here, and with the key."""
    if app.openapi_schema:
        return app.openapi_schema
    found = get_openapi(
        title=app.title, version=app.version, routes=app.routes, description=__doc__
    )
    for path, operations in found["paths"].items():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            if limits.api_key and path not in OPEN:
                operation["security"] = [{"key": []}]
    schemas = found["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    if limits.api_key:
        found["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    app.openapi_schema = found
    return found
