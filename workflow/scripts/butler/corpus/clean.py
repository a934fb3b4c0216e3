"""Many raw records cleaned at once: what recipe.parse does, behind the gates.

A record that the gates pass is taken as it stands; of the others only the lines that need it go
through the rules. Contact details are left in: a record with one goes through recipe.parse
itself, once the whole chunk has been searched (chunk.py).
"""

import re
from collections.abc import Callable, Sequence
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
    RULES,
    STEP_START,
    Array,
    Lines,
    may_be_placeholder,
)
from butler.corpus.recipe import (
    Recipe,
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
from butler.corpus.text import BREAKS, clean_line, respell_lines, split_lines, tidy_lines

_CACHED_LINES = 1 << 16  # ingredients repeat: half of all lines are among the most frequent 65,536
_HEADING_ENDS = ":：】)）"
HEADING_ENDS: Array = np.array([ord(end) for end in _HEADING_ENDS], np.uint32)
_LEFT = CLEAN | RULES
_SETTLED = bytes((0, CHANGED))
_HAN_ALONE = re.compile("[\u4e00-\u9ffc]*")  # clean, as the gates tell


@dataclass
class Columns:
    """Clean records side by side; `rows` are their numbers among those given.

    `ingredients`, `steps` and `keywords` hold one text per record, its lines joined by line feeds.
    """

    rows: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    dishes: list[str] = field(default_factory=list)
    ingredients: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    keywords: list[str] = field(default_factory=list)

    def only(self, places: Sequence[int]) -> "Columns":
        """The columns at these places alone."""
        if len(places) == len(self.rows):
            return self
        return Columns(*([column[place] for place in places] for column in vars(self).values()))

    def recipe(self, place: int) -> Recipe:
        """One record, without its keywords."""
        ingredients, steps = self.ingredients[place].split("\n"), self.steps[place].split("\n")
        return Recipe(self.names[place], self.dishes[place], tuple(ingredients), tuple(steps), ())


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
    staying = [place for place, row in enumerate(raw.rows) if row not in rejected]
    return raw.only(staying), rejected


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
        self._begins = lines.firsts(texts)
        self._ends = np.append(self._begins[1:], len(lines.starts))
        self.needy: Array = np.bitwise_or.reduceat(needs, self._begins) != 0
        headings = np.isin(lines.codes[lines.ends - 1], HEADING_ENDS)
        self.touched: Array = self.needy | np.logical_and.reduceat(headings, self._begins)

    def _respell(self, needs: Array, respelt: Array, start: int) -> None:
        """Clean the lines that need it once; few need it again, for which the gate looks."""
        places = np.flatnonzero(needs & CLEAN)
        if not len(places):
            return
        wrong = places[respelt[places]]
        for place, line in zip(wrong.tolist(), self._at(wrong, respell_lines), strict=True):
            self._lines[place] = line
        cleaned = self._at(places, tidy_lines)
        for place, line in zip(places.tolist(), cleaned, strict=True):
            self._lines[place] = line
        needs[places] = Lines("\n".join(cleaned) + "\n").needs(start) | CHANGED
        if start == STEP_START:
            for place, line in zip(places.tolist(), cleaned, strict=True):
                if line in (self._lines[place - 1], self._lines[place + 1]):
                    needs[place] |= RULES

    def _at(self, places: Array, clean: Callable[[list[str]], list[str]]) -> list[str]:
        """The lines at these places, cleaned all at once; one with a break in it stays."""
        lines = [self._lines[place] for place in places.tolist()]
        if not BREAKS.search("".join(lines)):
            return clean(lines) if lines else []
        broken = [bool(BREAKS.search(line)) for line in lines]
        cleaned = iter(clean([line for line, cut in zip(lines, broken, strict=True) if not cut]))
        return [line if cut else next(cleaned) for line, cut in zip(lines, broken, strict=True)]

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
            name, dish, ingredients, steps, keywords = _whole(record) or _fields(record)
        except Rejected as why:
            rejected[row] = why.bare()
            continue
        raw.rows.append(row)
        raw.names.append(" ".join(name.split()) if "\n" in name else name)
        raw.dishes.append(dish)
        raw.ingredients.append(ingredients)
        raw.steps.append(steps)
        raw.keywords.append(keywords)
    return raw, rejected


_Fields = tuple[str, str, str, str, str]
_LISTS = [list] * 3


def _whole(record: Any) -> _Fields | None:
    """The fields of a record that has them all, the lists joined; None where a look is needed."""
    try:
        name, dish = record["name"], record["dish"]
        lists = record["recipeIngredient"], record["recipeInstructions"], record["keywords"]
        if type(name) is str is type(dish) and [*map(type, lists)] == _LISTS:
            return name, dish, "\n".join(lists[0]), "\n".join(lists[1]), "\n".join(lists[2])
    except (KeyError, TypeError):
        return None  # _fields says what is wrong
    return None


def _fields(record: Any) -> _Fields:
    """The fields of any record, the lists joined by line feeds.

    Raises:
        Rejected: wrong_type.
    """
    if type(record) is not dict:
        raise Rejected("wrong_type", f"the line is a JSON {type(record).__name__}, not an object")
    name, dish = text_field(record, "name"), text_field(record, "dish")
    keys = ("recipeIngredient", "recipeInstructions", "keywords")
    first, second, keywords = ("\n".join(texts_field(record, key)) for key in keys)
    return name, dish, first, second, keywords


def _dish(raw: str) -> str:
    return raw if _HAN_ALONE.fullmatch(raw) else _clean_dish(raw)


@lru_cache(_CACHED_LINES)
def _clean_dish(raw: str) -> str:
    dish = clean_line(raw)
    return "" if dish == "Unknown" else dish


def _ingredients(text: str, lines: list[str], needs: bytes) -> str:
    if not needs.strip(_SETTLED):
        text = "\n".join(lines) or text
    else:
        kept: list[str] = []
        for line, need in zip(lines, needs, strict=True):
            if need & _LEFT:
                kept += _ingredient(line) if need & CLEAN else _clean_ingredient(line)
            else:
                kept.append(line)
        text = "\n".join(kept)
    return _not_only_headings(text, "no_ingredients", len(needs))


@lru_cache(_CACHED_LINES)
def _ingredient(line: str) -> tuple[str, ...]:
    return tuple(clean_ingredients(split_lines(line)))


@lru_cache(_CACHED_LINES)
def _clean_ingredient(line: str) -> tuple[str, ...]:
    return tuple(clean_ingredients((line,)))


def _steps(text: str, lines: list[str], needs: bytes) -> str:
    if not needs.strip(_SETTLED):
        text = "\n".join(lines) or text
    else:
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
