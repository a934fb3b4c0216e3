"""No rule is forgotten: the stage finds every alternative of every pattern of butler.corpus.rules.

The patterns are found in the modules, and texts for their alternatives are made from them, so a
pattern that is added is walked with the next run. Where one fails here, the stage does not look for
it, or only where none of the records below has it (give them a line), or another rule takes all
that it could find before (then it may go, or stands in TAKEN_BEFORE with the reason); where no text
can be made from the pattern, write some in TEXTS. What a rule then does with what it found is
walked in test_corpus_rules*.py.
"""

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from butler.corpus.rules import deeds, dish, foods, ingredients, talk
from butler.corpus.rules.text import HAN, spell
from rule_walk import (
    LEAD,
    PLAIN,
    Pattern,
    alternatives,
    among_others,
    patterns,
    replaced,
    spies_of,
    usable,
)
from test_corpus import raw_lines
from test_corpus_input import build

# What a pattern finds, where no text can be made from it alone.
TEXTS: dict[str, list[str]] = {
    # Three things, as the same three times are one.
    "deeds.USED": [
        "姜".join(one.replace("㐀", "葱", 1).rsplit("㐀", 1)) for one in alternatives(deeds.USED)
    ],
    "steps._FIRST_WITHIN": ["做面：1、和面", "先和面。1.和面"],
    # A verdict in which nothing is done is talk before: 美味好好享用, but 美味炒饭享用.
    "deeds.VERDICT": [
        swapped if deeds.VERDICT.search(swapped) else one
        for one in alternatives(deeds.VERDICT)
        for swapped in [
            re.sub(f"好好(?!的)|(?<=的)好(?=就)|{HAN[0] * 2}(?=成品|口味)", "炒饭", one)
        ]
    ],
}
_LISTS_CHATTY = "another rule of MENDED takes it before"
_SPELT = "spelling takes a space of it before"
_WHOLE = "in a clause ^ finds it; these are for TALK, which looks in whole sentences"
_EMPTY = "nothing is in it"
_PAIRED = "clean_steps leaves no round bracket that another kind opens"
_ODD = "brackets of two kinds: the line goes, as the cook talks"
# Alternatives of which other rules leave nothing, and why that is right; each may go.
TAKEN_BEFORE: dict[str, dict[str, str]] = {
    "adverts._BRACKET": dict.fromkeys(("(）", "（)", "（）"), _EMPTY),
    "steps._PAIR": dict.fromkeys(("(）", "（)", "（）"), _EMPTY),
    "adverts.REACH": {"+77      7": _SPELT},
    "amounts.MENDED": {
        **dict.fromkeys(("「我)", "〖我)", "（我」", "（我〗"), _ODD),
        "㐀A  ": _SPELT,
    },
    "ingredients._NONE": dict.fromkeys(("模()", "模（)", "模（）"), _EMPTY)
    | {"+": "BULLETS takes it before"},
    "ingredients._HOLDS_NONE": dict.fromkeys(("模具()", "模具（)", "模具（）"), _EMPTY),
    "ingredients._NAMES": dict.fromkeys(("㐀、一", "一、㐀"), "一 is a number, no name"),
    "ingredients._OF_SEVERAL": {"7毫升生抽生抽": "a word that is said twice is said once"},
    "ingredients.HEADING": dict.fromkeys(("()", "【】", "（)", "（）"), _EMPTY),
    "names._LATIN": dict.fromkeys(("㐀 A ", "㐀A  "), _SPELT),
    "names._LEAD": dict.fromkeys((f"好好好之{one * 3}" for one in "㐀一𠀀"), "_STUTTER does"),
    "names.NO_DISH": {".": "a name without letters goes before"},
    "steps.PLACEHOLDER": {"_如图": "BULLET takes _ before"},
    "talk.CHATTER": dict.fromkeys(("。这是", "，这是", "。这样的", "，这样的"), _WHOLE),
    "talk.TALK": dict.fromkeys(
        ("。这是", "。这是好，", "。这样的", "。共好了", "。好在", "。看，"),
        "no sentence has 。 before its end",
    ),
    "talk.WENT": dict.fromkeys(("没放)", "没放）"), _PAIRED),
    "deeds.USED": {
        "食材：。": "PLACEHOLDER takes it before",
        "一一：葱7克、㐀7克、姜7克、": "NUMBER does",
    },
    "talk._BRACKETS": dict.fromkeys(("【）", "「）"), _PAIRED)
    | dict.fromkeys(("(）", "（)", "（）"), _EMPTY),
    "talk._CLAUSE": dict.fromkeys(("“）", "“），", "「）", "「），", "【）", "【），"), _PAIRED),
}


