"""Questions and short answers about a kitchen, in Chinese and in English: the other demo corpora.

Each fact is asked in several wordings, so that a model which learnt it from one of them can answer
another that was held out. A few entries are dirty, as files of others are.
"""

import csv
import io
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from butler.demo.kitchen_tables import MEASURES_EN, MEASURES_ZH, STORAGE_EN, STORAGE_ZH
from butler.demo.pantry import FRUITS, GRAINS, PROTEINS, VEGETABLES

KITCHEN_SEED = 2026
MOST = 8  # of a measure
PLACES = {
    "凉": "放在阴凉通风的地方。",
    "冷": "放进冰箱的冷藏室。",
    "冻": "分成小份，放进冷冻室。",
    "干": "装进密封罐，放在干燥处。",
    "shelf": "On the kitchen shelf.",
    "cellar": "In a dark, cool cellar.",
    "fridge": "In the fridge, in a bag.",
    "freezer": "In the freezer, well wrapped.",
    "jar": "In a closed jar.",
}
WHERE_ZH = ("保存{}要放在哪里？", "买回来的{}应该放在哪里？", "哪里适合存放{}？")
DAYS_ZH = ("{}能放几天？", "保存{}最多多久？")
FIRST_ZH = ("{}下锅前怎么处理？", "做菜前{}要怎么准备？")
MEASURE_ZH = ("{}{}是多少{}？", "{}{}等于几{}？")
WHERE_EN = (
    "Where should I keep {}?",
    "Where do you store {}?",
    "What is the right place for {}?",
)
DAYS_EN = ("How many days can I keep {}?", "For how many days is it fine to eat {}?")
FIRST_EN = ("How do I prepare {}?", "What do I do with {} before cooking?")
MEASURE_EN = ("How many {small} are in {large}?", "Convert to {small}.")

Row = TypeVar("Row")


@dataclass(frozen=True)
class Asked:
    """A question on a fact and its answer; `given` is what an instruction is to be done with."""

    fact: str
    question: str
    answer: str
    given: str = ""


def _asked(wordings: Sequence[str], key: str, answer: str) -> list[Asked]:
    fact = f"{wordings[0]} {key}"
    return [Asked(fact, wording.format(key), answer) for wording in wordings]


def chinese_pairs() -> list[Asked]:
    """Return the clean Chinese pairs in an order drawn once."""
    pantry = {**VEGETABLES, **PROTEINS, **FRUITS, **GRAINS}
    pairs: list[Asked] = []
    for entry in STORAGE_ZH.split():
        name, place, days = entry.split(",")
        pairs += _asked(WHERE_ZH, name, PLACES[place])
        pairs += _asked(DAYS_ZH, name, f"大约{days}天。")
        pairs += _asked(FIRST_ZH, name, f"{pantry[name].prepare[0]}。")
    for entry in MEASURES_ZH.split():
        large, small, each = entry.split(",")
        for number in range(1, MOST + 1):
            fact, answer = f"{number}{large}", f"{number * int(each)}{small}。"
            pairs += [Asked(fact, ask.format(number, large, small), answer) for ask in MEASURE_ZH]
    random.Random(f"kitchen zh {KITCHEN_SEED}").shuffle(pairs)
    return pairs


def english_pairs() -> list[Asked]:
    """Return the clean English pairs in an order drawn once."""
    pairs: list[Asked] = []
    for entry in STORAGE_EN.strip().split("\n"):
        name, place, days, first = entry.split("|")
        pairs += _asked(WHERE_EN, name, PLACES[place])
        pairs += _asked(DAYS_EN, name, f"About {days} days.")
        pairs += _asked(FIRST_EN, name, f"{first}.")
    for entry in MEASURES_EN.split():
        small, large, each = entry.split(",")
        for number in range(1, MOST + 1):
            several = f"{number} {large}{'s' * (number > 1)}"
            answer = f"{number * int(each)} {small}."
            plain, told = (ask.format(small=small, large=several) for ask in MEASURE_EN)
            pairs += [Asked(several, plain, answer), Asked(several, told, answer, several)]
    random.Random(f"kitchen en {KITCHEN_SEED}").shuffle(pairs)
    return pairs


def chinese_csv() -> str:
    """Return the table of Chinese pairs, some rows dirty: doubled, blank, cut, with a contact."""
    rows = [[pair.question, pair.answer] for pair in chinese_pairs()]
    rng = random.Random(f"kitchen dirt zh {KITCHEN_SEED}")
    (doubled, spaced, unseen, reach), places = rng.sample(rows, 4), rng.sample(range(len(rows)), 8)
    dirty = [
        doubled,
        [f"  {spaced[0]} ", f"{spaced[1]}\n"],
        ["\u200b".join(unseen[0]), unseen[1]],
        ["厨房群怎么加？", "加微信：kitchen_2026，备注买菜。"],
        [f"{reach[0]}急！", f"{reach[1]}有问题打13800138000。"],
        ["", "放进冰箱。"],
        ["冰箱多少度合适？", ""],
        ["灶台怎么擦？"],
    ]
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([("问题", "答案"), *_mixed(rows, dirty, places)])
    return out.getvalue()


def english_jsonl() -> str:
    """Return the English pairs as Alpaca's JSON lines, some dirty: doubled, blank, cut, linked."""
    lines = [
        json.dumps({"instruction": one.question, "input": one.given, "output": one.answer})
        for one in english_pairs()
    ]
    rng = random.Random(f"kitchen dirt en {KITCHEN_SEED}")
    doubled, places = rng.choice(lines), rng.sample(range(len(lines)), 6)
    dirty = [
        doubled,
        '{"instruction": "Which shop is best?", "input": "", "output": "See www.example.com/shop"}',
        '{"instruction": "", "input": "", "output": "In the fridge."}',
        '{"instruction": "How do I clean a pan?", "input": "", "output": " "}',
        '{"instruction": "How do I boil milk?", "input": "", "output": 5}',
        '{"instruction": "How do I sharpen a knife?", "inp',
    ]
    return "".join(f"{line}\n" for line in _mixed(lines, dirty, places))


def _mixed(clean: Sequence[Row], dirty: Sequence[Row], places: Sequence[int]) -> list[Row]:
    """Return the clean entries with a dirty one before each of these places."""
    put = dict(zip(places, dirty, strict=True))
    return [one for at, own in enumerate(clean) for one in ([put[at]] if at in put else []) + [own]]
