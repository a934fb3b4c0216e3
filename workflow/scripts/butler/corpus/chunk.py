"""A chunk of decoded records to finished samples, and what the choice needs to know of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np
import orjson

from butler.corpus.adverts import has_contact
from butler.corpus.clean import HEADING_ENDS, Columns, clean_records
from butler.corpus.dish import dish_key
from butler.corpus.folding import folded_lines
from butler.corpus.formats.base import Pair
from butler.corpus.gates import HAN_LETTER, LETTER, MARKER, Array, Lines
from butler.corpus.pairs import clean_pairs
from butler.corpus.recipe import Rejected, scrub_section
from butler.corpus.sample import (
    MAX_NAME,
    Limits,
    Questions,
    answer,
    content_key,
    judge,
    judge_pair,
)


@dataclass(frozen=True)
class Style:
    """What every sample is made by.

    `forms` maps the ending of a question to its weight.
    """

    system: str
    seed: int
    forms: Mapping[str, float]
    limits: Limits = field(default_factory=Limits)


@dataclass
class Batch:
    """Usable records of a chunk, one entry each.

    `rows` numbers the records in the chunk; `texts` are the letters that shingles are made of.
    """

    rows: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)  # of the name, and of the dish after a line feed
    dishes: list[str] = field(default_factory=list)  # "" where the corpus names none
    characters: list[int] = field(default_factory=list)  # of the answer
    samples: list[bytes] = field(default_factory=list)
    contents: list[bytes] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def __iadd__(self, other: "Batch") -> "Batch":
        for name, values in vars(self).items():
            values += getattr(other, name)
        return self


Rejections = dict[int, Rejected]


def make_samples(records: Sequence[Any], style: Style) -> tuple[Batch, Rejections]:
    """Samples of decoded records, and why the others are rejected, by their place in `records`."""
    recipes, pairs = {}, {}
    for row, record in enumerate(records):
        (pairs if type(record) is Pair else recipes)[row] = record
    batch, rejected = Batch(), {}
    if recipes:
        made, why = _recipes(list(recipes.values()), style)
        _renumber(made, why, list(recipes), batch, rejected)
    if pairs:
        columns, why = clean_pairs(list(pairs.values()))
        made = _finish_pairs(columns, why, style)
        _renumber(made, why, list(pairs), batch, rejected)
    return batch, rejected


def _renumber(
    made: Batch, why: Rejections, rows: Sequence[int], batch: Batch, rejected: Rejections
) -> None:
    made.rows = [rows[row] for row in made.rows]
    batch += made
    rejected |= {rows[row]: reason for row, reason in why.items()}


def _recipes(records: Sequence[Any], style: Style) -> tuple[Batch, Rejections]:
    columns, rejected = clean_records(records)
    batch, again = _finish(columns, rejected, style)
    if again:
        batch += _finish(_scrubbed(columns, again, rejected), rejected, style)[0]
    return batch, rejected


def _scrubbed(columns: Columns, again: dict[int, list[int]], rejected: Rejections) -> Columns:
    """The records with contact details in some of their lines, without these."""
    scrubbed = Columns()
    for place, lines in again.items():
        ingredients = columns.ingredients[place].split("\n")
        steps = columns.steps[place].split("\n")
        marked = np.zeros(len(ingredients) + len(steps), bool)
        marked[lines] = True
        marks = marked[: len(ingredients)].tolist(), marked[len(ingredients) :].tolist()
        try:
            first = scrub_section(ingredients, marks[0], "no_ingredients")
            second = scrub_section(steps, marks[1], "no_steps")
        except Rejected as why:
            rejected[columns.rows[place]] = why.bare()
            continue
        scrubbed.rows.append(columns.rows[place])
        scrubbed.names.append(columns.names[place])
        scrubbed.dishes.append(columns.dishes[place])
        scrubbed.ingredients.append("\n".join(first))
        scrubbed.steps.append("\n".join(second))
        scrubbed.keywords.append(columns.keywords[place])
    return scrubbed


class _Measures:
    """What the texts of clean records hold, and the letters of their lines."""

    def __init__(self, columns: Columns) -> None:
        texts = list(chain.from_iterable(zip(columns.ingredients, columns.steps, strict=True)))
        lines = Lines("\n".join(texts) + "\n")
        bounds = np.append(lines.firsts(texts), len(lines.starts))
        self.first_line, self.step_line, self.ends = bounds[:-1:2], bounds[1::2], bounds[2::2]
        self.line_counts = np.diff(bounds).reshape(-1, 2)
        self._lines = lines
        self.contacts: dict[int, list[int]] = {}  # lines that may hold one, by record
        self.letters = folded_lines(lines)

    def suspects(self, names: Sequence[str], limits: Limits) -> Array:
        """Whether judge() could reject each record, as bool [records]."""
        lines, starts = self._lines, self._lines.starts[self.first_line]
        marks = np.bitwise_or.reduceat(lines.marks, starts)
        marked_lines = np.unique(lines.lines_of(lines.contacts()))
        contacts = self.first_line.searchsorted(marked_lines, "right") - 1
        for record, line in zip(contacts.tolist(), marked_lines.tolist(), strict=True):
            self.contacts.setdefault(record, []).append(line - int(self.first_line[record]))
        suspects = (marks & MARKER) != 0
        suspects[contacts] = True
        sizes = lines.ends - lines.starts
        body = np.add.reduceat(sizes, self.first_line)
        told = body - np.add.reduceat(sizes, np.ravel((self.first_line, self.step_line), "F"))[::2]
        suspects |= (body > limits.max_chars) | (told < limits.min_chars)
        headings = np.isin(lines.codes[lines.ends - 1], HEADING_ENDS).astype(np.int64)
        headings = np.add.reduceat(headings, np.ravel((self.first_line, self.step_line), "F"))[1::2]
        suspects |= self.line_counts[:, 1] - headings < limits.min_steps
        han = np.add.reduceat((lines.marks & HAN_LETTER) != 0, starts, dtype=np.int32)
        alphabetic = np.add.reduceat((lines.marks & LETTER) != 0, starts, dtype=np.int32)
        suspects |= han < limits.min_chinese * np.maximum(alphabetic, 1)
        long_names = np.fromiter(map(len, names), np.int64, len(names)) > MAX_NAME
        marked = np.array(["<" in name or "[" in name or "▁" in name for name in names])
        return suspects | long_names | marked


def _finish(
    columns: Columns, rejected: Rejections, style: Style
) -> tuple[Batch, dict[int, list[int]]]:
    """Judge clean recipes and write their samples.

    Returns also those that hold contact details, by place, with the numbers of these lines.
    """
    batch, again = Batch(), {}
    if not columns.rows:
        return batch, again
    measures = _Measures(columns)
    gone = set()
    for place in np.flatnonzero(measures.suspects(columns.names, style.limits)).tolist():
        recipe = columns.recipe(place)
        both = recipe.ingredients + recipe.steps
        marked = [n for n in measures.contacts.get(place, ()) if has_contact(both[n])]
        if marked:
            again[place] = marked
            gone.add(place)
            continue
        try:
            judge(recipe, style.limits)
        except Rejected as why:
            rejected[columns.rows[place]] = why.bare()
            gone.add(place)
    staying = [place for place in range(len(columns.rows)) if place not in gone]
    return _written(columns, staying, measures, style), again


def _written(columns: Columns, places: Sequence[int], measures: _Measures, style: Style) -> Batch:
    """Write the samples of judged recipes."""
    columns = columns.only(places)
    ask, system = _questions(style.seed, tuple(style.forms.items())).ask, style.system
    answers = list(map(answer, columns.ingredients, columns.steps))
    asked = map(ask, columns.names, columns.keywords)
    turns = (
        {"system": system, "input": q, "output": a} for q, a in zip(asked, answers, strict=True)
    )
    letters, ends = measures.letters, measures.ends[places].tolist()
    starts = measures.first_line[places].tolist(), measures.step_line[places].tolist()
    bounds = list(zip(*starts, ends, strict=True))
    dishes = map(_dish_key, columns.dishes)
    return Batch(
        columns.rows,
        columns.names,
        [f"{dish_key(name)}\n{dish}" for name, dish in zip(columns.names, dishes, strict=True)],
        columns.dishes,
        list(map(len, answers)),
        [orjson.dumps({"conversation": [turn]}, option=_LINE) for turn in turns],
        [content_key(letters[begin:mid], letters[mid:end]) for begin, mid, end in bounds],
        ["".join(letters[begin:end]) for begin, _, end in bounds],
    )


_LINE = orjson.OPT_APPEND_NEWLINE


@lru_cache(1 << 16)
def _dish_key(dish: str) -> str:
    return dish_key(dish) if dish else ""


@lru_cache(4)
def _questions(seed: int, forms: tuple[tuple[str, float], ...]) -> Questions:
    return Questions(dict(forms), seed)


def _finish_pairs(columns: Columns, rejected: Rejections, style: Style) -> Batch:
    """Judge clean questions and answers and write their samples."""
    batch = Batch()
    if not columns.rows:
        return batch
    measures = _Measures(columns)
    lines = zip(measures.first_line, measures.step_line, measures.line_counts[:, 1], strict=True)
    for place, (first, second, count) in enumerate(lines):
        asked, text = columns.names[place], columns.steps[place]
        try:
            judge_pair(asked, text, style.limits)
        except Rejected as why:
            rejected[columns.rows[place]] = why.bare()
            continue
        turn = {"system": style.system, "input": asked, "output": text}
        letters = measures.letters[first : second + count]
        batch.rows.append(columns.rows[place])
        batch.names.append(asked)
        batch.keys.append(dish_key(asked) + "\n")
        batch.dishes.append("")
        batch.characters.append(len(text))
        batch.samples.append(orjson.dumps({"conversation": [turn]}, option=_LINE))
        batch.contents.append(content_key(letters[: second - first], letters[second - first :]))
        batch.texts.append("".join(letters))
    return batch
