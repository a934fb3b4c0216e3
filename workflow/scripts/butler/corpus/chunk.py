"""A chunk of decoded records to finished samples, and what the choice needs to know of them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np

from butler.corpus.adverts import has_contact, scrub
from butler.corpus.clean import HEADING_ENDS, Columns, clean_records, clean_sections
from butler.corpus.dish import dish_key, question_key
from butler.corpus.folding import Grams, Letters
from butler.corpus.formats.entry import Pair
from butler.corpus.gates import (
    INGREDIENT_START,
    MARKER,
    MARKERS,
    STEP_START,
    Array,
    Lines,
)
from butler.corpus.pairs import clean_pairs
from butler.corpus.recipe import Rejected
from butler.corpus.sample import (
    MAX_NAME,
    Conversations,
    Questions,
    answer,
    content_key,
    judge,
    judge_pair,
)
from butler.corpus.text import LEAST_SHARE
from butler.settings.corpus_stage import CorpusSettings


@dataclass(frozen=True)
class Style:
    """What every sample is made by."""

    settings: CorpusSettings
    seed: int


@dataclass
class Batch:
    """Usable records of a chunk, one entry each.

    `rows` numbers the records in the chunk. `samples`, `sizes`, `characters` and `letters` have one
    entry for many records.
    """

    rows: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)  # of name and dish, two for each record
    dishes: list[str] = field(default_factory=list)  # "" where the corpus names none
    contents: list[bytes] = field(default_factory=list)
    characters: list[Array] = field(default_factory=list)  # of the answers
    samples: list[Array] = field(default_factory=list)  # without their common start
    sizes: list[Array] = field(default_factory=list)  # of the samples, in bytes
    letters: list[Grams] = field(default_factory=list)

    def __iadd__(self, other: "Batch") -> "Batch":
        for name, values in vars(self).items():
            values += getattr(other, name)
        return self


Rejections = dict[int, Rejected]


def make_samples(entries: Iterable[Any], style: Style) -> tuple[Batch, Rejections]:
    """Samples of decoded entries, and why the others are rejected, by their place in `entries`.

    An entry is a raw recipe, a Pair, or the Rejected that says why there is none.
    """
    pairs: dict[int, Pair] = {}
    columns, rejected = clean_records(_without_pairs(entries, pairs))
    batch, again = _finish(columns, rejected, style)
    if again:
        columns = _scrubbed(columns, again, rejected)
        batch += _finish(columns, rejected, style, scrubbed=True)[0]
    if pairs:
        columns, why = clean_pairs(pairs)
        rejected |= why
        batch += _finish_pairs(columns, rejected, style)
    return batch, rejected


def _without_pairs(entries: Iterable[Any], pairs: dict[int, Pair]) -> Iterator[tuple[int, Any]]:
    """The entries that are no pairs, with their places; the pairs are put aside."""
    for place, entry in enumerate(entries):
        if type(entry) is Pair:
            pairs[place] = entry
        else:
            yield place, entry


def _scrubbed(columns: Columns, again: dict[int, list[int]], rejected: Rejections) -> Columns:
    """The records with contact details in some of their lines, without these."""
    scrubbed = Columns(*([column[place] for place in again] for column in vars(columns).values()))
    middles = [text.count("\n") + 1 for text in scrubbed.ingredients]
    marks = list(zip(again.values(), middles, strict=True))
    first = [[line for line in lines if line < middle] for lines, middle in marks]
    second = [[line - middle for line in lines if line >= middle] for lines, middle in marks]
    gone = _scrub_sections(scrubbed.steps, second, STEP_START)
    gone |= _scrub_sections(scrubbed.ingredients, first, INGREDIENT_START)
    rejected |= {scrubbed.rows[place]: why for place, why in gone.items()}
    return scrubbed.without(gone)


def _scrub_sections(texts: list[str], marked: Sequence[list[int]], start: int) -> Rejections:
    """Take the adverts out of the marked lines of each section, and clean what is left."""
    places = [place for place, lines in enumerate(marked) if lines]
    sections = []
    for place in places:
        lines = texts[place].split("\n")
        for line in marked[place]:
            lines[line] = scrub(lines[line])
        sections.append("\n".join(filter(None, lines)))
    emptied = clean_sections(sections, start)
    for place, section in zip(places, sections, strict=True):
        texts[place] = section
    what = "ingredients" if start == INGREDIENT_START else "steps"
    why = Rejected("advert", f"nothing but adverts or contacts ({what})")
    return {places[section]: why for section in emptied}


class _Measures:
    """What the texts of clean records hold, and the letters of their lines."""

    def __init__(self, columns: Columns) -> None:
        texts = list(chain.from_iterable(zip(columns.ingredients, columns.steps, strict=True)))
        lines = Lines("\n".join(texts) + "\n")
        bounds = np.append(lines.firsts(texts), len(lines.starts))
        begins = np.append(lines.starts, len(lines.codes))[bounds]
        self._bounds = np.stack((begins[:-1:2], begins[1::2], begins[2::2]))
        self.characters: Array = np.diff(begins[::2]) - 2  # without the line feed after each text
        self.first_line, self.step_line, self.ends = bounds[:-1:2], bounds[1::2], bounds[2::2]
        self.line_counts = np.diff(bounds).reshape(-1, 2)
        self._lines = lines
        self.contacts: dict[int, list[int]] = {}  # lines that may hold one, by record
        self._letters = Letters(lines)

    def texts(self, places: Array) -> tuple[Array, Array]:
        """The code points, and where the records' two texts are in them, as int64 [3, records]."""
        return self._lines.codes, np.ascontiguousarray(self._bounds[:, places])

    def contents(self, places: Array) -> list[bytes]:
        """What each record is known by."""
        lines = (column[places] for column in (self.first_line, self.step_line, self.ends))
        return list(map(content_key, self._letters.contents(*lines)))

    def letters(self, places: Array) -> Grams:
        """What the records are compared by."""
        return self._letters.grams(self.first_line[places], self.ends[places])

    def suspects(self, names: Sequence[str], settings: CorpusSettings) -> Array:
        """Whether judge() could reject each record, as bool [records]."""
        lines = self._lines
        marks = np.bitwise_or.reduceat(lines.some, self.first_line)
        marked_lines = np.flatnonzero(lines.contacts())
        contacts = self.first_line.searchsorted(marked_lines, "right") - 1
        for record, line in zip(contacts.tolist(), marked_lines.tolist(), strict=True):
            self.contacts.setdefault(record, []).append(line - int(self.first_line[record]))
        suspects = (marks & MARKER) != 0
        suspects[contacts] = True
        sizes = lines.ends - lines.starts
        body = np.add.reduceat(sizes, self.first_line)
        told = body - np.add.reduceat(sizes, np.ravel((self.first_line, self.step_line), "F"))[::2]
        suspects |= (body > settings.max_chars) | (told < settings.min_chars)
        headings = lines.end_in(HEADING_ENDS).astype(np.int64)
        headings = np.add.reduceat(headings, np.ravel((self.first_line, self.step_line), "F"))[1::2]
        suspects |= self.line_counts[:, 1] - headings < settings.recipes.min_steps
        if settings.language:
            alphabetic = np.add.reduceat(lines.alphabetic, self.first_line)
            own = self._letters_of(settings.language)
            suspects |= own < LEAST_SHARE * np.maximum(alphabetic, 1)
        long_names = np.fromiter(map(len, names), np.int64, len(names)) > MAX_NAME
        joined = "".join(names)
        if any(mark in joined for mark in MARKERS):
            suspects |= np.array([any(mark in name for mark in MARKERS) for name in names])
        return suspects | long_names

    def _letters_of(self, language: str) -> Array:
        """How many letters each record has of the language's script, or fewer."""
        if language == "zh":
            return np.add.reduceat(self._lines.han, self.first_line)
        # Those without accents: judge() counts the others too.
        ascii_letters = (self._lines.codes | np.uint32(32)) - np.uint32(97) < 26
        return np.add.reduceat(ascii_letters.astype(np.int32), self._bounds[0])