UNIONS = dict.fromkeys(("amounts._BEGINS", "amounts._HOLDS"), "amounts.MENDED")
# Where the rules of a module look; those of another look everywhere.
PARTS = {
    "adverts": ("name", "recipeIngredient", "recipeInstructions"),
    "names": ("name",),
    "dish": ("dish",),
    "amounts": ("recipeIngredient",),
    "ingredients": ("recipeIngredient",),
    "steps": ("recipeInstructions",),
    "deeds": ("recipeInstructions",),
    "talk": ("recipeInstructions",),
    "foods": (),
    "cooking": (),
    "references": ("recipeInstructions",),
}


def in_recipes(texts: list[str], module: str) -> list[dict[str, Any]]:
    """Records that hold each text where the rules of the module look: all, if it has no place."""
    made: list[dict[str, Any]] = []
    for number, text in enumerate(texts):
        line = text.replace("\n", " ")
        own = {"recipeIngredient": [f"{number}克面粉"], "recipeInstructions": [LEAD, PLAIN]}
        if module in ("amounts", "ingredients"):  # which are told from talk by what the steps name
            own["recipeInstructions"] = [LEAD, PLAIN, f"葱花{text}葱花"]
        for part in PARTS.get(module, WHERE):
            values = [
                one.replace("TEXT", line if part != "recipeIngredient" else text)
                for one in WHERE[part]
            ]
            if part in ("name", "dish"):
                made += [usable(**own | {part: value}) for value in values]
            else:
                made.append(usable(**own | {part: values}))
                if module == "steps":  # which cut what is told in one paragraph
                    made += [usable(**own | {part: [value]}) for value in values]
        made += [usable(**own | more) for more in beside(text).get(module, [])]
    return made


# Where a text stands in a part of a record.
WHERE = {
    "name": ["TEXT", "炖肉 TEXT", "TEXT 炖肉", "炖TEXT肉", "TEXTstew", "炖肉TEXT", "TEXT|炖肉"],
    "recipeIngredient": [
        *("TEXT", "TEXT葱花", "葱花TEXT", "1个TEXT", "葱花 TEXT", "7TEXT", "TEXT7克", "TEXT分享"),
        *("葱花TEXT，我买的", "葱花TEXT我买的", "葱花TEXT，www.a.com"),
        *("1个，TEXT", "1个，我用TEXT葱花", "1个，我用葱花TEXT"),
    ],
    "recipeInstructions": [
        *("TEXT", f"TEXT{PLAIN}", f"{LEAD}TEXT", "放3 TEXT", f"{LEAD}，TEXT，{PLAIN}。"),
        "TEXT丁香适量",
        *(f"{LEAD}，{PLAIN}，味道好吃TEXT。", f"我们先{PLAIN}TEXT"),
        f"{LEAD}TEXT，www.a.com，{PLAIN}",
        *(f"TEXT1、{PLAIN}。2、{LEAD}", f"{LEAD}TEXT{PLAIN}", "味道好吃TEXT装盘"),
        # Before and after a clause that goes, in brackets.
        *(f"{LEAD}，我家没有，TEXT{PLAIN}。", f"{LEAD}，我家没有，所以TEXT{PLAIN}。"),
        *(f"我家没有! TEXT{PLAIN}。", f"好! TEXT{PLAIN}，我家没有，{LEAD}。"),
        *(f"{LEAD}TEXT我家没有，{PLAIN}。", f"好! TEXT喜欢，{PLAIN}。", f"{LEAD}（好TEXT好）"),
    ],
    "dish": ["炖肉TEXT", "TEXT炖肉"],
}  # fmt: skip


def beside(text: str) -> dict[str, list[dict[str, Any]]]:
    """More records with a text, for the rules of a module that look at several parts together."""
    listed = ["1个冬瓜", "2根黄豆", "1勺咖喱", "1个番石榴", "3朵茉莉"]
    return {
        "foods": [
            {"name": f"拌{text}", "recipeInstructions": [LEAD, f"{text}{PLAIN}"]},
            {"recipeInstructions": [LEAD, f"{text}{PLAIN}"]},
            {"recipeIngredient": [f"2勺葱花{text}海苔{text}松仁", f"{text}{text}蒜末"]},
            {"recipeIngredient": listed, "recipeInstructions": [f"把{text}切块", "放进去煮熟"]},
            *(
                {"name": name, "recipeIngredient": one, "recipeInstructions": [LEAD, text + PLAIN]}
                for name in ("拌面", "炒粉", "炒饭", "炖肉", "甜粥", "水饺", "馒头")
                for one in ([text], ["1个冬瓜"])
            ),
            {
                "name": "炒藻",
                "recipeIngredient": [text],
                "recipeInstructions": [f"藻{PLAIN}", LEAD],
            },
        ],
        "steps": [
            {"recipeInstructions": [LEAD, *f"{PLAIN}{text}".split("\n"), PLAIN]},
            {"recipeInstructions": [LEAD, "把肉切成", text]},
        ],
        "cooking": [
            usable(),
            {"name": text, "recipeInstructions": ["把葱洗净切段", "拌匀"]},
            {"name": "蛋糕", "recipeIngredient": [text], "recipeInstructions": ["切段", "拌匀"]},
            {"name": "炒面", "recipeInstructions": ["把葱洗净切段", f"拌匀{text}，拌匀"]},
            {"name": "水饺", "recipeInstructions": ["把葱洗净切段", f"拌匀{text}，拌匀"]},
        ],
        "deeds": [
            {"recipeInstructions": [LEAD, text, "盐适量", "糖适量", "油适量", LEAD, PLAIN]},
            {"recipeInstructions": [LEAD, text, PLAIN]},
        ],
        "talk": [{"recipeInstructions": ["我家没有，我下次再说。", LEAD, f"{PLAIN}{text}。"]}],
    }


