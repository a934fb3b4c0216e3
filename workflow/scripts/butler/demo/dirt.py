"""The dirt of a scraped corpus, put on clean demo records in declared shares.

Shares follow what one sees in the XiaChuFang corpus: the dish of more than half the records is
"Unknown", a third has no description, and a few in a hundred are unusable.
"""

import json
import random
from collections.abc import Callable

from butler.demo.recipes import Record

UNKNOWN_DISH = 0.57

# share of all lines that carries each kind of dirt; the kinds exclude each other
SHARES: dict[str, float] = {
    "exact_duplicate": 0.03,
    "near_duplicate": 0.03,
    "no_ingredients": 0.015,
    "no_steps": 0.015,
    "missing_key": 0.01,
    "empty_name": 0.005,
    "placeholder_steps": 0.02,
    "advert": 0.025,
    "white_space": 0.05,
    "zero_width": 0.02,
    "emoji": 0.06,
    "reversed_quantity": 0.02,
    "malformed": 0.004,
}

PLACEHOLDERS = (
    ["做法见简介"],
    ["如图"],
    ["步骤1", "步骤2", "步骤3"],
    ["略"],
    ["看视频哦"],
    ["."],
)
ADVERTS = (
    "想学更多菜加微信：chufang{n}，免费领食谱",
    "同款锅具链接【https://shop.example.com/item.htm?id={n}】",
    "关注公众号“厨房日记{n}”看视频",
    "淘宝店铺有售 http://www.example.com/s/{n} 欢迎下单",
    "加V信 cook{n} 进群，优惠购买",
)
EMOJI = ("😋", "🍅", "👍", "😂", "❤️", "🔥", "🐮", "👌", "✨", "(^o^)/~")
ZERO_WIDTH = ("\u200b", "\u200d", "\ufeff", "\u200e")


def _emptied(key: str, value: object) -> Callable[[Record, random.Random], None]:
    def change(record: Record, rng: random.Random) -> None:
        record[key] = value

    return change


def _missing_key(record: Record, rng: random.Random) -> None:
    record.pop(rng.choice(("recipeIngredient", "recipeInstructions", "keywords", "name")))


def _placeholder(record: Record, rng: random.Random) -> None:
    record["recipeInstructions"] = list(rng.choice(PLACEHOLDERS))


def _advert(record: Record, rng: random.Random) -> None:
    text = rng.choice(ADVERTS).format(n=rng.randrange(1000, 99999))
    steps = record["recipeInstructions"]
    if rng.random() < 0.5:
        steps.insert(rng.randrange(len(steps) + 1), text)
    else:
        steps[-1] += text


def _white_space(record: Record, rng: random.Random) -> None:
    steps = record["recipeInstructions"]
    place = rng.randrange(len(steps))
    steps[place] = rng.choice(
        ("  {}", "{}\n", "\u3000\u3000{}", "{}\r\n\r\n", "\t{} ", "\xa0{}")
    ).format(steps[place])
    lines = record["recipeIngredient"]
    place = rng.randrange(len(lines))
    lines[place] = lines[place] + rng.choice((" ", "\u3000", "   ", "\n"))


def _zero_width(record: Record, rng: random.Random) -> None:
    for key in ("recipeIngredient", "recipeInstructions"):
        lines = record[key]
        place = rng.randrange(len(lines))
        cut = rng.randrange(len(lines[place]) + 1)
        lines[place] = lines[place][:cut] + rng.choice(ZERO_WIDTH) + lines[place][cut:]


def _emoji(record: Record, rng: random.Random) -> None:
    steps = record["recipeInstructions"]
    place = rng.randrange(len(steps))
    steps[place] += rng.choice(EMOJI) * rng.randint(1, 3)
    if rng.random() < 0.3:
        record["name"] += rng.choice(EMOJI)


def _reversed_quantity(record: Record, rng: random.Random) -> None:
    """Turn 2个鸡蛋 into 个鸡蛋2, as a broken scraper does."""
    lines = record["recipeIngredient"]
    for place, line in enumerate(lines):
        digits = line[: len(line) - len(line.lstrip("0123456789"))]
        lines[place] = line[len(digits) :] + digits


CHANGES: dict[str, Callable[[Record, random.Random], None]] = {
    "no_ingredients": _emptied("recipeIngredient", []),
    "no_steps": _emptied("recipeInstructions", []),
    "missing_key": _missing_key,
    "empty_name": _emptied("name", ""),
    "placeholder_steps": _placeholder,
    "advert": _advert,
    "white_space": _white_space,
    "zero_width": _zero_width,
    "emoji": _emoji,
    "reversed_quantity": _reversed_quantity,
}


def near_copy(record: Record, rng: random.Random) -> Record:
    """Return a copy by another author that differs in a few characters only."""
    copy: Record = json.loads(json.dumps(record))
    copy["author"] = f"author_{rng.randrange(400_000)}"
    steps = copy["recipeInstructions"]
    steps[-1] = steps[-1].rstrip("。") + rng.choice(("！", "～", "", "，完成。"))
    copy["description"] = ""
    return copy


def malformed(line: str, rng: random.Random) -> str:
    """Return `line` so damaged that it is not JSON any more."""
    kind = rng.randrange(3)
    if kind == 0:
        return line[: rng.randrange(20, len(line) - 1)]
    if kind == 1:
        return line.replace('"', "'")
    return line + ',{"name"'


def plan(total: int, rng: random.Random) -> list[str]:
    """Return what happens to each of `total` lines, in random order: a kind of SHARES or clean."""
    kinds: list[str] = []
    for kind, share in SHARES.items():
        kinds += [kind] * round(share * total)
    kinds += ["clean"] * (total - len(kinds))
    rng.shuffle(kinds)
    return kinds
