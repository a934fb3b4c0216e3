"""Every alternative of the rules of names, ingredients, Markdown and answers, through the stage."""

import re
from pathlib import Path
from typing import Any

import pytest

from butler.corpus.rules import adverts, amounts, answers, names, sections, steps, talk
from butler.corpus.rules.text import letters, spell
from rule_walk import LEAD, PLAIN, alternatives, numbered, patterns, turns, usable
from rule_walk import answers as told_answers
from test_corpus import json_lines, kept, raw_lines, run
from test_corpus_input import build

MENDED = {name: one for name, one in patterns().items() if one in dict(amounts.MENDED)}
MENDED |= {"_CHATTY_AMOUNT": amounts._CHATTY_AMOUNT}
CUT = {"self": talk.SELF, "tone": talk.TONE, "picture words": talk.PICTURE_WORDS}
CUT |= {"number": steps.NUMBER, "bullet": steps.BULLET}


@pytest.mark.parametrize("name", list(MENDED))
def test_an_amount_is_mended_and_its_ingredient_stays(tmp_path: Path, name: str) -> None:
    texts = alternatives(MENDED[name])
    data = numbered(texts, lambda text: usable(recipeIngredient=["1根葱", text, f"{text}芝麻"]))
    _, outputs = run(tmp_path, data, test_size=0, max_chars=9000)
    told = told_answers(outputs)
    assert len(told) == len(texts), "the other ingredients stay, and so does the recipe"
    listed = {
        texts[n]: text.split("\n")[1 : text.split("\n").index("按以下方法制作:")]
        for n, text in told.items()
    }
    assert all(lines[0] == "1根葱" for lines in listed.values())
    found = {
        text: line for text, lines in listed.items() for line in lines if MENDED[name].search(line)
    }
    assert found == {}


@pytest.mark.parametrize("name", list(CUT))
def test_words_that_go_alone_leave_what_is_to_be_done(tmp_path: Path, name: str) -> None:
    texts = alternatives(CUT[name])
    data = numbered(
        texts,
        lambda text: usable(
            # At the end of a line a number is no step's (重复步骤3), and what somebody does breaks
            # off (我们捞), or is joined with what follows (我们把).
            recipeInstructions=[
                *(LEAD, f"{text}{PLAIN}", f"{PLAIN}{'' if name in ('number', 'self') else text}"),
                "（全部）翻炒均匀",
            ]
        ),
    )
    _, outputs = run(tmp_path, data, test_size=0, max_chars=9000)
    told = {texts[n]: text.split("制作:\n")[1] for n, text in told_answers(outputs).items()}
    assert len(told) == len(texts)
    assert {text: line for text, line in told.items() if CUT[name].search(line)} == {}
    assert {text for text, line in told.items() if LEAD not in line} == set()


def test_a_part_that_names_no_dish_goes_from_a_name(tmp_path: Path) -> None:
    texts = [text for text in alternatives(names.SERIES) if len(letters(text)) > 1]
    data = numbered(texts, lambda text: usable(name=f"{text}｜土豆炖牛肉"))
    _, outputs = run(tmp_path, data, test_size=0, forms={"的做法": 1.0})
    asked = {texts[n]: turn["input"] for n, turn in turns(outputs)}
    assert {text: name for text, name in asked.items() if name != "土豆炖牛肉的做法"} == {}
    assert len(asked) == len(texts)


def markdown(tmp_path: Path, texts: list[str], body: str) -> dict[str, str]:
    """The answers by text of Markdown recipes in whose body it stands at TEXT."""
    (tmp_path / "raw").mkdir(parents=True)
    for number, text in enumerate(texts):
        content = f"# 炖肉{number}号\n\n{body.replace('TEXT', text).replace('NUMBER', str(number))}"
        (tmp_path / "raw" / f"{number}.md").write_text(content, encoding="utf-8")
    _, outputs = build(tmp_path / "raw", tmp_path / "out", format="markdown", max_chars=9000)
    asked = {int(re.search(r"\d+", turn["input"])[0]): turn["output"] for turn in kept(outputs)}
    return {texts[number]: told for number, told in asked.items()}