def in_pairs(texts: list[str]) -> list[dict[str, Any]]:
    """Questions and answers with each text."""
    return [
        {"instruction": f"红烧肉{asked}", "output": said}
        for text in texts
        for asked, said in (
            *((text, "多喝水。"), ("", text), ("", f"多喝水。{text}"), ("", f"好！{text}水。")),
            *(("", f"{text} is ok. {text} it"), ("", f"一\\n{text}二"), ("", f"['切{text}煮']")),
            (f"{text}怎么做", "多喝水。"),
        )
    ]


def in_files(texts: list[str]) -> dict[str, str]:
    """Markdown recipes with each text as a heading and as a line of each section."""
    body = (
        "## TEXT\n\n- 豆腐\n\n## 原料\n\n- 盐\n- TEXT\n- TEXT多一些\n- TEXT豆腐\n\n"
        "## 计算\n\n- TEXT\n- 用盐水泡过的那一种嫩豆腐两块TEXT\n\n"
        f"## 操作\n\n- {LEAD}\n- {PLAIN}\n- TEXT\n\n### TEXT\n"
    )
    return {
        f"{number}.md": f"# 汤{number}\n\n{body.replace('TEXT', text)}"
        for number, text in enumerate(texts)
    }


def run_stage(folder: Path, module: str, texts: list[str]) -> None:
    """Take what holds each text through the stage, in the formats that the module has rules for."""
    if module == "sections":
        (folder / "raw").mkdir()
        for name, content in in_files(texts).items():
            (folder / "raw" / name).write_text(content, encoding="utf-8")
        build(folder / "raw", folder / "out", format="markdown", max_chars=9000)
    if module not in ("sections", "answers"):
        (folder / "a.jsonl").write_bytes(raw_lines(in_recipes(texts, module)))
        # A sample, so that doubt is weighed.
        build(folder / "a.jsonl", folder / "a", max_chars=9000, sample=1)
    if module in ("adverts", "answers", "text", "dish"):
        (folder / "b.jsonl").write_bytes(raw_lines(in_pairs(texts)))
        for language in (None, "en"):
            build(folder / "b.jsonl", folder / "b", format="alpaca", language=language)


def forget() -> None:
    """Ask about every line anew, whatever was asked about before."""
    for module in (deeds, dish, foods, ingredients, talk):
        for function in vars(module).values():
            if hasattr(function, "cache_clear"):
                function.cache_clear()


@pytest.mark.parametrize("module", sorted({name.split(".")[0] for name in patterns()}))
def test_the_stage_finds_every_alternative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    walked = {name: one for name, one in patterns().items() if name.split(".")[0] == module}
    spies = spies_of(walked)
    for name in [name for name in sys.modules if name.startswith("butler.corpus")]:
        for attribute, value in list(vars(sys.modules[name]).items()):
            if (spy := replaced(value, spies)) is not value:
                monkeypatch.setattr(sys.modules[name], attribute, spy)
    forget()
    texts = {name: TEXTS.get(name) or alternatives(one) for name, one in walked.items()}
    every = list(dict.fromkeys(text for of_one in texts.values() for text in of_one))
    run_stage(tmp_path, module, every)
    forget()
    missed = {}
    for at, pattern in walked.items():
        found = spies[id(pattern)].found
        name = at.split("[")[0]
        excused = TAKEN_BEFORE.get(UNIONS.get(name, name), {})
        lost = [text for text in texts[at] if not _was_found(pattern, text, found)]
        if module != "text":  # what spelling leaves of it
            lost = [one for one in lost if any(pattern.search(spell(x)) for x in among_others(one))]
        if lost := sorted(set(lost) - set(excused)):
            missed[at] = lost
    assert not missed


def _was_found(pattern: Pattern, text: str, found: set[str]) -> bool:
    """Whether what a pattern finds in this text is among what it found in the stage."""
    finds = [
        match[0]
        for one in among_others(text)
        for spelt in (one, spell(one))
        for match in pattern.finditer(spelt)
    ]
    return not found.isdisjoint(finds) or any(
        part in one for part in (spell(text), finds[0]) for one in found if part
    )
