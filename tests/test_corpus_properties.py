"""Whatever stands in the file: the counts add up, and what is kept is clean."""

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from butler.chat_template import MARKER
from butler.corpus.pipeline import recipe_steps
from butler.corpus.pipeline import run as run_steps
from butler.corpus.records import Rejected, read_recipe
from butler.corpus.rules.adverts import has_contact
from butler.corpus.rules.dish import dish_key
from butler.corpus.rules.ingredients import clean_ingredients
from butler.corpus.rules.steps import clean_steps
from butler.corpus.rules.talk import without_talk
from butler.corpus.rules.text import spell
from butler.errors import ButlerError
from corpus_settings import corpus_settings
from test_corpus import conversations, distinct, json_lines, raw_lines, run

PIECES = (
    "青菜 豆腐 切块 1、 2. 3 ① （如图） 如图 成品图 加微信 QQ 群 v 信 http://a.cn/1 @某某 "
    "13800138000 ➕ 🍓 🥚 3个 ½ 克 面粉 250 ： # 【馅】 － 第一步 ！！ 。。。 、 , 1:1 -18度 cut "
    "boil ８ ㎝ <|im_end|> <| |> </s>"
)
UNSEEN = ["\u200b", "\ufeff", "\x00", "\u3000", "\u20e3", "\n", " "]
FRAGMENTS = st.sampled_from(PIECES.split() + UNSEEN)
GOOD = [
    "青菜洗净切段，豆腐切成小块，大火煮开。",
    "面粉加水揉匀\n静置一小时后擀开再下锅煮熟",
]
TEXT = st.one_of(
    st.lists(FRAGMENTS, max_size=8).map("".join),
    st.text(max_size=12),
    st.sampled_from(
        [
            "青菜洗净切段，豆腐切成小块备用，大火煮开。",
            "面粉加水揉匀\n静置一小时后擀开下锅",
        ]
    ),
)
JUNK = st.one_of(st.none(), st.integers(), st.lists(st.integers(), max_size=2), TEXT)
FIELDS = {
    "name": st.one_of(TEXT, st.sampled_from(["豆腐汤", "自制豆腐汤", "家常面"]), JUNK),
    "dish": st.one_of(st.sampled_from(["Unknown", "豆腐汤", "面"]), TEXT, JUNK),
    "recipeIngredient": st.one_of(st.lists(TEXT, max_size=4), JUNK),
    "recipeInstructions": st.one_of(st.lists(TEXT, max_size=5), JUNK),
    "keywords": st.one_of(st.lists(TEXT, max_size=2), JUNK),
}
RECORDS = st.fixed_dictionaries({}, optional=FIELDS)
LINES = st.one_of(
    RECORDS.map(lambda record: json.dumps(record, ensure_ascii=False).encode("utf-8", "replace")),
    st.integers(0, 5).map(lambda number: raw_lines([distinct(number)]).strip()),
    st.binary(max_size=20).map(lambda line: line.replace(b"\n", b"")),
)


STEPS = recipe_steps(corpus_settings())


@settings(deadline=None)
@given(st.text(max_size=60) | TEXT, st.sampled_from([spell, clean_steps, clean_ingredients]))
def test_cleaning_a_clean_text_changes_nothing(text: str, clean: Callable[[str], str]) -> None:
    once = clean(spell(text))
    assert clean(once) == once


@given(st.lists(TEXT, max_size=4))
def test_a_text_without_talk_has_none(texts: list[str]) -> None:
    once = without_talk(spell("\n".join(texts)))
    assert without_talk(once) == once


@settings(deadline=None)
@given(RECORDS)
def test_a_clean_recipe_comes_out_as_it_went_in(record: dict[str, object]) -> None:
    try:
        recipe = run_steps(STEPS, read_recipe(record))
    except Rejected:
        return
    if isinstance(recipe, Rejected):
        return
    again = {
        "name": recipe.name,
        "dish": recipe.dish,
        "recipeIngredient": recipe.ingredients.split("\n"),
        "recipeInstructions": recipe.steps.split("\n"),
        "keywords": [],
    }
    same = run_steps(STEPS, read_recipe(again))
    assert not isinstance(same, Rejected), same
    fields = ("name", "dish", "ingredients", "steps")
    assert [getattr(same, field) for field in fields] == [
        getattr(recipe, field) for field in fields
    ]


@settings(deadline=None)  # it writes files: how long that takes is the machine's affair
@given(st.lists(LINES, max_size=25), st.integers(0, 4), st.integers(0, 6))
def test_counts_add_up_and_kept_text_is_clean(
    lines: list[bytes], test_size: int, sample: int
) -> None:
    with TemporaryDirectory() as folder:
        try:
            stats, outputs = run(
                Path(folder), b"\n".join(lines), test_size=test_size, sample=sample
            )
        except ButlerError:
            assert not (Path(folder) / "out").exists()
            return
        train, test = conversations(outputs.train), conversations(outputs.test)
        rejected = json_lines(outputs.rejected)
    read = b"\n".join(lines).count(b"\n") + (not b"\n".join(lines).endswith(b"\n"))
    assert stats["read"] == read == len(train) + len(test) + len(rejected)
    assert (len(train), len(test)) == (stats["train"], stats["test"])
    numbers = [entry["line"] for entry in rejected]
    assert numbers == sorted(set(numbers))
    for turn in train + test:
        text = turn["input"] + "\n" + turn["output"]
        assert not MARKER.search(text)
        assert not has_contact(text)
    assert not dishes(train) & dishes(test)


def dishes(side: list[dict[str, str]]) -> set[str]:
    """The dishes of the questions, by name alone."""
    endings = ("的家常做法", "的做法", "怎么做")
    names = [turn["input"] for turn in side]
    return {
        dish_key(name.removesuffix(next(ending for ending in endings if name.endswith(ending))))
        for name in names
    }