BODY = f"## 原料\n\n- 牛肉 1 斤\n- 面粉 NUMBER g\n\n## 操作\n\n- {LEAD}。\n- {PLAIN}。\n\n"
# What a section with a heading of each kind becomes: the line that stands in it.
HELD = {
    "STEPS": "最后大火收汁出锅",
    "INGREDIENTS": "白萝卜",
    "AMOUNTS": "白萝卜",
    "NOTES": None,
    "TOOLS": None,
}


@pytest.mark.parametrize("kind", list(HELD))
def test_a_section_is_taken_for_what_its_heading_says(tmp_path: Path, kind: str) -> None:
    texts = alternatives(getattr(sections, kind))
    line = HELD[kind] or "白萝卜"
    told = markdown(tmp_path, texts, f"{BODY}## TEXT\n\n- {line}\n")
    assert len(told) == len(texts)
    first, then = (0, 1) if kind == "STEPS" else (1, 0)
    for text, answer in told.items():
        parts = answer.split("按以下方法制作:")
        assert (line in parts[then].split("\n")) == (HELD[kind] is not None), text
        assert line not in parts[first].split("\n"), text


@pytest.mark.parametrize("rule", ["TOOL", "ARITHMETIC", "BOILERPLATE"])
def test_what_is_no_ingredient_stands_in_no_list(tmp_path: Path, rule: str) -> None:
    pattern = getattr(sections, rule)
    texts = alternatives(pattern)
    section = "原料" if rule == "TOOL" else "计算"
    told = markdown(
        tmp_path,
        texts,
        f"{BODY}## {section}\n\n- 豆腐\n- TEXT\n- 青菜{' TEXT' * (rule == 'ARITHMETIC')}\n",
    )
    assert len(told) == len(texts)
    listed = {text: told[text].split("按以下方法制作:")[0].split("\n") for text in texts}
    assert {
        text: line for text, lines in listed.items() for line in lines if pattern.search(line)
    } == {}
    assert all("牛肉 1斤" in lines for lines in listed.values())


def pairs(tmp_path: Path, said: list[str]) -> tuple[dict[int, str], list[dict[str, Any]]]:
    """The answers by number, and what was rejected."""
    data = [{"instruction": f"第{n}问怎么办？", "output": text} for n, text in enumerate(said)]
    (tmp_path / "raw.jsonl").write_bytes(raw_lines(data))
    _, outputs = build(
        tmp_path / "raw.jsonl", tmp_path / "out", format="alpaca", language=None, max_chars=9000
    )
    found = {int(re.search(r"\d+", turn["input"])[0]): turn["output"] for turn in kept(outputs)}
    return found, json_lines(outputs.rejected)


def test_a_sentence_that_tells_how_to_reach_somebody_goes_from_an_answer(tmp_path: Path) -> None:
    texts = alternatives(adverts.REACH)
    told, rejected = pairs(
        tmp_path, [f"多喝温水，注意休息。请找 {text} 。早点睡觉。" for text in texts]
    )
    assert rejected == [] and len(told) == len(texts)
    assert {texts[n]: said for n, said in told.items() if adverts.REACH.search(said)} == {}
    assert all(said.startswith("多喝温水，注意休息。") for said in told.values())


def test_line_feeds_in_two_characters_are_mended_but_in_programs(tmp_path: Path) -> None:
    broken = [f"多喝水。{text}早睡。\\n少吃辣。" for text in alternatives(answers._LITERAL)]
    printed = [f"['多喝水。{text}早睡。']" for text in ("', '", "','", "' ,'")]
    meant = [f"多喝水。\\n早睡，{text}。" for text in alternatives(answers._CODE)]
    told, _ = pairs(tmp_path, [*broken, *printed, *meant])
    for number in range(len(broken) + len(printed)):
        assert told[number].split("\n")[:2] == ["多喝水。", "早睡。"], told[number]
    for number, text in enumerate(meant, len(broken) + len(printed)):
        assert told[number] == spell(text)


def test_a_heading_that_nothing_follows_goes_from_the_end_of_an_answer(tmp_path: Path) -> None:
    headings = [text.strip() for text in alternatives(answers._EMPTY_HEADING)]
    told, _ = pairs(tmp_path, [f"多喝水，早睡觉。\n{text}" for text in headings])
    assert set(told.values()) == {"多喝水，早睡觉。"} and len(told) == len(headings)
