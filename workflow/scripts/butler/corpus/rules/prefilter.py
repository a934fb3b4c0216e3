"""A first look at a text for all rules at once: which of them may be found in it at all.

Python's matcher goes through a text once for each pattern, and most texts hold nothing of most of
them. RE2 looks for all of them in one pass, but knows no lookarounds. So it is given what each
pattern cannot be found without, derived from the pattern as Python's own parser reads it; where
that is found, the pattern itself decides.
"""

import math
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import lru_cache
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, NamedTuple

import re2

_CATEGORIES = {
    codes.CATEGORY_DIGIT: r"\p{Nd}",
    codes.CATEGORY_WORD: r"\p{L}\p{N}_",
    codes.CATEGORY_SPACE: r"\p{Z}\x09-\x0d\x1c-\x1f\x{85}",
}
_REPEATS = (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT)
_ZERO_WIDTH = (codes.AT, codes.ASSERT, codes.ASSERT_NOT)
_BEGINS = (codes.AT_BEGINNING, codes.AT_BEGINNING_STRING)
_ENDS = (codes.AT_END, codes.AT_END_STRING)
# What Python takes for a letter of ASCII where case is ignored: the long s, the Kelvin sign ...
_LETTERS = "".join(re.findall("[a-z]", "".join(map(chr, range(0x80, 0x2200))), re.IGNORECASE))
_MOST_REPEATS, _LONGEST_REPEAT = 3, 16  # that are told apart; that are looked for
_KEPT = 256  # texts whose result is kept, as many rules ask about the same one
_MEMORY = 1 << 28  # bytes that RE2 may take


class Piece(NamedTuple):
    """A piece of RE2's pattern, and how much it tells: 1 for a character, less for one of many."""

    source: str
    weight: float


# The first touches what stands before, the last what stands after; between two is a gap.
Pieces = list[Piece]
_NOTHING = Piece("", 0)


def _anything(source: str) -> Pieces:
    """What nearly every character is: looked for only if it is all that there is."""
    return [_NOTHING, Piece(source, 0.1), _NOTHING]


_ANYTHING = _anything("(?s:.)")


class Prefilter:
    """Patterns, and which of them may be found in a text."""

    def __init__(self) -> None:
        self._sources: list[str] = []
        self._set: Any = None
        self.candidates = lru_cache(_KEPT)(self._candidates)

    def add(self, pattern: re.Pattern[str]) -> int:
        """Look for this pattern, too; returns its number."""
        self._sources.append(needed(pattern))
        self._set = None
        self.candidates.cache_clear()
        return len(self._sources) - 1

    def _candidates(self, text: str) -> Collection[int]:
        """The numbers of the patterns that may be found in `text`; no other is."""
        if self._set is None:
            self._set = _compiled(self._sources)
        try:
            found: Collection[int] | None = self._set.Match(text.encode())
        except UnicodeEncodeError:  # half a surrogate pair, which RE2 cannot read
            return range(len(self._sources))
        return found or ()


TEXTS = Prefilter()  # of what is told: ingredients, steps, questions, answers


class Prefiltered:
    """A pattern that is asked only about what the prefilter lets through; it finds the same."""

    def __init__(self, pattern: re.Pattern[str], prefilter: Prefilter = TEXTS) -> None:
        self._whole = pattern
        self._number = prefilter.add(pattern)
        self._candidates = prefilter.candidates
        self.pattern, self.flags = pattern.pattern, pattern.flags

    def search(self, text: str) -> re.Match[str] | None:
        """As re.Pattern.search."""
        return self._whole.search(text) if self._number in self._candidates(text) else None

    def match(self, text: str) -> re.Match[str] | None:
        """As re.Pattern.match."""
        return self._whole.match(text) if self._number in self._candidates(text) else None

    def finditer(self, text: str, begin: int = 0) -> Iterable[re.Match[str]]:
        """As re.Pattern.finditer."""
        return self._whole.finditer(text, begin) if self._number in self._candidates(text) else ()

    def sub(self, instead: str | Callable[[re.Match[str]], str], text: str) -> str:
        """As re.Pattern.sub."""
        return self._whole.sub(instead, text) if self._number in self._candidates(text) else text


def _compiled(sources: Iterable[str]) -> Any:
    options = re2.Options()
    options.max_mem = _MEMORY
    patterns = re2.Set.SearchSet(options)
    for source in sources:
        patterns.Add(source)
    patterns.Compile()
    return patterns


def needed(pattern: re.Pattern[str]) -> str:
    """A pattern of RE2's that is found in every text in which `pattern` is."""
    parsed = parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE)
    return _most_telling(_Reader(pattern.flags).of_items(parsed, True, True)).source


def _most_telling(pieces: Pieces) -> Piece:
    return max(pieces, key=lambda piece: piece.weight)


def _side_by_side(before: Pieces, after: Pieces) -> Pieces:
    source, weight = before[-1].source + after[0].source, before[-1].weight + after[0].weight
    return [*before[:-1], Piece(source, weight), *after[1:]]


