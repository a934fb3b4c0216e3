"""Lists of ingredients in which readers found faults, each through the real stage."""

from pathlib import Path

import pytest

from butler.corpus.rules.foods import unlisted
from rule_walk import LEAD, PLAIN, answers, numbered, usable
from test_corpus import conversations, raw_lines, run
from test_corpus_faults import parts

# A line, a step that names what it is of, and the line that is left; "" where the list is torn.
TORN = {
    "1勺白糖，味精": ("放入味精", ""),
    "1斤牛腩，肥瘦相间": ("放入牛腩", "1斤牛腩，肥瘦相间"),
    "2个红椒青椒": ("放入红椒", ""),
    "6鸡翅": ("放入鸡翅", "6个鸡翅"),
    "4ml蒜蓉豆瓣酱（半勺）": ("放入蒜蓉豆瓣酱", "4ml蒜蓉豆瓣酱（半勺）"),
}


def test_an_amount_is_of_one_ingredient(tmp_path: Path) -> None:
    weighed = ["300g牛奶", "50g糯米粉"]
    data = numbered(
        list(TORN),
        lambda text: usable(
            recipeIngredient=[*weighed, text], recipeInstructions=[LEAD, TORN[text][0], PLAIN]
        ),
    )
    stats, outputs = run(tmp_path, data, test_size=0)
    found = {n: parts(text)[0][2] for n, text in answers(outputs).items()}
    left = {text: found.get(n, "") for n, text in enumerate(TORN)}
    assert left == {text: line for text, (_, line) in TORN.items()}
    assert stats["reasons"]["torn_ingredients"] == 2


@pytest.mark.parametrize(
    ("listed", "left"),
    [
        (
            ["20克黄油", "奶油馅", "5克蜂蜜", "9克糖粉"],
            ["20克黄油", "奶油馅：", "5克蜂蜜", "9克糖粉"],
        ),
        (
            ["面包材料", "主面团", "5克蜂蜜", "9克糖粉"],
            ["面包材料：", "主面团：", "5克蜂蜜", "9克糖粉"],
        ),
        (["用料", "奶油馅", "蜂蜜", "糖粉"], ["奶油馅", "蜂蜜", "糖粉"]),
        (["5克蜂蜜", "9克糖粉", "奶油馅"], ["5克蜂蜜", "9克糖粉", "奶油馅"]),
    ],
)
def test_a_part_of_the_dish_is_a_heading(
    tmp_path: Path, listed: list[str], left: list[str]
) -> None:
    data = raw_lines([usable(name="甜汤", recipeIngredient=listed)])
    _, outputs = run(tmp_path, data, test_size=0)
    (turn,) = conversations(outputs.train)
    assert parts(turn["output"])[0] == left


def test_what_is_listed_with_a_vague_amount_is_listed_once(tmp_path: Path) -> None:
    listed = ["2勺陈醋", "适量陈醋", "少许白糖", "适量莲藕", "适量莲藕"]
    parted = ["糖心：15克白糖", "糖心：5克蜂蜜"]
    data = numbered([listed, parted], lambda lines: usable(recipeIngredient=lines))
    _, outputs = run(tmp_path, data, test_size=0)
    found = {n: parts(text)[0][:-1] for n, text in answers(outputs).items()}
    assert found == {
        0: ["2勺陈醋", "少许白糖", "适量莲藕"],
        1: ["糖心：", "15克白糖", "5克蜂蜜"],
    }


@pytest.mark.parametrize(
    ("name", "listed", "steps", "lacking"),
    [
        ("茄丁炒面", "1根茄子\n1勺辣椒面", "放面条翻炒", "what 茄丁炒面 is made of"),
        ("茄丁炒面", "1根茄子\n1把挂面", "放面条翻炒", ""),
        ("草莓淋面", "1盒草莓", "淋面晾干", ""),
        ("茄丁焖饭", "1根茄子", "放米焖熟", "what 茄丁焖饭 is made of"),
        ("茄丁盖饭（两人份）", "1根茄子", "浇在米饭上", ""),
        ("茄丁粥", "1根茄子", "熬成粥", "what 茄丁粥 is made of"),
        ("蛋饺", "4个鸡蛋\n1两肉末", "包成饺", ""),
        ("茄丁水饺", "1根茄子\n1两肉末", "包好煮熟", "what 茄丁水饺 is made of"),
        ("茄子饼", "1根茄子", "加面粉搅成糊煎熟", "what 茄子饼 is made of"),
        ("茄子饼", "1根茄子", "切片煎熟", ""),
        ("菠萝咕咾肉", "1个菠萝", "肉片炸熟", "what 菠萝咕咾肉 is made of"),
        ("清炒苦菊", "2瓣蒜\n适量盐", "放苦菊炒熟", "清炒苦菊"),
        ("秘制蘸酱", "2瓣蒜\n适量盐", "拌成酱", ""),
    ],
)
def test_a_list_has_what_the_dish_is_made_of(
    name: str, listed: str, steps: str, lacking: str
) -> None:
    assert unlisted(name, listed, steps) == lacking


@pytest.mark.parametrize(
    ("name", "step", "staple"),
    [
        ("茄丁打卤面", "煮面条，浇上卤汁", ["适量面条"]),
        ("茄丁盖浇饭（两人份）", "浇在米饭上", ["适量米饭"]),
        ("茄丁水饺", "取饺子皮，包好煮熟", ["适量饺子皮"]),
        ("茄丁汤", "配米饭趁热浇上", []),
    ],
)
def test_what_a_list_takes_for_granted_is_listed(
    tmp_path: Path, name: str, step: str, staple: list[str]
) -> None:
    listed = ["1根茄子", "适量白糖", "1勺生抽"]
    steps = ["茄子切丁，放白糖和生抽，翻炒均匀，炒熟", step]
    record = usable(name=name, dish="Unknown", recipeIngredient=listed, recipeInstructions=steps)
    _, outputs = run(tmp_path, raw_lines([record]), test_size=0)
    (turn,) = conversations(outputs.train)
    assert parts(turn["output"])[0] == [*staple, *listed]


def test_a_list_of_seasonings_alone_lacks_what_the_name_tells() -> None:
    assert unlisted("清蒸排骨", "3片姜\n1勺盐", "放姜蒸熟") == "排骨"
    assert unlisted("清蒸排骨", "3片姜\n1斤肋排", "放姜蒸熟") == ""
    assert unlisted("清蒸排骨", "3片姜\n1斤排骨", "排骨用A料腌过，蒸熟") == "A"
    assert unlisted("清蒸排骨", "A料：\n3片姜\n1斤排骨", "排骨用A料腌过，蒸熟") == ""
    assert unlisted("banana 香蕉 bread", "2 bananas\nflour", "Mix it.") == ""