def _finish(
    columns: Columns, rejected: Rejections, style: Style, scrubbed: bool = False
) -> tuple[Batch, dict[int, list[int]]]:
    """Judge clean recipes and write their samples.

    Returns also those that hold contact details, by place, with the numbers of these lines; from
    those that were `scrubbed` no more can be cut.
    """
    batch, again = Batch(), {}
    if not columns.rows:
        return batch, again
    measures = _Measures(columns)
    gone: set[int] = set()
    for place in np.flatnonzero(measures.suspects(columns.names, style.settings)).tolist():
        recipe = columns.recipe(place)
        both = recipe.ingredients + recipe.steps
        marked = [n for n in measures.contacts.get(place, ()) if has_contact(both[n])]
        if marked and not scrubbed:
            again[place] = marked
            gone.add(place)
            continue
        try:
            judge(recipe, style.settings, searched=place not in measures.contacts)
        except Rejected as why:
            rejected[columns.rows[place]] = why.bare()
            gone.add(place)
    return _written(columns, gone, measures, style), again


def _written(columns: Columns, gone: set[int], measures: _Measures, style: Style) -> Batch:
    """Write the samples of judged recipes, all but those that are gone."""
    staying = np.delete(np.arange(len(columns.rows)), list(gone))
    columns = columns.without(gone)
    settings = style.settings
    forms = tuple(settings.recipes.question_forms.items())
    questions, conversations = _writers(settings.system, style.seed, forms)
    asked = questions.ask(columns.names, columns.keywords)
    samples, sizes = conversations.recipes(asked, *measures.texts(staying))
    dishes = map(_dish_key, columns.dishes)
    return Batch(
        columns.rows,
        columns.names,
        list(chain.from_iterable(zip(map(dish_key, columns.names), dishes, strict=True))),
        columns.dishes,
        measures.contents(staying),
        [measures.characters[staying] + len(answer("", ""))],
        [samples],
        [sizes],
        [measures.letters(staying)],
    )


