"""What people read, in Chinese and in English: workflow/report/texts*.yaml hold both."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from butler.schemes import BASELINE, VARIANTS

LANGUAGES = ("zh", "en")
TEXTS = Path(__file__).resolve().parents[2] / "report"
_SEPARATORS = {"zh": "、", "en": ", "}
_HAN = "[\u3000-\u303f\u3400-\u9fff\uff00-\uffef]"
_EDGE = "\0"  # of a value, while it is filled in
_STRAY = re.compile(f"(?<={_HAN})(?: {_EDGE}|{_EDGE} {_EDGE}?)(?={_HAN})")


@dataclass(frozen=True)
class Phrase:
    """A text by its key, with the values that go into it.

    A value may be a phrase itself, a text by language, or a list of them; a list is joined as the
    language does it.
    """

    key: str
    values: Mapping[str, Any] = field(default_factory=dict)


def phrase(key: str, **values: Any) -> Phrase:
    """Return the phrase of that key with these values."""
    return Phrase(key, values)


@cache
def texts() -> dict[str, dict[str, str]]:
    """Return all texts: key to language to text."""
    found: dict[str, dict[str, str]] = {}
    for path in sorted(TEXTS.glob("texts*.yaml")):
        found |= yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def named(kind: str, name: str) -> Phrase | str:
    """Return the display name of something of that kind, or its own name where none is given."""
    key = f"{kind}.{name}"
    return Phrase(key) if key in texts() else name


def variant_label(name: str) -> Phrase | list[Mapping[str, str]]:
    """Return how a variant holds weights and KV cache, and which one is the baseline."""
    one = VARIANTS[name]
    held = [one.weights.label, one.kv.label]
    return phrase("variant.baseline", held=held) if name == BASELINE else held


def say(value: Any, language: str) -> str:
    """Return a phrase, a text by language, a list of them or a plain value as text.

    Raises:
        KeyError: if there is no such text or a value for it is missing; a fault of ours.
    """
    if isinstance(value, Phrase):
        filled = {name: _filling(one, language) for name, one in value.values.items()}
        told = texts()[value.key][language].format(**filled)
        # A text has spaces around a value, which a value in Han characters does not want.
        return _STRAY.sub("", told).replace(_EDGE, "")
    if isinstance(value, Mapping):
        return str(value[language])
    if isinstance(value, list | tuple):
        return _SEPARATORS[language].join(say(one, language) for one in value)
    return str(value)


def in_both(name: str, value: Any) -> dict[str, str]:
    """Return what `say` says in English by a name, and in Chinese by the name with `_zh`."""
    return {name: say(value, "en"), f"{name}_zh": say(value, "zh")}


def _filling(value: Any, language: str) -> Any:
    """Numbers stay numbers, so that the text says how to write them."""
    if isinstance(value, str | Phrase | Mapping | list | tuple):
        return f"{_EDGE}{say(value, language).replace(_EDGE, '␀')}{_EDGE}"
    return value
