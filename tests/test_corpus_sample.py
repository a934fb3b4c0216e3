"""Which recipes a sample takes: any of those with the least in doubt, of every length."""

from pathlib import Path

import numpy as np
import pytest

from butler.corpus.doubt import in_doubt, like_talk, taken_out, weights
from butler.corpus.pipeline import recipe_steps, run
from butler.corpus.records import Recipe, read_recipe
from butler.corpus.rules.ingredients import has_usual_form
from butler.corpus.sampling import least_first
from corpus_settings import corpus_settings
from test_corpus import conversations, distinct, json_lines, kept, raw_lines
from test_corpus import run as run_stage

PLAIN = "切块炖熟。"
CHATTY = f"我家的人都说好吃，{PLAIN}"  # of which the first clause is taken out


def recipes(count: int) -> list[dict[str, object]]:
    """Recipes that are alike when they are clean; talk is taken out of every other one."""
    made = [distinct(number) for number in range(count)]
    for number, record in enumerate(made):
        last = PLAIN if number % 2 else CHATTY
        record["recipeInstructions"] = [*record["recipeInstructions"], last]
    return made


def names(found: list[dict[str, str]]) -> set[str]:
    return {turn["input"] for turn in found}


def test_a_sample_is_drawn_among_recipes_that_nothing_was_taken_out_of(tmp_path: Path) -> None:
    data = raw_lines(recipes(60))
    chatty = {str(record["name"]) for record in recipes(60)[::2]}
    stats, outputs = run_stage(tmp_path / "a", data, sample=20, forms={"怎么做": 1.0})
    drawn = {name.removesuffix("怎么做") for name in names(kept(outputs))}
    assert len(drawn) == 20 and not drawn & chatty
    assert stats["doubt"]["sample"] == 0 < stats["doubt"]["all"]
    everyone, outputs = run_stage(
        tmp_path / "b", data, sample=20, sample_from=1.0, forms={"怎么做": 1.0}
    )
    assert {name.removesuffix("怎么做") for name in names(kept(outputs))} & chatty
    assert "doubt" not in everyone


def test_a_larger_sample_holds_the_smaller_also_where_doubt_begins(tmp_path: Path) -> None:
    data = raw_lines(recipes(40))
    before: set[str] = set()
    for size in (5, 15, 25, 39):
        _, outputs = run_stage(tmp_path / str(size), data, sample=size)
        found = names(kept(outputs))
        assert len(found) == size and before <= found
        before = found


def test_the_order_of_the_input_changes_nothing(tmp_path: Path) -> None:
    records = recipes(40)
    written = []
    for name, order in (("a", records), ("b", records[::-1])):
        stats, outputs = run_stage(tmp_path / name, raw_lines(order), sample=25)
        written.append((outputs.train.read_bytes(), outputs.test.read_bytes(), stats["doubt"]))
    assert written[0] == written[1]


def test_what_is_not_drawn_is_told(tmp_path: Path) -> None:
    stats, outputs = run_stage(tmp_path, raw_lines(recipes(40)), sample=25)
    assert stats["reasons"] == {"not_sampled": 15}
    assert {line["reason"] for line in json_lines(outputs.rejected)} == {"not_sampled"}


def test_without_a_sample_and_of_pairs_nothing_is_weighed(tmp_path: Path) -> None:
    stats, _ = run_stage(tmp_path / "a", raw_lines(recipes(20)))
    assert "doubt" not in stats
    pairs = [{"instruction": f"第{number}问？", "output": f"答{number}。"} for number in range(20)]
    stats, outputs = run_stage(tmp_path / "b", raw_lines(pairs), sample=10, format="alpaca")
    assert "doubt" not in stats and len(conversations(outputs.train)) == 8


def cleaned(**changes: object) -> Recipe:
    made = run(recipe_steps(corpus_settings()), read_recipe(distinct(1) | changes))
    assert isinstance(made, Recipe)
    return made


