"""How a kind of file is read, and what its entries become."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from butler.corpus.records import Pair, Recipe, Rejected


@dataclass(frozen=True)
class Format:
    """How a kind of file is read.

    `kind` says what an entry is: a line of JSON, a row of a table, or a whole text file.
    `suffixes` are those of its files in a folder, before .gz or .zst. `convert` makes a Recipe or
    a Pair of the decoded entry, and raises Rejected where there is none; `recipes` tells which.
    """

    kind: str
    suffixes: tuple[str, ...]
    convert: Callable[[Any], Recipe | Pair]
    recipes: bool = False


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
