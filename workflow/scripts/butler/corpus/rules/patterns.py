"""Patterns of many alternatives, written one by one and searched for in one go.

Python's matcher tries every alternative at every character. `either` looks first whether a
character can begin one of them, which it reads from the alternatives themselves: the pattern finds
what the bare alternation finds, in a tenth of the time.
"""

import re
from collections.abc import Iterable, Sequence
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

_CATEGORIES = {
    codes.CATEGORY_DIGIT: r"\d",
    codes.CATEGORY_WORD: r"\w",
    codes.CATEGORY_SPACE: r"\s",
    codes.CATEGORY_NOT_DIGIT: r"\D",
    codes.CATEGORY_NOT_WORD: r"\W",
    codes.CATEGORY_NOT_SPACE: r"\S",
}
_ZERO_WIDTH = (codes.ASSERT, codes.ASSERT_NOT, codes.AT)
_REPEATS = (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT)
_COMMON = frozenset((*_CATEGORIES.values(), *"的了一成到至大小"))
_ANY = r"\s\S"
_GROUPS, _FEW = 8, 6


def either(alternatives: Iterable[str], flags: int = 0) -> re.Pattern[str]:
    """One pattern of these alternatives; of those that match at a place any may be taken."""
    groups: dict[int, list[tuple[str, set[str]]]] = {}
    for one in branches("|".join(alternatives)):
        starts = _starts(one, flags)
        # Those that begin with few characters are shared out by them, so that few are tried.
        if len(starts) <= _FEW and all(len(start) == 1 for start in starts):
            for start in sorted(starts):  # the same pattern in every process
                groups.setdefault(ord(start) % _GROUPS, []).append((one, {start}))
        else:
            groups.setdefault(_GROUPS, []).append((one, starts))
    parts = [f"{_look(group)}(?:{'|'.join(one for one, _ in group)})" for group in groups.values()]
    everything = [alternative for group in groups.values() for alternative in group]
    return re.compile(f"{_look(everything)}(?:{'|'.join(parts)})", flags)


def by_place(alternatives: Iterable[str]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Two patterns of these alternatives: of those that begin with ^, to match, and of the rest."""
    parts = branches("|".join(alternatives))
    begins = re.compile("|".join(one for one in parts if one.startswith("^")))
    return begins, either(one for one in parts if not one.startswith("^"))


def _look(group: Iterable[tuple[str, set[str]]]) -> str:
    """A look at what a match of one of these begins with."""
    return f"(?=[{''.join(sorted(set().union(*(starts for _, starts in group))))}])"


def needed(pattern: re.Pattern[str]) -> re.Pattern[str]:
    """A set of characters of which each match of `pattern` needs one, to be looked for before it.

    It is read from the pattern: what it ends with, where it ends with its line, else the smallest
    set that no match can do without. That is searched for many times as fast as what begins with
    what is frequent, and most texts hold none of it.

    Raises:
        ValueError: if no such set is told.
    """
    tree = parser.parse(pattern.pattern, pattern.flags)
    at_end = _is_at_end(tree)
    found = _edge(tree, -1)[0] if at_end else _needed(tree)
    if not found or _ANY in found:
        raise ValueError(f"{pattern.pattern!r} needs no character of its own")
    return re.compile(f"[{''.join(sorted(found))}]{'$' * at_end}", pattern.flags)


def _is_at_end(items: Sequence[Any]) -> bool:
    """Whether any match ends where a line does."""
    kind, value = items[-1]
    if kind is codes.BRANCH:
        return all(map(_is_at_end, value[1]))
    return (kind, value) == (codes.AT, codes.AT_END)


def _needed(items: Iterable[Any]) -> set[str]:
    """The smallest set of which any match needs a character; empty if none is told."""
    sets = [own for kind, value in items if (own := _needed_of(kind, value))]
    return min(sets, key=_size, default=set())


def _needed_of(kind: Any, value: Any) -> set[str]:
    if kind is codes.BRANCH:
        parts = [_needed(item) for item in value[1]]
        return set().union(*parts) if all(parts) else set()
    if kind in _REPEATS:
        return _needed(value[2]) if value[0] else set()
    if kind is codes.ASSERT or kind is codes.SUBPATTERN:
        return _needed(value[-1])
    return set() if kind in _ZERO_WIDTH else _edge_of(kind, value, 1)[0]


def _size(found: set[str]) -> int:
    """How much a set holds; ranges, classes and what most texts have count as many."""
    return sum(1 if len(part.lstrip("\\")) == 1 and part not in _COMMON else 99 for part in found)


def branches(pattern: str) -> list[str]:
    """The alternatives of a pattern, cut at each "|" that stands in no bracket."""
    parts, begin, depth, in_set, escaped = [], 0, 0, False, False
    for at, char in enumerate(pattern):
        if escaped:
            escaped = False
        elif char == "\\":
            escaped = True
        elif in_set:
            in_set = char != "]" or pattern[at - 1] == "[" or pattern[at - 2 : at] == "[^"
        elif char == "[":
            in_set = True
        elif char in "()":
            depth += 1 if char == "(" else -1
        elif char == "|" and not depth:
            parts.append(pattern[begin:at])
            begin = at + 1
    return [*parts, pattern[begin:]]


def _starts(alternative: str, flags: int) -> set[str]:
    """What a match may begin with, as parts of a set of characters."""
    found, empty = _edge(parser.parse(alternative, flags), 1)
    if empty:
        raise ValueError(f"{alternative!r} may match nothing")
    return found


def _edge(items: Sequence[Any], step: int) -> tuple[set[str], bool]:
    """Parts of a set that any match begins with, or ends (step -1); whether one may be empty."""
    found: set[str] = set()
    for kind, value in list(items)[::step]:
        if kind in _ZERO_WIDTH:
            continue
        own, empty = _edge_of(kind, value, step)
        found |= own
        if not empty:
            return found, False
    return found, True


def _edge_of(kind: Any, value: Any, step: int) -> tuple[set[str], bool]:
    if kind is codes.LITERAL:
        return {_escaped(value)}, False
    if kind is codes.IN:
        return _members(value), False
    if kind in _REPEATS:
        least, _, item = value
        found, empty = _edge(item, step)
        return found, empty or least == 0
    if kind is codes.SUBPATTERN:
        return _edge(value[-1], step)
    if kind is codes.ATOMIC_GROUP:
        return _edge(value, step)
    if kind is codes.BRANCH:
        parts = [_edge(item, step) for item in value[1]]
        return set().union(*(part for part, _ in parts)), any(empty for _, empty in parts)
    return {_ANY}, False  # a dot, "all but", a reference


def _members(items: Iterable[tuple[Any, Any]]) -> set[str]:
    found = set()
    for kind, value in items:
        if kind is codes.LITERAL:
            found.add(_escaped(value))
        elif kind is codes.RANGE:
            found.add(f"{_escaped(value[0])}-{_escaped(value[1])}")
        elif kind is codes.CATEGORY:
            found.add(_CATEGORIES[value])
        else:
            return {_ANY}  # all but these
    return found


def _escaped(code: int) -> str:
    return re.escape(chr(code))
