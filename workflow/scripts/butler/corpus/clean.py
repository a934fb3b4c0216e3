"""Many raw records cleaned at once: what recipe.parse does, behind the gates.

A record that the gates pass is taken as it stands; of the others only the lines that need it go
through the rules. Contact details are left in: a record with one goes through recipe.parse
itself, once the whole chunk has been searched (chunk.py).
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import compress
from typing import Any

import numpy as np

from butler.corpus.gates import (
    CHANGED,
    CHAR,
    CLEAN,
    END,
    INGREDIENT_START,
    RULES,
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
HEADING_ENDS: Array = np.array([ord(end) for end in _HEADING_ENDS], np.uint32)
_LEFT = CLEAN | RULES


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

    def without(self, rows: Container[int]) -> "Columns":
        """The columns without these rows."""
        staying = [row not in rows for row in self.rows]
        return Columns(*(list(compress(column, staying)) for column in vars(self).values()))


def clean_records(records: Sequence[Any]) -> tuple[Columns, dict[int, Rejected]]:
    """Clean decoded records: those that are usable so far, and why the others are not."""
    raw, rejected = _typed(records)
    if not raw.rows:
        return raw, rejected
    names = _Sections(raw.names, END)
    ingredients = _Sections(raw.ingredients, INGREDIENT_START)
    steps = _Sections(raw.steps, STEP_START)
    touched = names.needy | ingredients.touched | steps.touched
    for place in np.flatnonzero(touched).tolist():
        try:
            if names.needy[place]:
                raw.names[place] = scrub_name(raw.names[place])
            if ingredients.touched[place]:
                text, lines = raw.ingredients[place], ingredients.take(place)
                raw.ingredients[place] = _ingredients(text, *lines)
            if steps.touched[place]:
                raw.steps[place] = _steps(raw.steps[place], *steps.take(place))
        except Rejected as why:
            rejected[raw.rows[place]] = why.bare()
    raw.dishes = list(map(_dish, raw.dishes))
    return (raw.without(rejected) if rejected else raw), rejected


class _Sections:
    """The lines of each record's section, respelt where need be, and what they still need.

    `needy` says of each section whether any line needs something, `touched` also whether it could
    be of headings alone.
    """

    def __init__(self, texts: list[str], start: int) -> None:
        joined = "\n".join(texts) + "\n"
        lines = Lines(joined)
        needs = lines.needs(start)
        self._lines = joined.split("\n")
        if start != END:
            self._respell(needs, (lines.some & CHAR) != 0, start)
        self._needs = needs.tobytes()
        counts = np.fromiter((text.count("\n") for text in texts), np.int64, len(texts)) + 1
        self._ends = np.cumsum(counts)
        self._begins = self._ends - counts
        self.needy: Array = np.bitwise_or.reduceat(needs, self._begins) != 0
        last = lines.codes[lines.ends[self._ends - 1] - 1]
        self.touched: Array = self.needy | np.isin(last, HEADING_ENDS)

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

    def take(self, record: int) -> tuple[list[str], bytes]:
        """A record's lines and one byte for each; b"" where no line needs anything."""
        if not self.needy[record]:
            return [], b""
        begin, end = int(self._begins[record]), int(self._ends[record])
        return self._lines[begin:end], self._needs[begin:end]


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
            if need & _LEFT:
                kept += _ingredient(line)
            else:
                kept.append(line)
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
            if not need & _LEFT and (not kept or kept[-1] != line):
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