def test_what_was_taken_out_is_in_doubt() -> None:
    plain = cleaned()
    assert taken_out(plain) == "" and in_doubt(plain)[0] == 0
    steps = [*distinct(1)["recipeInstructions"], CHATTY]
    chatty = cleaned(recipeInstructions=steps)
    assert taken_out(chatty) == "我家的人都说好吃"
    assert in_doubt(chatty)[0] == len("我家的人都说好吃，")
    assert in_doubt(chatty)[1] == len(chatty.ingredients) + sum(map(len, steps)) + len(steps) - 1


# A line of the list and a step, and whether who cooks has to guess what they mean.
GUESSED = {
    **{
        ("2个鸡蛋", step): True
        for step in (
            *("把黄油倒入步骤2，搅匀", "把抹茶粉筛入①里面搅匀", "将2倒回锅中煮开", "重复步骤3、4"),
            *("将酸奶+1+2搅匀", "取3中的原料包成丸子", "把1和2混合", "1，2两个步骤混合"),
            "分次加入第5中搅匀",
        )
    },
    ("2个鸡蛋", "将步骤2中调好的酱汁倒入锅中"): False,
    ("1陈醋", "淋陈醋"): True,
    ("50莲子", "放入莲子"): True,
    ("1满勺陈醋", "淋1满勺陈醋"): False,
    ("20虾仁", "放入虾"): False,
    ("6鸡翅", "放入鸡翅"): False,
}


@pytest.mark.parametrize(("line", "step"), GUESSED)
def test_all_is_in_doubt_where_who_cooks_has_to_guess(line: str, step: str) -> None:
    raw = distinct(1)
    found, size = in_doubt(
        cleaned(
            recipeIngredient=[*raw["recipeIngredient"], line],
            recipeInstructions=[*raw["recipeInstructions"], step, "盛出装盘"],
        )
    )
    assert (found == size) == GUESSED[line, step]


@pytest.mark.parametrize(
    "line",
    ["2个鸡蛋", "鸡蛋2个", "盐适量", "适量盐", "葱", "面团：", "200克（约两碗）面粉", "水:65~67g"],
)
def test_the_usual_form_of_an_ingredient(line: str) -> None:
    assert has_usual_form(line)


@pytest.mark.parametrize(
    "line",
    [
        "满满地撒！奶酪",
        "朗姆酒30ml、苏打水加满，最后放薄荷",
        "没过南瓜还要再多一些的清水",
        "葱 姜",
    ],
)
def test_other_forms_of_an_ingredient(line: str) -> None:
    assert not has_usual_form(line)


def test_a_clause_like_those_taken_out_is_told_in_the_text_that_holds_it() -> None:
    ratios = weights([("太好吃了\n真的好吃\n家人说好吃", "切成小块\n放入锅中\n切成大块")] * 3)
    texts = ["切成小块，放入锅中", "切成大块。都说好吃！放入锅中", "", "好吃"]
    assert like_talk(texts, ratios).tolist() == [0, 4, 0, 2]
    assert like_talk(texts[::-1], ratios).tolist() == [2, 0, 4, 0]


def test_where_nothing_was_taken_out_no_clause_is_like_it() -> None:
    ratios = weights([("", "切成小块")])
    assert like_talk(["都说好吃", "切成小块"], ratios).tolist() == [0, 0]


def test_every_length_has_its_share() -> None:
    sizes = np.arange(1000)
    doubt = sizes / 1000  # the longer, the more is in doubt
    ranks = least_first(doubt, sizes, 0.3)
    taken = np.histogram(sizes[ranks == 0], bins=10, range=(0, 1000))[0]
    assert all(30 <= count <= 32 for count in taken.tolist())
    assert (ranks[ranks > 0] == doubt[ranks > 0]).all()
    assert (least_first(np.zeros(10), np.ones(10), 0.1) == 0).all(), "equals are equal"
