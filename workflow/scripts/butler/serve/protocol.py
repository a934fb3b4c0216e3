"""What OpenAI's API may be asked here: the bodies of requests, checked strictly."""

import math
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    model_validator,
)
from pydantic_core import PydanticCustomError
from typing_extensions import TypeAliasType

from butler.chat_tokenizer import ChatTokenizer
from butler.errors import ButlerError
from butler.reference.sampling import (
    MAX_ADDED_PENALTY,
    MAX_ALTERNATIVES,
    MAX_PENALTY,
    MAX_TEMPERATURE,
    SEEDS,
    SamplingParams,
)
from butler.serve.replies import printable

MAX_STOPS = 16  # each costs a search at every token
MAX_CHOICES = 128  # as OpenAI has it
MAX_PROMPTS = 16  # of one request
MAX_COMPLETION_ALTERNATIVES = 5  # as OpenAI has it
COMPLETION_TOKENS = 16  # of a completion that does not say, as OpenAI has it
# What says nothing, under whatever name, as in an answer's own message that is sent back
# (`"tool_calls": null`); with any other value an unknown name is refused.
NOTHING: tuple[Any, ...] = (None, [], {})


class Strict(BaseModel):
    """Takes a value of the type that is asked for, and none that could be made into it."""

    model_config = ConfigDict(strict=True)


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


def _describe(schema: dict[str, Any], model: type["Known"]) -> None:
    """Tell in the description what a body takes beside its fields."""
    schema["additionalProperties"] = {"enum": list(NOTHING)}
    for name, values in model.neutral.items():
        schema["properties"][name] = {"enum": [*NOTHING, *values]}


class Known(Strict):
    """An object whose keys are all known, or say nothing.

    Those in `neutral` are taken only with a value that changes nothing, so that nothing is left
    out silently.
    """

    model_config = ConfigDict(strict=True, json_schema_extra=_describe)
    neutral: ClassVar[Mapping[str, tuple[Any, ...]]] = {}

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: Any) -> Any:
        """Name the first fault alone: a body of nothing else has a hundred thousand."""
        for key, found in value.items() if isinstance(value, dict) else ():
            if key in cls.model_fields or found in NOTHING:
                continue
            name = printable(str(key), 80)
            if key not in cls.neutral:
                raise PydanticCustomError(
                    "extra_forbidden", "{name}: Extra inputs are not permitted", {"name": name}
                )
            if not any(_same(found, one) for one in cls.neutral[key]):
                raise PydanticCustomError(
                    "not_done",
                    "{name} is {found}, which this server cannot do",
                    {"name": name, "found": printable(reprlib.repr(found), 80)},
                )
        return value


def _same(value: Any, other: Any) -> bool:
    """Whether two JSON values are equal; true and 1 are not."""
    return isinstance(value, bool) == isinstance(other, bool) and bool(value == other)


class Part(Known):
    """A text part of a message."""

    type: Literal["text"]
    text: Text


# Whoever sends a thousand wrong parts hears of the first: errors cost memory, too.
Parts = TypeAliasType("Parts", Annotated[list[Part], FailFast(), Field(min_length=1)])
Stops = TypeAliasType("Stops", Annotated[list[Text], FailFast(), Field(max_length=MAX_STOPS)])
Prompt = TypeAliasType("Prompt", Annotated[str, Field(min_length=1), AfterValidator(_whole)])
Prompts = TypeAliasType(
    "Prompts",
    Annotated[list[Prompt], FailFast(), Field(min_length=1, max_length=MAX_PROMPTS)],
)


