"""Clean demo records in the corpus's format, before any dirt."""

import random
from typing import Any

from butler.demo.methods import Dish, fillings
from butler.demo.pantry import SEASONINGS

Record = dict[str, Any]

PREFIXES = ("家常", "自制", "快手", "简单", "妈妈的", "懒人", "宝宝版", "低脂")
SUFFIXES = ("（家常版）", "（快手版）", "（少油版）", "（电饭锅版）")
OPENINGS = ("今天做了", "周末给家人做了", "一直很爱吃", "换个花样做", "最近常做的", "第一次试着做")
CLOSINGS = ("，简单又好吃。", "，孩子吃了两碗饭。", "，记录一下自己的做法。", "，下次还做。", "")
LAST_STEPS = ("盛出装盘，趁热吃。", "摆盘开吃。", "成品，味道很好。")
KEYWORD_FORMS = ("{}的做法", "{}的家常做法", "{}的详细做法", "{}怎么做", "{}的最正宗做法")


def ingredients(dish: Dish, rng: random.Random) -> list[str]:
    """Return the ingredient lines of `dish`, quantity first, as in 45克盐."""
    lines = [rng.choice(main.quantities) + main.name for main in dish.mains]
    extra = {"pancake": "2个鸡蛋", "rice": "2杯大米", "noodles": "200克面条", "buns": "400克面粉"}
    if dish.method.slug in extra:
        lines.append(extra[dish.method.slug])
    chosen = list(dish.method.seasonings)
    chosen += [name for name in dish.method.optional if rng.random() < 0.3]
    return lines + [rng.choice(SEASONINGS[name]) + name for name in chosen]


def steps(dish: Dish, rng: random.Random) -> list[str]:
    """Return the step sentences of `dish`."""
    words = fillings(dish, rng)
    lines = [
        wordings[0 if rng.random() < 0.65 else rng.randrange(len(wordings))].format(**words)
        for wordings in dish.method.steps
    ]
    if rng.random() < 0.12:
        lines.append(rng.choice(LAST_STEPS))
    return lines


def title(dish: Dish, rng: random.Random) -> str:
    """Return the record's name: mostly the dish itself, sometimes dressed up."""
    name = dish.name
    if rng.random() < 0.2:
        name = rng.choice(PREFIXES) + name
    if rng.random() < 0.05:
        name += rng.choice(SUFFIXES)
    return name


def record(dish: Dish, rng: random.Random) -> Record:
    """Return one clean record of `dish` with every key of the corpus filled in."""
    name = title(dish, rng)
    described = rng.random() < 0.65
    keywords = [form.format(name) for form in KEYWORD_FORMS]
    if rng.random() < 0.5:
        keywords.append(dish.method.tag)
    return {
        "name": name,
        "dish": dish.name,
        "description": rng.choice(OPENINGS) + dish.name + rng.choice(CLOSINGS) if described else "",
        "recipeIngredient": ingredients(dish, rng),
        "recipeInstructions": steps(dish, rng),
        "author": f"author_{rng.randrange(400_000)}",
        "keywords": keywords,
    }