class _Reader:
    """Reads the parts of one pattern."""

    def __init__(self, flags: int) -> None:
        self._ignores_case = bool(flags & re.IGNORECASE)
        self._groups: dict[int, Pieces] = {}

    def of_items(self, items: Sequence[Any], first: bool, last: bool) -> Pieces:
        """What stands side by side.

        Args:
            items: the parsed parts.
            first, last: whether nothing of the pattern stands before them, or after.
        """
        found = [_NOTHING]
        for place, (kind, value) in enumerate(items):
            ends = last and all(other is codes.ASSERT_NOT for other, _ in items[place + 1 :])
            found = _side_by_side(found, self._of(kind, value, first, ends))
            first = first and (
                kind is codes.ASSERT_NOT or (kind is codes.ASSERT and value[0] > 0 and not ends)
            )
        return found

    def _of(self, kind: Any, value: Any, first: bool, last: bool) -> Pieces:
        if kind in _REPEATS:
            return self._repeated(*value)
        if kind is codes.SUBPATTERN:
            number, own_flags, _, item = value
            if own_flags:
                raise ValueError("flags of a part of a pattern are not known here")
            self._groups[number] = self.of_items(item, first, last)
            return self._groups[number]
        if kind is codes.GROUPREF:  # the same again, so it is of the same kind
            return self._groups[value]
        if kind is codes.ATOMIC_GROUP:
            return self.of_items(value, first, last)
        if kind is codes.BRANCH:
            return _one_of([self.of_items(item, first, last) for item in value[1]])
        if kind in _ZERO_WIDTH:
            return self._zero_width(kind, value, first, last)
        return self._character(kind, value)

    def _character(self, kind: Any, value: Any) -> Pieces:
        if kind is codes.LITERAL:
            return [Piece(f"[{self._literal(value)}]", 1)]
        if kind is codes.IN:
            return self._set(value)
        if kind in (codes.ANY, codes.NOT_LITERAL):
            return _ANYTHING
        raise ValueError(f"{kind} is not known here")

    def _zero_width(self, kind: Any, value: Any, first: bool, last: bool) -> Pieces:
        if kind is codes.AT:  # with and without MULTILINE, as texts begin and end a line, too
            return [Piece("(?m:^)" * (value in _BEGINS) + "(?m:$)" * (value in _ENDS), 0.5)]
        if kind is codes.ASSERT:
            # What stands around a match is looked for, too, where nothing comes between.
            direction, item = value
            if last if direction > 0 else first:
                return self.of_items(item, False, False)
        return [_NOTHING]

    def _repeated(self, least: int, most: Any, item: Any) -> Pieces:
        own = self.of_items(item, False, False)
        if len(own) > 1:
            return own if least else [_NOTHING, _NOTHING]
        source, weight = own[0]
        if most is not codes.MAXREPEAT and most <= max(_MOST_REPEATS, least):
            return [Piece(f"(?:{source}){{{least},{most}}}", least * weight)]
        count = min(least, _LONGEST_REPEAT)
        piece = Piece(f"(?:{source}){{{count}}}", count * weight) if count else _NOTHING
        return [piece, piece]

    def _literal(self, code: int) -> str:
        char = chr(code)
        if not self._ignores_case or char.lower() == char.upper():
            return rf"\x{{{code:x}}}"
        if not char.isascii():
            raise ValueError(f"{char!r} in either case is not known here")
        return char.lower() + char.upper() + _LETTERS

    def _set(self, items: Iterable[tuple[Any, Any]]) -> Pieces:
        """A set of characters; one with what is not known for certain holds them all."""
        found, negated, size = [], False, 0
        for kind, value in items:
            if kind is codes.NEGATE:
                negated = True
            elif kind is codes.LITERAL:
                found.append(self._literal(value))
                size += 1
            elif kind is codes.RANGE:
                found.append(rf"\x{{{value[0]:x}}}-\x{{{value[1]:x}}}")
                size += value[1] - value[0] + 1
                if self._ignores_case and _has_case(*value):
                    if value[1] >= 0x80:
                        return _ANYTHING
                    found.append("A-Za-z" + _LETTERS)
            elif value in _CATEGORIES and not negated:
                found.append(_CATEGORIES[value])
                size += 1 << 8
            else:
                return _ANYTHING
        if negated and self._ignores_case:
            return _ANYTHING
        source = f"[{'^' * negated}{''.join(found)}]"
        return _anything(source) if negated else [Piece(source, 1 - _lost(size))]


def _has_case(first: int, last: int) -> bool:
    chars = "".join(map(chr, range(first, last + 1)))
    return chars.lower() != chars.upper()


def _one_of(parts: Sequence[Pieces]) -> Pieces:
    if all(len(part) == 1 for part in parts):
        return [_any_of(part[0] for part in parts)]
    return [
        _any_of(part[0] for part in parts),
        _any_of(map(_most_telling, parts)),
        _any_of(part[-1] for part in parts),
    ]


def _any_of(pieces: Iterable[Piece]) -> Piece:
    sources, weights = zip(*pieces, strict=True)
    return Piece(f"(?:{'|'.join(sources)})", max(min(weights) - _lost(len(weights)), 0))


def _lost(count: int) -> float:
    """What a piece tells less as it is one of so many."""
    return min(math.log2(count) / 10, 0.9)