class Message(Known):
    """One message of a chat."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | Parts

    def plain(self) -> dict[str, str]:
        """Return role and content as the chat template wants them.

        OpenAI's newer name for the system's role is developer; templates know the older one.
        """
        parts = self.content
        text = parts if isinstance(parts, str) else "".join(part.text for part in parts)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class StreamOptions(Known):
    """Options of a streamed answer."""

    neutral = {"include_obfuscation": (False,)}
    include_usage: bool = False


def _bounds(**limits: float) -> Any:
    """Tell bounds in the description alone: SamplingParams checks them, with its own sentence."""
    return Field(json_schema_extra=limits)


Added = Annotated[float | None, _bounds(minimum=-MAX_ADDED_PENALTY, maximum=MAX_ADDED_PENALTY)]


class Request(Known):
    """What chats and completions have in common; defaults are those of LMDeploy 0.7.3's server."""

    neutral = {
        "min_p": (0,),
        "min_new_tokens": (0,),
        "logit_bias": (),
        "ignore_eos": (False,),
        "skip_special_tokens": (True,),
        "spaces_between_special_tokens": (True,),
    }
    # Fields that SamplingParams has under the same names, with checks of their bounds.
    sampling: ClassVar[tuple[str, ...]] = (
        "temperature",
        "top_p",
        "top_k",
        "repetition_penalty",
        "presence_penalty",
        "frequency_penalty",
        "seed",
    )
    model: Text
    temperature: Annotated[float | None, _bounds(minimum=0, maximum=MAX_TEMPERATURE)] = 0.7
    top_p: Annotated[float | None, _bounds(exclusiveMinimum=0, maximum=1)] = 1.0
    top_k: Annotated[Whole | None, _bounds(minimum=0)] = 40
    repetition_penalty: Annotated[
        float | None, _bounds(minimum=1 / MAX_PENALTY, maximum=MAX_PENALTY)
    ] = 1.0
    presence_penalty: Added = 0.0
    frequency_penalty: Added = 0.0
    seed: Annotated[Whole | None, _bounds(minimum=SEEDS.start, exclusiveMaximum=SEEDS.stop)] = None
    max_tokens: Annotated[Whole | None, _bounds(minimum=1)] = None
    n: Annotated[Whole | None, _bounds(minimum=1, maximum=MAX_CHOICES)] = None
    stop: Text | Stops | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    user: Text | None = None

    def stops(self) -> list[str]:
        """Return the stop strings."""
        return [self.stop] if isinstance(self.stop, str) else list(self.stop or [])

    def wants_usage(self) -> bool:
        """Whether a stream is to end with the token counts."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def _value(self, name: str) -> Any:
        """Return the value of a field; null is its default, as at OpenAI."""
        value = getattr(self, name)
        return type(self).model_fields[name].default if value is None else value

    def _params(self, max_tokens: int | None, alternatives: int | None) -> list[SamplingParams]:
        """Return how to sample each of the `n` answers to a prompt.

        The seed is the first answer's, and each other has the next: of one seed all would be the
        same.

        Raises:
            ButlerError: for a value out of range.
        """
        _within("n", self.n, 1, MAX_CHOICES)
        fields = {name: self._value(name) for name in self.sampling}
        params = SamplingParams(max_new_tokens=max_tokens, alternatives=alternatives, **fields)
        return [replace(params, seed=_next(params.seed, i)) for i in range(self.n or 1)]


def _describe_chat(schema: dict[str, Any], model: type[Known]) -> None:
    """Tell as well that top_logprobs needs logprobs."""
    _describe(schema, model)
    schema["if"] = {
        "properties": {"top_logprobs": {"type": "integer", "minimum": 1}},
        "required": ["top_logprobs"],
    }
    schema["then"] = {"properties": {"logprobs": {"const": True}}, "required": ["logprobs"]}


class ChatRequest(Request):
    """Body of POST /v1/chat/completions."""

    model_config = ConfigDict(json_schema_extra=_describe_chat)
    neutral = Request.neutral | {
        "tools": (),
        "tool_choice": ("none", "auto"),
        "response_format": ({"type": "text"},),
        "modalities": (["text"],),
        "store": (False,),
    }
    messages: Annotated[list[Message], FailFast()] = Field(min_length=1)
    max_completion_tokens: Annotated[Whole | None, _bounds(minimum=1)] = None
    logprobs: bool | None = None
    top_logprobs: Annotated[Whole | None, _bounds(minimum=0, maximum=MAX_ALTERNATIVES)] = None
    # Nothing here follows from them, as nothing of an answer does at OpenAI.
    metadata: dict[str, str] | None = None
    service_tier: Text | None = None
    parallel_tool_calls: bool | None = None
    prompt_cache_key: Text | None = None
    safety_identifier: Text | None = None

    def prompt_count(self) -> int:
        """Return how many prompts there are."""
        return 1

    def prompts(self, tokenizer: ChatTokenizer) -> list[list[int]]:
        """Return the one prompt's token ids."""
        return [tokenizer.encode_chat([message.plain() for message in self.messages])]

    def params(self) -> list[SamplingParams]:
        """Return how to sample each answer.

        Raises:
            ButlerError: for a value out of range.
        """
        _within("top_logprobs", self.top_logprobs, 0, MAX_ALTERNATIVES)
        if self.top_logprobs and not self.logprobs:
            raise ButlerError(f"top_logprobs is {self.top_logprobs}; that needs logprobs: true")
        _within("max_tokens", self.max_tokens, 1)
        most = _within("max_completion_tokens", self.max_completion_tokens, 1)
        return self._params(
            self.max_tokens if most is None else most,
            self.top_logprobs or 0 if self.logprobs else None,
        )


