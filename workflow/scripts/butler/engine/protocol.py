"""The part of OpenAI's chat API that the server speaks."""

import time
import uuid
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from butler.engine.sampling import SamplingParams
from butler.errors import ButlerError

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


class Part(BaseModel):
    """A text part of a message."""

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """One message of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str | list[Part]

    def plain(self) -> dict[str, str]:
        """Return role and content as the chat template wants them."""
        parts = self.content
        text = parts if isinstance(parts, str) else "".join(part.text for part in parts)
        return {"role": self.role, "content": text}


class StreamOptions(BaseModel):
    """Options of a streamed answer."""

    include_usage: bool = False


class ChatRequest(BaseModel):
    """Body of POST /v1/chat/completions; defaults are those of LMDeploy 0.7.3's server."""

    model_config = ConfigDict(extra="forbid")

    model: str
    messages: list[Message] = Field(min_length=1)
    temperature: float | None = 0.7
    top_p: float | None = 1.0
    top_k: int | None = 40
    repetition_penalty: float | None = 1.0
    seed: int | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    user: str | None = None
    n: Any = None
    logprobs: Any = None
    top_logprobs: Any = None
    presence_penalty: Any = None
    frequency_penalty: Any = None
    min_p: Any = None
    logit_bias: Any = None
    tools: Any = None
    tool_choice: Any = None
    response_format: Any = None
    ignore_eos: Any = None
    skip_special_tokens: Any = None

    def params(self) -> SamplingParams:
        """Return how to sample.

        Raises:
            ButlerError: for a value out of range or a feature this server has not.
        """
        for name, neutral in NEUTRAL.items():
            if getattr(self, name) not in neutral:
                raise ButlerError(f"{name} is {getattr(self, name)!r}, which this server cannot do")
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


class Reply:
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
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}
