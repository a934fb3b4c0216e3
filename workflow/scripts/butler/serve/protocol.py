"""The part of OpenAI's chat API that the server speaks."""

import reprlib
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic_core import PydanticCustomError
from typing_extensions import TypeAliasType

from butler.errors import ButlerError
from butler.reference.sampling import MAX_PENALTY, MAX_TEMPERATURE, SEEDS, SamplingParams

MAX_STOPS = 16  # each costs a search at every token
MAX_MESSAGE = 500  # characters of an error
# Accepted only with the value that changes nothing, so that nothing is left out silently.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (None, 1),
    "logprobs": (None, False),
    "top_logprobs": (None, 0),
    "presence_penalty": (None, 0),
    "frequency_penalty": (None, 0),
    "min_p": (None, 0),
    "logit_bias": (None, {}),
    "tools": (None, []),
    "tool_choice": (None, "none", "auto"),
    "response_format": (None, {"type": "text"}),
    "ignore_eos": (None, False),
    "skip_special_tokens": (None, True),
}


NOTHING: tuple[Any, ...] = (None, [], {})


class Strict(BaseModel):
    """Takes a value of the type that is asked for, and none that could be made into it."""

    model_config = ConfigDict(strict=True)


def _refuse(unknown: Iterator[str]) -> None:
    """Refuse a body for the first unknown key."""
    for key in unknown:
        name = printable(str(key), 80)
        raise PydanticCustomError(
            "extra_forbidden", "{name}: Extra inputs are not permitted", {"name": name}
        )


def _whole(text: str) -> str:
    """Refuse half of a surrogate pair, which JSON can spell and no tokenizer can read."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise PydanticCustomError(
            "string_unicode", "Input holds half of a surrogate pair"
        ) from None
    return text


def _integral(value: Any) -> Any:
    """JSON has one kind of number: 8.0 is a whole one."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Text = Annotated[str, AfterValidator(_whole)]
Whole = Annotated[int, BeforeValidator(_integral)]


class Nested(Strict):
    """An object within the body.

    An unknown key may have a value that says nothing, as in an answer's own message that is sent
    back (`"tool_calls": null`); with any other it is refused.
    """

    model_config = ConfigDict(
        strict=True, json_schema_extra={"additionalProperties": {"enum": list(NOTHING)}}
    )

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: Any) -> Any:
        if isinstance(value, dict):
            _refuse(
                key for key in value if key not in cls.model_fields and value[key] not in NOTHING
            )
        return value


class Part(Nested):
    """A text part of a message."""

    type: Literal["text"]
    text: Text


# Whoever sends a thousand wrong parts hears of the first: errors cost memory, too.
Parts = TypeAliasType("Parts", Annotated[list[Part], FailFast(), Field(min_length=1)])
Stops = TypeAliasType("Stops", Annotated[list[Text], FailFast(), Field(max_length=MAX_STOPS)])


class Message(Nested):
    """One message of a chat."""

    role: Literal["system", "user", "assistant"]
    content: Text | Parts

    def plain(self) -> dict[str, str]:
        """Return role and content as the chat template wants them."""
        parts = self.content
        text = parts if isinstance(parts, str) else "".join(part.text for part in parts)
        return {"role": self.role, "content": text}


class StreamOptions(Nested):
    """Options of a streamed answer."""

    include_usage: bool = False


def _bounds(**limits: float) -> Any:
    """Tell bounds in the description alone: SamplingParams checks them, with its own sentence."""
    return Field(json_schema_extra=limits)


