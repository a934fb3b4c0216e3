"""Every alternative of every rule is in force: a record that holds it goes through the real stage.

The alternatives are walked from the patterns themselves; an alternative added to one of them is
tested with the next run.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import pytest

from butler.chat_template import MARKER
from butler.corpus.rules import adverts, ingredients, names, steps, talk
from butler.corpus.rules.patterns import any_sought, branches
from butler.corpus.rules.prefilter import Prefiltered
from butler.corpus.rules.text import spell
from test_corpus import conversations, json_lines, raw_lines, run
from test_corpus_input import build
from test_corpus_text import recipe

PLAIN = "把它们都切成小块放进锅里煮熟"
LEAD = "锅里倒油烧热以后下肉片翻炒均匀"


def examples(items: Any) -> list[str]:
    """Texts that a parsed pattern matches: one for each alternative in it, at least."""
    found = [""]
    for kind, value in items:
        own = _examples_of(kind, value)
        if not own:
            continue
        first = [start + own[0] for start in found]
        found = first + [found[0] + other for other in own[1:]]
    return found


def _examples_of(kind: Any, value: Any) -> list[str]:
    if kind is codes.LITERAL:
        return [chr(value)]
    if kind is codes.NOT_LITERAL:
        return ["好"]
    if kind is codes.ANY:
        return ["好"]
    if kind is codes.IN:
        return _members(value)
    if kind in (codes.MAX_REPEAT, codes.MIN_REPEAT):
        least, _, item = value
        own = examples(item)
        return [one * max(least, 1) for one in own] if least else ["", *own]
    if kind is codes.SUBPATTERN:
        return examples(value[-1])
    if kind is codes.BRANCH:
        return [text for item in value[1] for text in examples(item)]
    if kind is codes.ASSERT:
        direction, item = value
        return examples(item) if direction > 0 else [examples(item)[0]]
    return []  # what must not stand there, and places


def _members(items: Any) -> list[str]:
    found: list[str] = []
    for kind, value in items:
        if kind is codes.NEGATE:
            return ["好"]
        if kind is codes.LITERAL:
            found.append(chr(value))
        elif kind is codes.RANGE:
            found.append(chr(value[0]))
        elif kind is codes.CATEGORY:
            found.append("7" if value is codes.CATEGORY_DIGIT else "好")
    return found


def alternatives(pattern: re.Pattern[str] | Prefiltered) -> list[str]:
    """A text for each alternative of a pattern, that the pattern finds in a sentence."""
    found: dict[str, None] = {}
    for part in branches(_bare(pattern.pattern)):
        of_part = [text for text in examples(parser.parse(part, pattern.flags)) if text.strip()]
        hit = [
            text for text in of_part if pattern.search(text) or pattern.search(f"好，{text}，好")
        ]
        assert hit, f"no text is known that {part!r} finds"
        found |= dict.fromkeys(hit)
    return list(found)


_LOOK = re.compile(r"^\(\?=\[.*?(?<!\\)\]\)\(\?:(.*)\)$", re.DOTALL)


def _bare(pattern: str) -> str:
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
        records.append(
            recipe(
                name="炖牛肉",
                recipeIngredient=[f"{number + 1}两牛肉"],
                recipeInstructions=[LEAD, PLAIN],
            )
        )
    return raw_lines(records)


def answers(outputs: Any) -> dict[int, str]:
    """The answers by the number of the text that their record was made with."""
    found = {}
    for turn in conversations(outputs.train):
        if number := re.search(r"^(\d+)克面粉$", turn["output"], re.MULTILINE):
            found[int(number[1]) - 1] = turn["output"]
    return found


STEP_RULES = {
    "contact": adverts.CONTACT,
    "link": adverts.LINK,
    "picture": talk.PICTURE,
    "personal": talk.PERSONAL,
}


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("rule", list(STEP_RULES))
def test_what_is_never_told_stands_in_no_answer(tmp_path: Path, rule: str, processes: int) -> None:
    pattern = STEP_RULES[rule]
    texts = alternatives(pattern)
    data = numbered(
        texts, lambda text: recipe(recipeInstructions=[LEAD, PLAIN, f"{LEAD}，{text}，{PLAIN}。"])
    )
    (tmp_path / "raw.jsonl").write_bytes(data)
    stats, outputs = build(tmp_path / "raw.jsonl", tmp_path / "out", processes=processes)
    told = answers(outputs)
    assert stats["kept"] >= len(texts), "the records without it stay"
    assert {texts[n]: text for n, text in told.items() if pattern.search(text)} == {}
    gone = {texts[n] for n in range(len(texts))} - {texts[n] for n in told}
    rejected = {entry["reason"] for entry in json_lines(outputs.rejected)}
    assert rejected <= {"advert", "contact", "other_language", "chat_marker"}, (rejected, gone)


def test_praise_goes_where_nothing_is_to_be_done(tmp_path: Path) -> None:
    texts = [text for text in alternatives(talk.CHATTER) if not talk.DOING.search(f"，{text}，")]
    assert len(texts) > 150
    data = numbered(
        texts, lambda text: recipe(recipeInstructions=[LEAD, PLAIN, f"{LEAD}，{text}。"])
    )
    _, outputs = run(tmp_path, data, test_size=0)
    told = answers(outputs)
    assert {texts[n]: text for n, text in told.items() if talk.CHATTER.search(text)} == {}
    assert len(told) == len(texts)


def test_what_tells_to_do_something_stays(tmp_path: Path) -> None:
    texts = [
        text
        for text in alternatives(talk.DOING)
        if not (talk.PICTURE.search(text) or talk.PERSONAL.search(text))
    ]
    data = numbered(
        texts, lambda text: recipe(recipeInstructions=[LEAD, PLAIN, f"味道{text}到好为止"])
    )
    _, outputs = run(tmp_path, data, test_size=0)
    told = answers(outputs)
    assert [text for n, text in enumerate(texts) if spell(text) not in told.get(n, "")] == []


def test_placeholders_are_no_steps(tmp_path: Path) -> None:
    texts = [
        text
        for one in steps._NOTHING
        for text in examples(parser.parse(one))
        if text and steps.PLACEHOLDER.search(text)
    ]
    assert len(texts) > 60
    data = numbered(texts, lambda text: recipe(recipeInstructions=[LEAD, f"{text}。", PLAIN]))
    _, outputs = run(tmp_path, data, test_size=0)
    told = answers(outputs)
    assert len(told) == len(texts)
    assert {text.split("\n", 1)[1].split("制作:\n")[1] for text in told.values()} == {
        f"{LEAD}\n{PLAIN}"
    }


def test_makers_and_tools_are_no_ingredients(tmp_path: Path) -> None:
    makers = [text for text in alternatives(adverts.BRAND) if not text.isascii()]
    data = numbered(makers, lambda text: recipe(recipeIngredient=[f"3勺{text}芝麻酱油"]))
    _, outputs = run(tmp_path / "a", data, test_size=0)
    assert {text for text in answers(outputs).values() if adverts.BRAND.search(text)} == set()
    assert len(answers(outputs)) == len(makers)
    tools = [
        text
        for text in alternatives(ingredients._NO_INGREDIENT)
        if ingredients._NO_INGREDIENT.search(text)
    ]
    data = numbered(tools, lambda text: recipe(recipeIngredient=[text]))
    _, outputs = run(tmp_path / "b", data, test_size=0)
    listed = [text.split("\n")[1] for text in answers(outputs).values()]
    assert len(listed) == len(tools) > 40
    assert {line for line in listed if not re.fullmatch(r"\d+克面粉", line)} == set()


def test_vague_amounts_are_told_in_one_word(tmp_path: Path) -> None:
    texts = [
        text for one in branches(ingredients._CHATTY) for text in examples(parser.parse(one))
        if re.fullmatch(ingredients._CHATTY, text)
    ]  # fmt: skip
    assert len(texts) > 40 and all(map(ingredients._CHATTY_AMOUNT.search, texts))
    data = numbered(texts, lambda text: recipe(recipeIngredient=[f"{text}芝麻"]))
    _, outputs = run(tmp_path, data, test_size=0)
    listed = [text.split("\n")[1] for text in answers(outputs).values()]
    assert len(listed) == len(texts) and set(listed) == {"适量芝麻"}


def test_names_of_no_dish_are_rejected(tmp_path: Path) -> None:
    texts = alternatives(names.NO_DISH)
    texts = [text for text in texts if names.NO_DISH.search(names.bare_name(text))]
    assert len(texts) > 25
    data = numbered(texts, lambda text: recipe(name=text))
    stats, outputs = run(tmp_path, data, test_size=0)
    assert answers(outputs) == {}
    assert stats["reasons"] == {"no_recipe": len(texts)}


def test_no_marker_of_a_chat_template_stays(tmp_path: Path) -> None:
    texts = alternatives(MARKER)
    data = numbered(texts, lambda text: recipe(recipeInstructions=[LEAD, f"{PLAIN}{text}好"]))
    _, outputs = run(tmp_path, data, test_size=0)
    assert {text for text in answers(outputs).values() if MARKER.search(text)} == set()


@pytest.mark.parametrize("processes", [1, 2])
def test_an_alternative_added_in_one_place_is_in_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    word = "飞鸽传书"
    data = numbered(
        [word], lambda text: recipe(recipeInstructions=[LEAD, f"{PLAIN}，{text}找到店"])
    )
    path = tmp_path / "raw.jsonl"
    path.write_bytes(data)
    _, before = build(path, tmp_path / "before", processes=processes)
    assert word in answers(before)[0]
    added = any_sought([*branches(_bare(adverts.CONTACT.pattern)), word], re.IGNORECASE)
    monkeypatch.setattr(adverts, "CONTACT", added)
    _, after = build(path, tmp_path / "after", processes=processes)
    assert word not in after.train.read_text("utf-8")


def _patterns() -> Iterator[tuple[str, re.Pattern[str] | Prefiltered]]:
    for module in (adverts, ingredients, names, talk):
        for name, value in vars(module).items():
            kinds = (re.Pattern, Prefiltered)
            if isinstance(value, kinds) and value.pattern.startswith("(?=["):
                yield f"{module.__name__}.{name}", value


@pytest.mark.parametrize(("name", "pattern"), list(_patterns()))
def test_a_pattern_finds_what_its_bare_alternatives_find(
    name: str, pattern: re.Pattern[str] | Prefiltered
) -> None:
    bare = re.compile(_bare(pattern.pattern), pattern.flags)
    for part in branches(_bare(pattern.pattern)):
        for text in examples(parser.parse(part, pattern.flags)):
            told = f"好，{text}，好"
            assert bool(pattern.search(told)) == bool(bare.search(told)), (name, told)
