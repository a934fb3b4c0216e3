"""Texts for every alternative of a pattern, records that hold them, and what the stage found."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from importlib import import_module
from pkgutil import iter_modules
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

from butler.corpus import rules
from butler.corpus.rules.patterns import branches
from test_corpus import conversations, raw_lines
from test_corpus_text import recipe

# Steps that use all that is listed, whatever it is, and nothing else.
PLAIN = "把所有材料切成小块放进锅里煮熟"
LEAD = "锅里倒油烧热以后全部下锅翻炒均匀"


def usable(**changes: object) -> dict[str, object]:
    """A raw recipe whose name, list and steps match by design, with some fields changed."""
    return recipe(**{"name": "拌面", "recipeInstructions": [LEAD, PLAIN]} | changes)


Pattern = re.Pattern[str]


def patterns() -> dict[str, Pattern]:
    """Every compiled pattern of butler.corpus.rules by where it stands, in tables of rules too."""
    found: dict[str, Pattern] = {}
    for module in iter_modules(rules.__path__):
        own = vars(import_module(f"{rules.__name__}.{module.name}"))
        for name, value in own.items():
            for at, pattern in enumerate(_compiled(value)):
                if pattern not in found.values():  # else imported, or made from another's words
                    found[f"{module.name}.{name}{f'[{at}]' if pattern is not value else ''}"] = (
                        pattern
                    )
    return found


def _compiled(value: Any) -> Iterator[Pattern]:
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, (tuple, list)):
        for one in value:
            yield from _compiled(one)


def examples(items: Any) -> list[str]:
    """Texts that a parsed pattern matches: one for each alternative in it, at least."""
    return _Examples().of(items)


class _Examples:
    """Makes examples; groups are kept, as a pattern may ask for one again."""

    def __init__(self) -> None:
        self._groups: dict[int, str] = {}

    def of(self, items: Any) -> list[str]:
        found = [""]
        for kind, value in items:
            own = self._of(kind, value)
            if not own:
                continue
            first = [start + own[0] for start in found]
            found = first + [found[0] + other for other in own[1:]]
        return found

    def _of(self, kind: Any, value: Any) -> list[str]:
        if kind is codes.LITERAL:
            return [chr(value)]
        if kind in (codes.NOT_LITERAL, codes.ANY):
            return ["好"]
        if kind is codes.IN:
            return _members(value)
        if kind in (codes.MAX_REPEAT, codes.MIN_REPEAT):
            least, _, item = value
            own = self.of(item)
            return [one * max(least, 1) for one in own] if least else ["", *own]
        if kind is codes.SUBPATTERN:
            own = self.of(value[-1])
            if value[0] is not None:
                self._groups[value[0]] = own[0]
            return own
        if kind is codes.GROUPREF:
            return [self._groups[value]]
        if kind is codes.BRANCH:
            return [text for item in value[1] for text in self.of(item)]
        if kind is codes.ASSERT:
            direction, item = value
            return self.of(item) if direction > 0 else [self.of(item)[0]]
        return []  # what must not stand there, and places


_CATEGORIES = {codes.CATEGORY_DIGIT: "7", codes.CATEGORY_SPACE: " ", codes.CATEGORY_NOT_WORD: "-"}


def _members(items: Any) -> list[str]:
    found: list[str] = []
    for kind, value in items:
        if kind is codes.NEGATE:
            allowed = re.compile(f"[{''.join(map(re.escape, _all_members(items[1:])))}]")
            return [next(char for char in "好A7！\u3007😀" if not allowed.match(char))]
        if kind is codes.LITERAL:
            found.append(chr(value))
        elif kind is codes.RANGE:
            found.append(chr(value[0]))
        elif kind is codes.CATEGORY:
            found.append(_CATEGORIES.get(value, "好"))
    return found


def _all_members(items: Any) -> Iterator[str]:
    """The characters that a set names, those of a range that examples could be made of."""
    for kind, value in items:
        if kind is codes.LITERAL:
            yield chr(value)
        elif kind is codes.RANGE:
            yield from (chr(value[0]), *(c for c in "好A7！" if value[0] <= ord(c) <= value[1]))
        elif kind is codes.CATEGORY:
            yield _CATEGORIES.get(value, "好")


def alternatives(pattern: Pattern) -> list[str]:
    """A text for each alternative of a pattern, that the pattern finds in a sentence."""
    found: dict[str, None] = {}
    for part in branches(bare(pattern.pattern)):
        of_part = [text for text in examples(parser.parse(part, pattern.flags)) if text]
        hit = [text for text in of_part if any(map(pattern.search, among_others(text)))]
        assert hit, f"no text is known that {part!r} finds"
        found |= dict.fromkeys(hit)
    return list(found)


def among_others(text: str) -> tuple[str, ...]:
    """A text alone, and where something stands before it, after it, or around it."""
    return text, f"好，{text}，好", f"好 {text}", f"7{text}", f"1个{text}", f"好{text}好"


_LOOK = re.compile(r"^\(\?=\[.*?(?<!\\)\]\)\(\?:(.*)\)$", re.DOTALL)


def bare(pattern: str) -> str:
    """The alternatives of a pattern that either() made, without its looks at what begins them."""
    parts = branches(pattern)
    while any(map(_LOOK.match, parts)):
        parts = [one for part in parts for one in branches(_LOOK.sub(r"\1", part))]
    return "|".join(parts)


def numbered(texts: list[str], make: Callable[[str], dict[str, Any]]) -> bytes:
    """Records with these texts, each known by its ingredient, between records without any."""
    records = []
    for number, text in enumerate(texts):
        own = make(text)
        own["recipeIngredient"] = [*own["recipeIngredient"], f"{number + 1}克面粉"]
        records.append(own)
        records.append(usable(name="炖牛肉", recipeIngredient=[f"{number + 1}两牛肉"]))
    return raw_lines(records)


def answers(outputs: Any) -> dict[int, str]:
    """The answers by the number of the text that their record was made with."""
    return {number: turn["output"] for number, turn in turns(outputs)}


def turns(outputs: Any) -> Iterator[tuple[int, dict[str, str]]]:
    """The samples with the number of the text that their record was made with."""
    for turn in conversations(outputs.train):
        if number := re.search(r"^(\d+)克面粉$", turn["output"], re.MULTILINE):
            yield int(number[1]) - 1, turn


class Spy:
    """Stands in for a pattern, and remembers what was found by it."""

    def __init__(self, pattern: Pattern) -> None:
        self._pattern = pattern
        self._whole = re.compile(pattern.pattern, pattern.flags)
        self.found: set[str] = set()
        self._seen: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        own = getattr(self._pattern, name)
        if callable(own):
            own = self._watched(own, 1 if name in ("sub", "subn") else 0)
        setattr(self, name, own)  # asked for once
        return own

    def _watched(self, own: Callable[..., Any], place: int) -> Callable[..., Any]:
        def called(*given: Any, **named: Any) -> Any:
            text = given[place]
            if text not in self._seen:
                self._seen.add(text)
                self.found.update(match[0] for match in self._whole.finditer(text))
            return own(*given, **named)

        return called


def replaced(value: Any, spies: dict[int, Spy]) -> Any:
    """`value` with a spy for each pattern in it; itself where there is none."""
    if isinstance(value, re.Pattern):
        return spies.get(id(value), value)
    if isinstance(value, tuple) and any(True for _ in _compiled(value)):
        return tuple(replaced(one, spies) for one in value)
    if isinstance(value, dict) and any(isinstance(one, tuple) for one in value.values()):
        return {key: replaced(one, spies) for key, one in value.items()}
    return value


def spies_of(found: dict[str, Pattern]) -> defaultdict[int, Spy]:
    """A spy for each pattern, by its id."""
    return defaultdict(None, {id(pattern): Spy(pattern) for pattern in found.values()})