class _Neutral:
    """Describes a field of NEUTRAL; ChatRequest.params checks it, with its own sentence."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get_pydantic_json_schema__(
        self, _: Any, __: GetJsonSchemaHandler
    ) -> dict[str, list[Any]]:
        return {"enum": list(NEUTRAL[self._name])}


class ChatRequest(Strict):
    """Body of POST /v1/chat/completions; defaults are those of LMDeploy 0.7.3's server."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: Text
    messages: Annotated[list[Message], FailFast()] = Field(min_length=1)
    temperature: Annotated[float | None, _bounds(minimum=0, maximum=MAX_TEMPERATURE)] = 0.7
    top_p: Annotated[float | None, _bounds(exclusiveMinimum=0, maximum=1)] = 1.0
    top_k: Annotated[Whole | None, _bounds(minimum=0)] = 40
    repetition_penalty: Annotated[
        float | None, _bounds(minimum=1 / MAX_PENALTY, maximum=MAX_PENALTY)
    ] = 1.0
    seed: Annotated[Whole | None, _bounds(minimum=SEEDS.start, exclusiveMaximum=SEEDS.stop)] = None
    max_tokens: Annotated[Whole | None, _bounds(minimum=1)] = None
    max_completion_tokens: Annotated[Whole | None, _bounds(minimum=1)] = None
    stop: Text | Stops | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    user: Text | None = None
    n: Annotated[Any, _Neutral("n")] = None
    logprobs: Annotated[Any, _Neutral("logprobs")] = None
    top_logprobs: Annotated[Any, _Neutral("top_logprobs")] = None
    presence_penalty: Annotated[Any, _Neutral("presence_penalty")] = None
    frequency_penalty: Annotated[Any, _Neutral("frequency_penalty")] = None
    min_p: Annotated[Any, _Neutral("min_p")] = None
    logit_bias: Annotated[Any, _Neutral("logit_bias")] = None
    tools: Annotated[Any, _Neutral("tools")] = None
    tool_choice: Annotated[Any, _Neutral("tool_choice")] = None
    response_format: Annotated[Any, _Neutral("response_format")] = None
    ignore_eos: Annotated[Any, _Neutral("ignore_eos")] = None
    skip_special_tokens: Annotated[Any, _Neutral("skip_special_tokens")] = None

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: Any) -> Any:
        """Name the first unknown key alone: a body of nothing else has a hundred thousand."""
        if isinstance(value, dict):
            _refuse(key for key in value if key not in cls.model_fields)
        return value

    def params(self) -> SamplingParams:
        """Return how to sample.

        Raises:
            ButlerError: for a value out of range or a feature this server has not.
        """
        for name, neutral in NEUTRAL.items():
            value = getattr(self, name)
            if not any(_same(value, one) for one in neutral):
                found = reprlib.repr(value)
                raise ButlerError(f"{name} is {found}, which this server cannot do")
        for name in ("max_tokens", "max_completion_tokens"):
            wanted = getattr(self, name)
            if wanted is not None and wanted < 1:
                raise ButlerError(f"{name} is {wanted}; ask for at least 1")
        given = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "repetition_penalty": self.repetition_penalty,
            "seed": self.seed,
            "max_new_tokens": self.max_completion_tokens
            if self.max_completion_tokens is not None
            else self.max_tokens,
        }
        return SamplingParams(**{name: v for name, v in given.items() if v is not None})

    def stops(self) -> list[str]:
        """Return the stop strings."""
        return [self.stop] if isinstance(self.stop, str) else list(self.stop or [])


def _same(value: Any, other: Any) -> bool:
    """Whether two JSON values are equal; true and 1 are not."""
    return isinstance(value, bool) == isinstance(other, bool) and bool(value == other)


class ChatReply:
    """Builds the JSON objects of one answer."""

    def __init__(self, model: str, prompt_tokens: int) -> None:
        self._head = {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": model,
        }
        self._prompt_tokens = prompt_tokens

    def usage(self, tokens: int) -> dict[str, int]:
        """Return the token counts; `tokens` are those generated, with the stop token."""
        return {
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": tokens,
            "total_tokens": self._prompt_tokens + tokens,
        }

    def whole(self, text: str, finish: str, tokens: int) -> dict[str, Any]:
        """Return a chat.completion."""
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
        return {
            **self._head,
            "object": "chat.completion",
            "choices": [choice],
            "usage": self.usage(tokens),
        }

    def chunk(self, delta: dict[str, str], finish: str | None = None) -> dict[str, Any]:
        """Return a chat.completion.chunk."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {**self._head, "object": "chat.completion.chunk", "choices": [choice]}

    def usage_chunk(self, tokens: int) -> dict[str, Any]:
        """Return the last chunk of a stream that was asked for its usage."""
        return {
            **self._head,
            "object": "chat.completion.chunk",
            "choices": [],
            "usage": self.usage(tokens),
        }


def error_body(message: str, kind: str, code: str | None = None) -> dict[str, Any]:
    """Return an error in OpenAI's form."""
    message = printable(message, MAX_MESSAGE)
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def first_fault(faults: Sequence[Mapping[str, Any]]) -> str:
    """Return the first fault of a body in a sentence, under the keys that the client knows.

    A value that may be of two kinds has a fault for each: told is that of the kind it was meant to
    be, which is not its type, or lies deeper.
    """
    fault = min(faults, key=lambda one: (one["type"].endswith("_type"), -len(one["loc"])))
    kinds = {"body", Parts.__name__, Stops.__name__}
    keys = [str(key) for key in fault["loc"] if key not in kinds and "[" not in str(key)]
    return f"{'.'.join(keys)}: {fault['msg']}" if keys else str(fault["msg"])


def printable(text: str, length: int) -> str:
    """Return `text` as UTF-8 can carry it (JSON may hold half a character), and not too long."""
    cut = text if len(text) <= length else f"{text[:length]}…"
    return cut.encode("utf-8", "backslashreplace").decode()
