"""What an adapter makes of one entry of a file: a raw recipe, or a ready question and answer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from butler.corpus.recipe import Rejected


@dataclass(frozen=True, slots=True)
class Pair:
    """A question and its answer, as somebody else wrote them."""

    question: str
    answer: str


@dataclass(frozen=True)
class Format:
    """How a kind of file is read.

    `kind` says what an entry is: a line of JSON, a row of a table, or a whole text file.
    `suffixes` are those of its files in a folder, before .gz or .zst. `convert` takes the decoded
    entry and returns a raw recipe (a mapping, checked later) or a Pair; None says that the entry
    is taken as it stands.
    """

    kind: str
    suffixes: tuple[str, ...]
    convert: Callable[[Any], Any] | None = None


def field_of(entry: Any, key: str) -> str:
    """The text under `key` of a JSON object.

    Raises:
        Rejected: wrong_type if the entry is no object, or holds no text there.
    """
    if not isinstance(entry, dict):
        raise Rejected("wrong_type", f"the entry is a JSON {type(entry).__name__}, not an object")
    value = entry.get(key)
    if not isinstance(value, str):
        found = "missing" if value is None else f"a {type(value).__name__}, not a text"
        raise Rejected("wrong_type", f"{key} is {found}")
    return value
