"""Many raw records cleaned at once: what recipe.parse does, behind the gates.

A record that the gates pass is taken as it stands; of the others only the lines that need it go
through the rules. Contact details are left in: a record with one goes through recipe.parse
itself, once the whole chunk has been searched (chunk.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from butler.corpus.gates import (
    CHANGED,
    CHAR,
    CLEAN,
    END,
    INGREDIENT_START,
    STEP_START,
    Array,
    Lines,
    may_be_placeholder,
)
from butler.corpus.recipe import (
    Rejected,
    clean_ingredients,
    clean_steps,
    has_glued_numbers,
    is_heading,
    is_placeholder,
    scrub_name,
    split_numbered,
    strip_number,
    text_field,
    texts_field,
)
from butler.corpus.text import BREAKS, clean_line, respell, split_lines, tidy

_CACHED_LINES = 1 << 16  # ingredients repeat: half of all lines are among the most frequent 65,536
_HEADING_ENDS = ":：】)）"


@dataclass
class Columns:
    """Clean records side by side; `rows` are their numbers among those given.

    `ingredients` and `steps` hold one text per record, its lines joined by line feeds.
    """

    rows: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    dishes: list[str] = field(default_factory=list)
    ingredients: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    keywords: list[list[str]] = field(default_factory=list)


def clean_records(records: Sequence[Any]) -> tuple[Columns, dict[int, Rejected]]:
    """Clean decoded records: those that are usable so far, and why the others are not."""
    raw, rejected = _typed(records)
    columns = Columns()
    if not raw.rows:
        return columns, rejected
    names = _Sections(raw.names, END)
    ingredients = _Sections(raw.ingredients, INGREDIENT_START)
    steps = _Sections(raw.steps, STEP_START)
    for place, row in enumerate(raw.rows):
        name = raw.names[place]
        (_, name_needs), first, second = names.take(), ingredients.take(), steps.take()
        try:
            if name_needs:
                name = scrub_name(name)
            first_text = _ingredients(raw.ingredients[place], *first)
            second_text = _steps(raw.steps[place], *second)
        except Rejected as why:
            rejected[row] = why.bare()
            continue
        columns.rows.append(row)
        columns.names.append(name)
        columns.dishes.append(_dish(raw.dishes[place]))
        columns.ingredients.append(first_text)
        columns.steps.append(second_text)
        columns.keywords.append(raw.keywords[place])
    return columns, rejected


class _Sections:
    """The lines of each record's section, respelt where need be, and what they still need."""

    def __init__(self, texts: list[str], start: int) -> None:
        joined = "\n".join(texts) + "\n"
        lines = Lines(joined)
        needs = lines.needs(start)
        self._lines = joined.split("\n")
        if start != END:
            self._respell(needs, (lines.some & CHAR) != 0, start)
        self._needs = needs.tobytes()
        self._counts = [text.count("\n") + 1 for text in texts]
        self._record = self._next = 0

    def _respell(self, needs: Array, respelt: Array, start: int) -> None:
        """Clean the lines that need it once; few need it again, for which the gate looks."""
        places = np.flatnonzero(needs & CLEAN)
        if not len(places):
            return
        cleaned = []
        for place, wrong in zip(places.tolist(), respelt[places].tolist(), strict=True):
            line = self._lines[place]
            if not wrong:
                line = tidy(line)
            elif not BREAKS.search(line):
                line = tidy(respell(line))
            self._lines[place] = line
            cleaned.append(line)
        needs[places] = Lines("\n".join(cleaned) + "\n").needs(start) | CHANGED

    def take(self) -> tuple[list[str], bytes]:
        """The next record's lines and one byte for each; b"" where no line needs anything."""
        begin = self._next
        self._next = end = begin + self._counts[self._record]
        self._record += 1
        needs = self._needs[begin:end]
        return (self._lines[begin:end], needs) if needs.strip(b"\0") else ([], b"")


def _typed(records: Sequence[Any]) -> tuple[Columns, dict[int, Rejected]]:
    """The fields in use as they stand, checked for their types in the order of recipe.parse."""
    raw, rejected = Columns(), {}
    for row, record in enumerate(records):
        try:
            if type(record) is not dict:
                found = type(record).__name__
                raise Rejected("wrong_type", f"the line is a JSON {found}, not an object")
            name = text_field(record, "name")
            dish = text_field(record, "dish")
            ingredients = texts_field(record, "recipeIngredient")
            steps = texts_field(record, "recipeInstructions")
            keywords = texts_field(record, "keywords")
        except Rejected as why:
            rejected[row] = why.bare()
            continue
        raw.rows.append(row)
        raw.names.append(" ".join(name.split()) if "\n" in name else name)
        raw.dishes.append(dish)
        raw.ingredients.append("\n".join(ingredients))
        raw.steps.append("\n".join(steps))
        raw.keywords.append(keywords)
    return raw, rejected


@lru_cache(_CACHED_LINES)
def _dish(raw: str) -> str:
    dish = clean_line(raw)
    return "" if dish == "Unknown" else dish


def _ingredients(text: str, lines: list[str], needs: bytes) -> str:
    if needs:
        kept: list[str] = []
        for line, need in zip(lines, needs, strict=True):
            kept += _ingredient(line) if need & ~CHANGED else (line,)
        text = "\n".join(kept)
    return _not_only_headings(text, "no_ingredients", len(needs))


@lru_cache(_CACHED_LINES)
def _ingredient(line: str) -> tuple[str, ...]:
    return tuple(clean_ingredients(split_lines(line)))


def _steps(text: str, lines: list[str], needs: bytes) -> str:
    if needs:
        kept: list[str] = []
        last = 0
        for line, need in zip(lines, needs, strict=True):
            if not need & ~CHANGED and kept[-1:] != [line]:
                kept.append(line)
            elif line:
                for clean in split_lines(line) if need & CLEAN else (line,):
                    last = _step(clean, last, kept)
        if has_glued_numbers(lines) or has_glued_numbers(kept):
            kept = clean_steps([clean for line in lines for clean in split_lines(line)])
        text = "\n".join(kept)
    return _not_only_headings(text, "no_steps", len(needs))


def _step(line: str, last: int, kept: list[str]) -> int:
    """Add what one clean line leaves to `kept`; return the number of the last numbered step."""
    for part in split_numbered(line):
        clean, last = strip_number(part, last)
        if not clean or (may_be_placeholder(clean) and is_placeholder(clean)):
            continue
        if kept[-1:] != [clean]:
            kept.append(clean)
    return last


def _not_only_headings(text: str, reason: str, given: int) -> str:
    if not text or (text[-1] in _HEADING_ENDS and all(map(is_heading, text.split("\n")))):
        raise Rejected(reason, f"no usable line among {max(given, 1)} given")
    return text
