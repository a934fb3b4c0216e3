"""Whatever stands in the file: the counts add up, and what is kept is clean."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import Mock

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from butler.corpus.adverts import has_contact
from butler.corpus.dish import dish_key
from butler.corpus.drop import _ties
from butler.corpus.read import decode_all
from butler.corpus.recipe import CleanRecipe, Rejected, clean_ingredients, clean_steps, parse
from butler.corpus.sample import MARKER, stable_hash
from butler.corpus.text import clean_line, split_lines
from butler.errors import ButlerError
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


@given(st.text(max_size=60) | TEXT)
def test_cleaning_clean_lines_changes_nothing(text: str) -> None:
    lines = split_lines(text)
    assert [clean_line(line) for line in lines] == lines


@given(st.lists(TEXT, max_size=6))
def test_cleaning_clean_sections_changes_nothing(texts: list[str]) -> None:
    lines = [line for text in texts for line in split_lines(text)]
    for clean in (clean_ingredients, clean_steps):
        once = clean(lines)
        assert clean(once) == once


@given(RECORDS)
def test_a_parsed_recipe_parses_to_itself(record: dict[str, object]) -> None:
    try:
        recipe = parse(record)
    except Rejected:
        return
    again = parse(
        {
            "name": recipe.name,
            "dish": recipe.dish,
            "recipeIngredient": list(recipe.ingredients),
            "recipeInstructions": list(recipe.steps),
            "keywords": list(recipe.keywords),
        }
    )
    assert again == CleanRecipe(*vars(recipe).values())


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


@given(st.lists(st.lists(st.tuples(st.sampled_from("甲乙"), st.sampled_from("丙丁")), min_size=1)))
def test_equals_are_decided_by_dish_and_sample(groups: list[list[tuple[str, str]]]) -> None:
    texts = [text for group in groups for text in group]
    numbers = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    dishes = Mock(texts=lambda records: [texts[record][0] for record in records])
    spools = Mock(samples=lambda records: (texts[record][1].encode() for record in records))
    found = iter(_ties(np.arange(len(texts)), numbers, dishes, spools).tolist())
    for group in groups:
        hashes = [stable_hash(dish, sample.encode().hex()) for dish, sample in group]
        wanted = hashes if len(set(group)) > 1 else [0] * len(group)
        assert [next(found) for _ in group] == wanted


KEYS = st.sampled_from(['"a"', '"b"', '"c:"', '"d\\""', '"e\\":"', '"f "'])
SPACES = st.sampled_from(["", "", "", " ", "\t", "  ", "\r"])
VALUES = st.sampled_from(
    ["1", '"x"', '"x\\":"', '" :"', '": "', "[]", '[{"a":1}]', '{"a":{"a":1}}']
)
MEMBERS = st.tuples(SPACES, KEYS, SPACES, st.just(":"), SPACES, VALUES, SPACES).map("".join)
OBJECTS = st.lists(MEMBERS, max_size=4).map(lambda members: "{" + ",".join(members) + "}")


class Twice(Exception):
    """A key stands twice."""


def once(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(fields)) < len(fields):
        raise Twice
    return dict(fields)


@settings(max_examples=300, deadline=None)
@given(st.lists(OBJECTS, min_size=1, max_size=40))
def test_keys_that_stand_twice_are_found_whatever_is_around_them(lines: list[str]) -> None:
    for line, found in zip(lines, decode_all([line.encode() for line in lines]), strict=True):
        try:
            assert found == json.loads(line, object_pairs_hook=once)
        except Twice:
            assert isinstance(found, Rejected) and found.reason == "duplicate_key"
