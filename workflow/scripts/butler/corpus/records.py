"""What goes through the steps: a recipe, or a ready question and answer; and why one goes out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class Rejected(Exception):
    """A record that cannot be used: `reason` is a slug, `detail` says what was found.

    A step returns it; what reads deep inside a record raises it.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)  # what unpickling makes it of in another process
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


@dataclass(slots=True)
class Recipe:
    """A recipe on its way; ingredients, steps and keywords are lines of text.

    `dish` is "" where the corpus does not know it; the author is never read. `told` holds the steps
    before talk was taken out, `talk` counts the characters that it had; `story` says that they may
    tell of one meal, `cut` that something was taken out of the steps.
    """

    name: str
    dish: str
    ingredients: str
    steps: str
    keywords: str
    told: str = ""
    talk: int = 0
    story: bool = False
    cut: bool = False


@dataclass(slots=True)
class Pair:
    """A question and its answer, as somebody else wrote them."""

    question: str
    answer: str


def read_recipe(raw: Any) -> Recipe:
    """The fields in use of a decoded JSON value.

    Raises:
        Rejected: wrong_type where one of them has another type.
    """
    if not isinstance(raw, Mapping):
        raise Rejected("wrong_type", f"the line is a JSON {type(raw).__name__}, not an object")
    return Recipe(
        _text(raw, "name"),
        _text(raw, "dish"),
        _lines(raw, "recipeIngredient"),
        _lines(raw, "recipeInstructions"),
        _lines(raw, "keywords"),
    )


def _text(raw: Mapping[str, Any], key: str) -> str:
    return _value(raw, key, str, "text") or ""


def _value(raw: Mapping[str, Any], key: str, kind: type, called: str) -> Any:
    """Return what stands under a key, None if it is null or not there."""
    value = raw.get(key)
    if value is not None and not isinstance(value, kind):
        raise Rejected("wrong_type", f"{key} is a {type(value).__name__}, not a {called}")
    return value


def _lines(raw: Mapping[str, Any], key: str) -> str:
    value = _value(raw, key, list, "list") or []
    try:
        return "\n".join(value)
    except TypeError:
        wrong = next(item for item in value if not isinstance(item, str))
        raise Rejected(
            "wrong_type", f"{key} holds a {type(wrong).__name__}, not only texts"
        ) from None
