"""Corpora of any domain and language: what is kept of them, to the letter, and what is not."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from butler.corpus.rules.adverts import tells_contact, without_contact
from butler.corpus.rules.text import spell
from test_corpus import conversations, json_lines, kept, raw_lines, rejections, run
from test_corpus_input import build
from test_corpus_text import recipe

# Each of them has something that a rule for Chinese recipes would take away or respell.
ENGLISH = [
    (
        "Q: What does “mise en place” mean?",
        "It means “everything in its place”, said of a kitchen.",
    ),
    ("How much flour is in 1 cup?", "About 120 g, or 4.2 oz. Sift it for 5 min first."),
    (
        "A baker makes 14000000 rolls a year and sells nine out of ten of them. "
        "How many rolls are left over?",
        "1400000 rolls are left over.",
    ),
    ("Which is larger?\nA. 3/4\nB. 2/3", "A"),
    ("Is B larger?\nB. 2/3\nA. 3/4", "No"),
    ("What is the derivative of f(x) = (x^n)?", "It is n(x^(n-1)), so v x becomes v."),
    ("Which standard is about information security?", "ISO-27001, see also RFC-2119 and ID_12345."),
    ("What does @property do in Python?", "It makes a method an attribute:\nclass A:\n@property"),
    ("Wait.... is a café naïve?", "No, a “café” can't be; people are. C++ isn't either."),
    ("Is 版权 a word?", "Yes: it means copyright, as 侵权 means infringement of it."),
    ("What is www?", "A set of pages.\n1. Pages\n2. Links"),
    ("Say OK", "OK"),
]


def alpaca(pairs: list[tuple[str, str]]) -> bytes:
    return raw_lines([{"instruction": asked, "output": said} for asked, said in pairs])


def english(**changes: Any) -> dict[str, Any]:
    return {"format": "alpaca", "language": "en", "min_chars": 1, "test_size": 0} | changes


def test_english_pairs_are_kept_to_the_letter(tmp_path: Path) -> None:
    stats, outputs = run(tmp_path, alpaca(ENGLISH), **english())
    assert rejections(outputs) == []
    assert sorted((turn["input"], turn["output"]) for turn in kept(outputs)) == sorted(ENGLISH)
    assert stats["reasons"] == {}


def test_a_block_of_code_is_rejected_and_not_kept_without_its_indentation(tmp_path: Path) -> None:
    code = "Like this:\n```python\nfor one in all:\n    print(one)\n```"
    pairs = [*ENGLISH, ("How do I print all?", code), ("What does ``` begin?", "A block.")]
    _, outputs = run(tmp_path, alpaca(pairs), **english())
    assert [reason for _, reason in rejections(outputs)] == ["code"]
    assert "What does ``` begin?" in [turn["input"] for turn in kept(outputs)]


def test_a_question_of_several_lines_comes_out_of_a_table_as_it_is(tmp_path: Path) -> None:
    stream = io.StringIO()
    csv.writer(stream).writerows([("question", "answer"), *ENGLISH])
    path = tmp_path / "raw.csv"
    path.write_text(stream.getvalue(), encoding="utf-8")
    for sample, near in ((0, 0.0), (9, 0.7)):
        out = tmp_path / str(sample)
        _, outputs = build(
            path, out, test_size=3, sample=sample, near_duplicates={"threshold": near},
            format="qa_table", language="en", min_chars=1,
        )  # fmt: skip
        turns = kept(outputs)
        assert len(turns) == (sample or len(ENGLISH))
        assert {(turn["input"], turn["output"]) for turn in turns} <= set(ENGLISH)
        names = [entry["name"] for entry in json_lines(outputs.rejected)]
        assert set(names) <= {asked[:60] for asked, _ in ENGLISH}


def test_pairs_are_asked_as_they_are_and_recipes_in_the_forms(tmp_path: Path) -> None:
    pairs = [(f"第{number}条是什么？", "是关于合同的条款。") for number in "一二三"]
    _, outputs = run(tmp_path / "a", alpaca(pairs), **english(language="zh"))
    assert sorted(turn["input"] for turn in kept(outputs)) == sorted(asked for asked, _ in pairs)


@pytest.mark.parametrize(
    ("language", "wrong", "detail"),
    [
        ("zh", 2, "0% of the letters are Han, fewer than 50% (corpus.language: zh)"),
        ("en", 1, "0% of the letters are Latin, fewer than 50% (corpus.language: en)"),
        (None, 0, ""),
    ],
)
@pytest.mark.parametrize("kind", ["pairs", "recipes"])
def test_records_of_another_language_are_rejected_by_the_key(
    tmp_path: Path, kind: str, language: str | None, wrong: int, detail: str
) -> None:
    chinese, latin = "豆腐切块，下锅煮熟以后盛出。", "Cut the leek, boil it and serve it warm."
    if kind == "pairs":
        data = alpaca([("豆腐怎么做？", chinese), ("What about leeks?", latin)])
    else:
        data = raw_lines(
            [
                recipe(recipeIngredient=["豆腐"], recipeInstructions=[chinese]),
                recipe(name="Leek", recipeIngredient=["Leek"], recipeInstructions=[latin]),
            ]
        )
    form = "alpaca" if kind == "pairs" else "xiachufang"
    _, outputs = run(tmp_path, data, **english(language=language, format=form))
    found = json_lines(outputs.rejected)
    wanted = [(wrong, "other_language", detail)] if wrong else []
    assert [(entry["line"], entry["reason"], entry["detail"]) for entry in found] == wanted


def test_latin_letters_with_accents_count_and_cyrillic_ones_do_not(tmp_path: Path) -> None:
    entries = [
        recipe(
            name="Œufs", recipeIngredient=["Œufs"], recipeInstructions=["Éàüöß ñçéè âêîôû ÿøå."]
        ),
        recipe(name="Суп", recipeIngredient=["Лук"], recipeInstructions=["Нарезать лук и варить."]),
    ]
    changes = english(format="xiachufang")
    _, outputs = run(tmp_path, raw_lines(entries), **changes)
    assert rejections(outputs) == [(2, "other_language")]


def test_of_pairs_only_what_tells_a_contact_goes(tmp_path: Path) -> None:
    pairs = [
        ("商标被侵权怎么办？", "可以向客服投诉，也可以联系律师。二维码不是证据。"),
        ("怎么加入？", "先注册。加微信：abc_12345领资料。再登录。"),
        ("Where is it?", "In Rome. See https://example.com/a?b=c for more. Mind the gap."),
        ("Who helps?", "Call +44 20 7946 0958."),
        ("Is it at https://example.com?", "Yes, it is."),
    ]
    _, outputs = run(tmp_path, alpaca(pairs), **english(language=None))
    answers = {turn["input"]: turn["output"] for turn in kept(outputs)}
    assert answers == {
        pairs[0][0]: pairs[0][1],
        "怎么加入？": "先注册。再登录。",
        "Where is it?": "In Rome. Mind the gap.",
    }
    assert rejections(outputs) == [(4, "advert"), (5, "advert")]


def test_questions_that_differ_in_a_number_are_several(tmp_path: Path) -> None:
    pairs = [(f"How much is {number} times 7 (in digits)?", str(7 * number)) for number in range(9)]
    stats, outputs = run(tmp_path, alpaca(pairs), **english(test_size=4))
    assert stats["dishes"] == {"train": 5, "test": 4}
    asked = [
        ("红烧肉怎么做？", "先切块。"),
        ("红烧肉的做法", "先焯水。"),
        ("豆腐的做法", "先切丁。"),
    ]
    stats, _ = run(tmp_path / "b", alpaca(asked), **english(language="zh", test_size=1))
    assert stats["dishes"] == {"train": 1, "test": 1} and stats["test"] == 1


def test_an_answer_in_common_makes_no_record_known(tmp_path: Path) -> None:
    moods = ("The sentiment of this review is positive.", "The sentiment of it is negative.")
    words = "apple bridge copper dragon engine forest garden hammer island jungle kettle lantern"
    pairs = [
        (f"How does the {word} review of {word} number {at} sound to you?", moods[at % 2])
        for at, word in enumerate(words.split())
    ]
    rule = {"share": 0.6, "ngram": 13}
    stats, outputs = run(tmp_path, alpaca(pairs), **english(test_size=4, decontaminate=rule))
    assert (stats["train"], stats["test"]) == (8, 4), json_lines(outputs.rejected)
    copied = [("Tell me, how does the apple review of apple number 0 sound to you?", moods[0])]
    texts = [*pairs[:1], *copied, ("Why?", "No."), ("When?", "Now.")]
    for seed in range(60):
        folder = tmp_path / str(seed)
        _, outputs = run(
            folder, alpaca(texts), seed=seed, **english(test_size=1, decontaminate=rule)
        )
        held = conversations(outputs.test)[0]["input"]
        if held == pairs[0][0]:
            (entry,) = json_lines(outputs.rejected)
            assert entry["reason"] == "contaminated"
            assert entry["detail"] == f"holds 100% of the test record {held}"
            return
    raise AssertionError("no seed held the first out")


@given(
    st.text(st.sampled_from("aé “”’.,!?;:~()^@/-_ 0123…\t\u200b😀½ﬁ"), max_size=30), st.booleans()
)
def test_a_clean_line_stays_as_it_is(text: str, chinese: bool) -> None:
    clean = spell(text, chinese)
    assert spell(clean, chinese) == clean


PARTS = ["Go on.", " ", "a", "www.x.org", "1380013", "8000", "先看。", "qq", ":12345", "!", "?"]


@given(st.lists(st.sampled_from(PARTS)))
def test_what_is_left_of_a_line_tells_no_contact(parts: list[str]) -> None:
    assert not tells_contact(without_contact("".join(parts)))
