"""Every alternative of every rule is in force: a record that holds it goes through the real stage.

The alternatives are walked from the patterns themselves (rule_walk.py): one that is added to them
is tested with the next run. test_corpus_rules_parts.py does the same for the rules of names, of
ingredients, of Markdown and of answers; test_corpus_rules_in_force.py walks all patterns there are.
"""

import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from re import _parser as parser  # type: ignore[attr-defined]

import pytest

from butler.chat_template import MARKER
from butler.corpus.rules import adverts, amounts, ingredients, names, steps, talk
from butler.corpus.rules.patterns import branches, either, needed
from butler.corpus.rules.text import spell
from real_tools import SCRIPTS
from rule_walk import (
    LEAD,
    PLAIN,
    alternatives,
    among_others,
    answers,
    bare,
    examples,
    numbered,
    patterns,
    usable,
)
from test_corpus import json_lines, run
from test_corpus_input import build

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
        texts, lambda text: usable(recipeInstructions=[LEAD, PLAIN, f"{LEAD}，{text}，{PLAIN}。"])
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
        texts, lambda text: usable(recipeInstructions=[LEAD, PLAIN, f"{LEAD}，{text}。"])
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
        texts, lambda text: usable(recipeInstructions=[LEAD, PLAIN, f"味道{text}到好为止"])
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
    data = numbered(texts, lambda text: usable(recipeInstructions=[LEAD, f"{text}。", PLAIN]))
    _, outputs = run(tmp_path, data, test_size=0)
    told = answers(outputs)
    assert len(told) == len(texts)
    assert {text.split("\n", 1)[1].split("制作:\n")[1] for text in told.values()} == {
        f"{LEAD}\n{PLAIN}"
    }


def test_makers_and_tools_are_no_ingredients(tmp_path: Path) -> None:
    makers = [text for text in alternatives(adverts.BRAND) if not text.isascii()]
    data = numbered(makers, lambda text: usable(recipeIngredient=[f"3勺{text}芝麻酱油"]))
    _, outputs = run(tmp_path / "a", data, test_size=0)
    assert {text for text in answers(outputs).values() if adverts.BRAND.search(text)} == set()
    assert len(answers(outputs)) == len(makers)
    tools = [
        text
        for pattern in (ingredients._NONE, ingredients._HOLDS_NONE)
        for text in alternatives(pattern)
        if pattern.search(text)
    ]
    data = numbered(tools, lambda text: usable(recipeIngredient=[text]))
    _, outputs = run(tmp_path / "b", data, test_size=0)
    listed = [text.split("\n")[1] for text in answers(outputs).values()]
    assert len(listed) == len(tools) > 40
    assert {line for line in listed if not re.fullmatch(r"\d+克面粉", line)} == set()


def test_vague_amounts_are_told_in_one_word(tmp_path: Path) -> None:
    texts = [
        text for one in branches(amounts.CHATTY) for text in examples(parser.parse(one))
        if re.fullmatch(amounts.CHATTY, text)
    ]  # fmt: skip
    assert len(texts) > 40 and all(map(amounts._CHATTY_AMOUNT.search, texts))
    data = numbered(texts, lambda text: usable(recipeIngredient=[f"{text}芝麻"]))
    _, outputs = run(tmp_path, data, test_size=0)
    listed = [text.split("\n")[1] for text in answers(outputs).values()]
    assert len(listed) == len(texts) and set(listed) == {"适量芝麻"}


def test_names_of_no_dish_are_rejected(tmp_path: Path) -> None:
    texts = alternatives(names.NO_DISH)
    texts = [text for text in texts if names.NO_DISH.search(names.bare_name(text))]
    assert len(texts) > 25
    data = numbered(texts, lambda text: usable(name=text))
    stats, outputs = run(tmp_path, data, test_size=0)
    assert answers(outputs) == {}
    assert stats["reasons"] == {"no_recipe": len(texts)}


def test_no_marker_of_a_chat_template_stays(tmp_path: Path) -> None:
    texts = alternatives(MARKER)
    data = numbered(texts, lambda text: usable(recipeInstructions=[LEAD, f"{PLAIN}{text}好"]))
    _, outputs = run(tmp_path, data, test_size=0)
    assert {text for text in answers(outputs).values() if MARKER.search(text)} == set()


@pytest.mark.parametrize("processes", [1, 2])
def test_an_alternative_added_in_one_place_is_in_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    word = "飞鸽传书"
    data = numbered(
        [word], lambda text: usable(recipeInstructions=[LEAD, f"{PLAIN}，{text}找到店"])
    )
    path = tmp_path / "raw.jsonl"
    path.write_bytes(data)
    _, before = build(path, tmp_path / "before", processes=processes)
    assert word in answers(before)[0]
    added = either([*branches(bare(adverts.CONTACT.pattern)), word], re.IGNORECASE)
    monkeypatch.setattr(adverts, "CONTACT", added)
    _, after = build(path, tmp_path / "after", processes=processes)
    assert word not in after.train.read_text("utf-8")


def needs() -> dict[str, tuple[re.Pattern[str], re.Pattern[str]]]:
    """Each pattern of which any match needs one of some characters, with those."""
    found = {}
    for name, pattern in patterns().items():
        with suppress(ValueError):  # it may match without any
            found[name] = (pattern, needed(pattern))
    return found


NEEDS = needs()


def test_of_most_patterns_it_is_told_what_they_need() -> None:
    assert len(NEEDS) > 0.9 * len(patterns())


@pytest.mark.parametrize("name", NEEDS)
def test_what_a_match_needs_is_in_every_text_that_a_pattern_finds(name: str) -> None:
    pattern, characters = NEEDS[name]
    for part in branches(bare(pattern.pattern)):
        for text in examples(parser.parse(part, pattern.flags)):
            for told in among_others(text):
                assert characters.search(told) or not pattern.search(told), (name, told)


def test_a_pattern_that_needs_no_character_has_none_to_be_looked_for() -> None:
    with pytest.raises(ValueError, match="needs no character of its own"):
        needed(re.compile("[^a]|b"))


_OF_EITHER = [one for one in patterns().items() if one[1].pattern.startswith("(?=[")]


@pytest.mark.parametrize(("name", "pattern"), _OF_EITHER)
def test_a_pattern_finds_what_its_bare_alternatives_find(
    name: str, pattern: re.Pattern[str]
) -> None:
    whole = re.compile(bare(pattern.pattern), pattern.flags)
    for part in branches(bare(pattern.pattern)):
        for text in examples(parser.parse(part, pattern.flags)):
            told = f"好，{text}，好"
            assert bool(pattern.search(told)) == bool(whole.search(told)), (name, told)


def test_a_pattern_is_the_same_in_every_process() -> None:
    """Which of several alternatives is taken may change a match, so their order must not change."""
    code = "from butler.corpus.rules import adverts as a, talk as t; "
    code += "print(t.TALK.pattern, a.CONTACT.pattern)"
    found = set()
    for seed in ("0", "1", "2"):
        variables = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(SCRIPTS)}
        found.add(subprocess.check_output([sys.executable, "-c", code], env=variables))
    assert len(found) == 1
