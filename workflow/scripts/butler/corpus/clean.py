"""Many raw records cleaned at once: what recipe.parse does, behind the gates.

A record that the gates pass is taken as it stands; of the others only the lines that need it go
through the rules. Contact details are left in: a record with one goes through recipe.parse
itself, once the whole chunk has been searched (chunk.py).
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import compress
from operator import eq, itemgetter
from typing import Any

import numpy as np

from butler.corpus.adverts import has_contact
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
    CleanRecipe,
    Rejected,
    clean_dish,
    clean_ingredients,
    clean_section,
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
from butler.corpus.text import BREAKS, HAN_ALONE, respell_lines, split_lines, tidy_lines

# Ingredients repeat, half of all lines are among the most frequent 65,536; and so do dishes.
_CACHED_LINES = 1 << 16
HEADING_ENDS = ":：】)）"
_LEFT = CLEAN | RULES
_SETTLED = bytes((0, CHANGED))
_PLAINLY_NUMBERED = re.compile(
    "(第)?([0-9]{1,2})(?(1)步[:：]|[.、] ?)(?=[\u4e00-\u9ffc])(?![第步一二三四五六七八九十])"
)


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

    def without(self, places: Collection[int]) -> "Columns":
        """The columns at all places but these."""
        if not places:
            return self
        staying = bytearray(b"\1") * len(self.rows)
        for place in places:
            staying[place] = 0
        return Columns(*(list(compress(column, staying)) for column in vars(self).values()))

    def recipe(self, place: int) -> CleanRecipe:
        """One record, without its keywords."""
        ingredients, steps = self.ingredients[place].split("\n"), self.steps[place].split("\n")
        return CleanRecipe(
            self.names[place], self.dishes[place], tuple(ingredients), tuple(steps), ()
        )


def clean_records(numbered: Iterable[tuple[int, Any]]) -> tuple[Columns, dict[int, Rejected]]:
    """Clean decoded records, each with its number: those usable so far, and why others are not.

    One that could not be decoded comes as the Rejected that says why.
    """
    raw, rejected = _typed(numbered)
    if not raw.rows:
        return raw, rejected
    # Of several reasons the name's counts, then the ingredients'.
    gone = clean_sections(raw.steps, STEP_START)
    given = {place: raw.ingredients[place] for place in gone}
    gone |= clean_sections(raw.ingredients, INGREDIENT_START)
    gone |= _adverts(given, raw.ingredients)
    gone |= _clean_names(raw.names)
    raw.dishes = list(map(_dish, raw.dishes))
    rejected |= {raw.rows[place]: why for place, why in gone.items()}
    return raw.without(gone), rejected


def _adverts(given: dict[int, str], clean: list[str]) -> dict[int, Rejected]:
    """Which of the ingredients that were given, clean by now, are nothing but adverts."""
    found = {}
    for place in (place for place in given if has_contact(clean[place])):
        try:
            clean_section(given[place].split("\n"), "no_ingredients")
        except Rejected as why:
            found[place] = why.bare()
    return found


def clean_sections(texts: list[str], start: int) -> dict[int, Rejected]:
    """Clean sections where they stand; `start` is INGREDIENT_START or STEP_START.

    Returns why some are rejected, by place.
    """
    rejected: dict[int, Rejected] = {}
    if not texts:
        return rejected
    clean = _ingredients if start == INGREDIENT_START else _steps
    sections = _Sections(texts, start)
    for place, lines, needs in sections.touched():
        try:
            texts[place] = clean(texts[place], lines, needs)
        except Rejected as why:
            rejected[place] = why.bare()
    return rejected


def _clean_names(names: list[str]) -> dict[int, Rejected]:
    rejected: dict[int, Rejected] = {}
    needs = Lines("\n".join(names) + "\n").needs(END)
    for place in np.flatnonzero(needs).tolist():
        try:
            names[place] = scrub_name(names[place])
        except Rejected as why:
            rejected[place] = why.bare()
    return rejected


class _Sections:
    """The lines of each record's section, respelt where need be, and what they still need."""

    def __init__(self, texts: list[str], start: int) -> None:
        joined = "\n".join(texts) + "\n"
        lines = Lines(joined)
        needs = lines.needs(start)
        places = np.flatnonzero(needs & CLEAN)
        bounds = places.tolist(), lines.starts[places].tolist(), lines.ends[places].tolist()
        self._texts = texts
        self._changed = {
            place: joined[begin:end] for place, begin, end in zip(*bounds, strict=True)
        }
        self._respell(needs, (lines.some & CHAR) != 0, start)
        self._needs = needs.tobytes()
        self._begins = lines.firsts(texts)
        self._ends = np.append(self._begins[1:], len(lines.starts))
        self._needy: Array = np.bitwise_or.reduceat(needs, self._begins) != 0
        headings = lines.end_in(HEADING_ENDS)
        self._headings: Array = np.logical_and.reduceat(headings, self._begins)

    def touched(self) -> Iterator[tuple[int, list[str], bytes]]:
        """Sections that a rule may change: place, lines, and a byte for each line.

        A section that could be of headings alone has no lines, but comes too.
        """
        for place in np.flatnonzero(self._headings & ~self._needy).tolist():
            yield place, [], b""
        places = np.flatnonzero(self._needy)
        bounds = self._begins[places].tolist(), self._ends[places].tolist()
        for place, begin, end in zip(places.tolist(), *bounds, strict=True):
            lines, needs = self._texts[place].split("\n"), self._needs[begin:end]
            for at, need in enumerate(needs):
                if need & CHANGED:
                    lines[at] = self._changed[begin + at]
            yield place, lines, needs

    def _respell(self, needs: Array, respelt: Array, start: int) -> None:
        """Clean the lines that need it; rules may be left to do, as `needs` says then."""
        places = np.flatnonzero(needs & CLEAN)
        wrong = respelt[places]
        for _ in range(2):  # few need it again, hardly one a third time
            if not len(places):
                break
            before = [self._changed[place] for place in places.tolist()]
            self._change(places[wrong], respell_lines)
            after = self._change(places, tidy_lines)
            lines = Lines("\n".join(after) + "\n")
            found = lines.needs(start)
            # The gate doubts some lines that are clean: they come out as they went in.
            pairs = zip(before, after, strict=True)
            stayed = np.array([old == new and not BREAKS.search(new) for old, new in pairs])
            found[stayed] &= RULES
            needs[places] = found | CHANGED
            left = (found & CLEAN) != 0
            places, wrong = places[left], (lines.some[left] & CHAR) != 0

    def _change(self, places: Array, clean: Callable[[list[str]], list[str]]) -> list[str]:
        """Clean the lines at these places all at once; one with a break in it stays."""
        numbers, changed = places.tolist(), self._changed
        whole = numbers
        if BREAKS.search("".join(changed[place] for place in numbers)):
            whole = [place for place in numbers if not BREAKS.search(changed[place])]
        if whole:
            lines = clean([changed[place] for place in whole])
            changed.update(zip(whole, lines, strict=True))
        return [changed[place] for place in numbers]