class CompletionRequest(Request):
    """Body of POST /v1/completions: texts to go on with as they stand, without chat template."""

    neutral = Request.neutral | {"echo": (False,), "best_of": (1,), "suffix": ("",)}
    prompt: Prompt | Prompts
    logprobs: Annotated[Whole | None, _bounds(minimum=0, maximum=MAX_COMPLETION_ALTERNATIVES)] = (
        None
    )

    def prompt_count(self) -> int:
        """Return how many prompts there are."""
        return 1 if isinstance(self.prompt, str) else len(self.prompt)

    def prompts(self, tokenizer: ChatTokenizer) -> list[list[int]]:
        """Return the token ids of each prompt."""
        texts = [self.prompt] if isinstance(self.prompt, str) else self.prompt
        return [tokenizer.encode_prompt(text) for text in texts]

    def params(self) -> list[SamplingParams]:
        """Return how to sample each answer to a prompt.

        Raises:
            ButlerError: for a value out of range.
        """
        _within("logprobs", self.logprobs, 0, MAX_COMPLETION_ALTERNATIVES)
        most = _within("max_tokens", self.max_tokens, 1)
        return self._params(COMPLETION_TOKENS if most is None else most, self.logprobs)


def _within(name: str, value: int | None, least: int, most: float = math.inf) -> int | None:
    """Return `value`; raise ButlerError if it is out of bounds."""
    if value is None or least <= value <= most:
        return value
    wanted = f"{least} or more" if most == math.inf else f"in {least}..{most}"
    raise ButlerError(f"{name} is {reprlib.repr(value)}; it must be {wanted}")


def _next(seed: int | None, steps: int) -> int | None:
    """Return the seed that comes `steps` after; the first comes after the last."""
    if seed is None:
        return None
    return (seed - SEEDS.start + steps) % (SEEDS.stop - SEEDS.start) + SEEDS.start


def first_fault(faults: Sequence[Mapping[str, Any]]) -> str:
    """Return the first fault of a body in a sentence, under the keys that the client knows.

    A value that may be of two kinds has a fault for each: told is that of the kind it was meant to
    be, which is not its type, or lies deeper.
    """
    fault = min(faults, key=lambda one: (one["type"].endswith("_type"), -len(one["loc"])))
    kinds = {"body", *(kind.__name__ for kind in (Parts, Stops, Prompt, Prompts))}
    keys = [str(key) for key in fault["loc"] if key not in kinds and "[" not in str(key)]
    return f"{'.'.join(keys)}: {fault['msg']}" if keys else str(fault["msg"])