@lru_cache(1 << 16)
def _dish_key(dish: str) -> str:
    return dish_key(dish) if dish else ""


@lru_cache(4)
def _writers(
    system: str, seed: int, forms: tuple[tuple[str, float], ...]
) -> tuple[Questions, Conversations]:
    return Questions(dict(forms), seed), Conversations(system)


def _finish_pairs(columns: Columns, rejected: Rejections, style: Style) -> Batch:
    """Judge clean questions and answers and write their samples."""
    batch = Batch()
    if not columns.rows:
        return batch
    measures = _Measures(columns)
    gone: set[int] = set()
    for place, (asked, text) in enumerate(zip(columns.names, columns.steps, strict=True)):
        try:
            judge_pair(asked, text, style.settings)
        except Rejected as why:
            rejected[columns.rows[place]] = why.bare()
            gone.add(place)
    staying = np.delete(np.arange(len(columns.rows)), list(gone))
    columns = columns.without(gone)
    batch.rows, batch.names, batch.dishes = columns.rows, columns.names, columns.dishes
    batch.keys = list(chain.from_iterable((question_key(name), "") for name in columns.names))
    batch.characters = [np.fromiter(map(len, columns.steps), np.int64, len(columns.steps))]
    codes, bounds = measures.texts(staying)
    bounds[0] = bounds[1] - 1  # the first text is the question, and no part of the answer
    samples, sizes = Conversations(style.settings.system).lines(columns.names, codes, bounds)
    batch.samples, batch.sizes = [samples], [sizes]
    batch.contents, batch.letters = measures.contents(staying), [measures.letters(staying)]
    return batch
