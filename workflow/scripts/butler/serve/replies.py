"""What the server says, in OpenAI's form: answers, whole and in pieces, and errors."""

import time
import uuid
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from butler.reference.sampling import Likelihood

MAX_MESSAGE = 500  # characters of an error
LEAST_LOGPROB = -9999.0  # of a token without any chance, as OpenAI has it; JSON has no infinity


@dataclass(frozen=True)
class Told:
    """A token of an answer, and how likely it was."""

    token: int
    likelihood: Likelihood


@dataclass(frozen=True)
class Piece:
    """What one new token adds to the answer `index`: its text, which may be held back for a while.

    `finish` is set on the last one, and `told` where the request asks for logprobs.
    """

    index: int
    text: str
    finish: str | None
    told: Told | None


@dataclass
class Answer:
    """An answer as far as it has come."""

    text: str = ""
    finish: str | None = None
    told: list[Told] = field(default_factory=list)

    def add(self, piece: Piece) -> None:
        """Take the next piece."""
        self.text += piece.text
        self.finish = piece.finish
        self.told += [piece.told] if piece.told else []


class Reply(ABC):
    """Builds the JSON objects of the answers to one request.

    Args:
        model: name of the model served.
        prompt_tokens: of all prompts together.
        text_of: returns the text of a token.
    """

    kind: ClassVar[str]
    whole_object: ClassVar[str]
    chunk_object: ClassVar[str]

    def __init__(self, model: str, prompt_tokens: int, text_of: Callable[[int], str]) -> None:
        self._head = {
            "id": f"{self.kind}-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": model,
        }
        self._prompt_tokens, self._text_of = prompt_tokens, text_of

    def whole(self, answers: Sequence[Answer], tokens: int) -> dict[str, Any]:
        """Return all answers; `tokens` are those generated, with the stop tokens."""
        choices = [
            self._choice(index, self._message(answer.text), answer.told, answer.finish)
            for index, answer in enumerate(answers)
        ]
        return self._object(self.whole_object, choices) | {"usage": self._usage(tokens)}

    def chunk(
        self, index: int, text: str | None, told: Sequence[Told] = (), finish: str | None = None
    ) -> dict[str, Any]:
        """Return a piece of a stream, without text at the end of an answer."""
        choice = self._choice(index, self._delta(text), told, finish)
        return self._object(self.chunk_object, [choice])

    def begin(self, index: int) -> list[dict[str, Any]]:
        """Return the chunks before the first piece of an answer."""
        return []

    def usage_chunk(self, tokens: int) -> dict[str, Any]:
        """Return the last chunk of a stream that was asked for its usage."""
        return self._object(self.chunk_object, []) | {"usage": self._usage(tokens)}

    def _object(self, name: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {**self._head, "object": name, "choices": choices}

    def _choice(
        self, index: int, content: dict[str, Any], told: Sequence[Told], finish: str | None
    ) -> dict[str, Any]:
        logprobs = self._logprobs(index, told) if told else None
        return {"index": index, **content, "logprobs": logprobs, "finish_reason": finish}

    def _usage(self, tokens: int) -> dict[str, int]:
        return {
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": tokens,
            "total_tokens": self._prompt_tokens + tokens,
        }

    @abstractmethod
    def _message(self, text: str) -> dict[str, Any]:
        """Return what of a choice says `text`."""

    @abstractmethod
    def _delta(self, text: str | None) -> dict[str, Any]:
        """Return what of a choice in a stream adds `text`."""

    @abstractmethod
    def _logprobs(self, index: int, told: Sequence[Told]) -> dict[str, Any]:
        """Return the likelihoods of the tokens that come next in the answer `index`."""


class ChatReply(Reply):
    """Answers of a chat."""

    kind, whole_object, chunk_object = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def begin(self, index: int) -> list[dict[str, Any]]:
        """Return the chunk that names the role."""
        content = {"delta": {"role": "assistant", "content": ""}}
        return [self._object(self.chunk_object, [self._choice(index, content, (), None)])]

    def _message(self, text: str) -> dict[str, Any]:
        return {"message": {"role": "assistant", "content": text}}

    def _delta(self, text: str | None) -> dict[str, Any]:
        return {"delta": {} if text is None else {"content": text}}

    def _logprobs(self, index: int, told: Sequence[Told]) -> dict[str, Any]:
        content = [
            self._entry(one.token, one.likelihood.own)
            | {"top_logprobs": [self._entry(*other) for other in one.likelihood.likeliest]}
            for one in told
        ]
        return {"content": content, "refusal": None}

    def _entry(self, token: int, value: float) -> dict[str, Any]:
        """Return a token with its bytes, unless it is a part of a character."""
        text = self._text_of(token)
        parts = None if "\ufffd" in text else list(text.encode())
        return {"token": text, "bytes": parts, "logprob": max(value, LEAST_LOGPROB)}


class CompletionReply(Reply):
    """Texts that go on from prompts."""

    kind, whole_object, chunk_object = "cmpl", "text_completion", "text_completion"

    def __init__(self, model: str, prompt_tokens: int, text_of: Callable[[int], str]) -> None:
        super().__init__(model, prompt_tokens, text_of)
        self._offsets: Counter[int] = Counter()  # letters of each answer's tokens so far

    def _message(self, text: str) -> dict[str, Any]:
        return {"text": text}

    def _delta(self, text: str | None) -> dict[str, Any]:
        return {"text": text or ""}

    def _logprobs(self, index: int, told: Sequence[Told]) -> dict[str, Any]:
        found: dict[str, list[Any]] = {
            "tokens": [],
            "token_logprobs": [],
            "top_logprobs": [],
            "text_offset": [],
        }
        for one in told:
            text = self._text_of(one.token)
            pairs = [*one.likelihood.likeliest, (one.token, one.likelihood.own)]
            # Parts of characters share one text: the likeliest has it.
            likeliest = {
                self._text_of(token): max(value, LEAST_LOGPROB) for token, value in pairs[::-1]
            }
            found["tokens"].append(text)
            found["token_logprobs"].append(max(one.likelihood.own, LEAST_LOGPROB))
            found["top_logprobs"].append(likeliest)
            found["text_offset"].append(self._offsets[index])
            self._offsets[index] += len(text)
        return found


def error_body(message: str, kind: str, code: str | None = None) -> dict[str, Any]:
    """Return an error in OpenAI's form."""
    message = printable(message, MAX_MESSAGE)
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def printable(text: str, length: int) -> str:
    """Return `text` as UTF-8 can carry it (JSON may hold half a character), and not too long."""
    cut = text if len(text) <= length else f"{text[:length]}…"
    return cut.encode("utf-8", "backslashreplace").decode()