def _typed(numbered: Iterable[tuple[int, Any]]) -> tuple[Columns, dict[int, Rejected]]:
    """The fields in use as they stand, checked for their types in the order of recipe.parse.

    A record is left as soon as its fields are taken: the next finds its memory in the cache.
    """
    rows, taken, rejected = [], [], {}
    for row, record in numbered:
        if type(record) is Rejected:
            rejected[row] = record
            continue
        try:
            taken.append(_whole(record) or _fields(record))
            rows.append(row)
        except Rejected as why:
            rejected[row] = why.bare()
    raw = Columns(rows, *map(list, zip(*taken, strict=True)))
    if "\n" in "".join(raw.names):
        raw.names = [" ".join(name.split()) if "\n" in name else name for name in raw.names]
    return raw, rejected


_Fields = tuple[str, str, str, str, str]
_LISTS = ("recipeIngredient", "recipeInstructions", "keywords")
_FIELDS = itemgetter("name", "dish", *_LISTS)


def _whole(record: Any) -> _Fields | None:
    """The fields of a record that has them all; None where _fields() says what is wrong."""
    try:
        name, dish, first, second, keywords = _FIELDS(record)
        lists = type(first) is type(second) is type(keywords) is list
        if lists and type(name) is type(dish) is str:
            return name, dish, "\n".join(first), "\n".join(second), "\n".join(keywords)
    except (KeyError, TypeError):
        pass
    return None


def _fields(record: Any) -> _Fields:
    """The fields of any record, the lists joined by line feeds.

    Raises:
        Rejected: wrong_type.
    """
    if type(record) is not dict:
        raise Rejected("wrong_type", f"the line is a JSON {type(record).__name__}, not an object")
    name, dish = text_field(record, "name"), text_field(record, "dish")
    first, second, keywords = ("\n".join(texts_field(record, key)) for key in _LISTS)
    return name, dish, first, second, keywords


@lru_cache(_CACHED_LINES)
def _dish(raw: str) -> str:
    return raw if HAN_ALONE.fullmatch(raw) else clean_dish(raw)


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
    if not needs.strip(_SETTLED) and not any(map(eq, lines, lines[1:])):
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
    number = _PLAINLY_NUMBERED.match(line)
    rest = line[number.end() :] if number else ""
    # Nothing else is cut from such a line, and it hides no further step.
    if number and "图" not in rest and str(int(number[2]) + 1) not in rest:
        _keep(rest, kept)
        return int(number[2])
    for part in split_numbered(line):
        clean, last = strip_number(part, last)
        _keep(clean, kept)
    return last


def _keep(line: str, kept: list[str]) -> None:
    """Add a step to those kept, unless it is a placeholder or the last one again."""
    placeholder = not line or (may_be_placeholder(line) and is_placeholder(line))
    if not placeholder and kept[-1:] != [line]:
        kept.append(line)


def _not_only_headings(text: str, reason: str, given: int) -> str:
    if not text or (text[-1] in HEADING_ENDS and all(map(is_heading, text.split("\n")))):
        raise Rejected(reason, f"no usable line among {max(given, 1)} given")
    return text
