"""Cooking told as prose and small talk: text for pretraining, never in the form of an answer.

The answer form (食材 one per line, then 方法 one per line) and the dishes of the demo corpus are
left to fine-tuning.
"""

import random
import re

from butler.demo.methods import METHODS, Dish, Method, every_dish, fillings
from butler.demo.pantry import FRUITS, GRAINS, PROTEINS, SEASONINGS, VEGETABLES, Ingredient

_ALL = {**VEGETABLES, **PROTEINS, **FRUITS, **GRAINS}
_OPENINGS = (
    "做{dish}要用{mains}，调味用{spices}。",
    "{dish}的主角是{mains}，再配上{spices}。",
    "想吃{dish}，家里得有{mains}，还有{spices}。",
    "{dish}里放的是{mains}，味道来自{spices}。",
)
_CONNECTORS = (
    ("先", "然后", "接着", "最后"),
    ("第一步", "之后", "再", "末了"),
    ("一开始", "随后", "跟着", "到最后"),
)
_SHOPPING = (
    "请您准备好{lines}。",
    "制作之前，您需要买{lines}。",
    "购物单：\n{column}",
    "冰箱里有以下东西：{lines}。",
    "按人数准备食材：{lines}。",
)
_TASTES = ("味道很香", "口感软嫩", "适合下饭", "老人孩子都爱吃", "做起来不难", "趁热吃最好")
_CARE = (
    "{a}要挑新鲜的，买回来{p}。",
    "处理{a}的时候，一般{p}。",
    "{a}下锅之前要收拾好：{p}。",
    "两三个人吃，{a}准备{q}就够了。",
    "{a}的用量大约是{q}。",
)
_AMOUNTS = (
    "{s}放{q}就可以。",
    "{s}大约用{q}。",
    "{q}{s}刚好够味。",
    "口味淡的人少放{s}，{q}足够。",
)


def free_dishes(taken: set[str]) -> list[Dish]:
    """Return the dishes whose names contain none of `taken` and are contained in none of them."""
    return [
        dish
        for dish in every_dish()
        if not any(name in dish.name or dish.name in name for name in taken)
    ]


def _listing(names: list[str]) -> str:
    return "和".join(names) if len(names) < 3 else "、".join(names[:-1]) + "和" + names[-1]


def _clauses(dish: Dish, rng: random.Random) -> list[str]:
    """Return the dish's steps as one clause list per step, in other sentences than its recipe."""
    words = fillings(dish, rng)
    steps = [rng.choice(wordings).format(**words) for wordings in dish.method.steps]
    return [re.sub("[，。]+", "，", step).strip("，") for step in steps]


def tell_dish(dish: Dish, rng: random.Random) -> str:
    """Return a paragraph on how `dish` is made."""
    spices = rng.sample(dish.method.seasonings, min(3, len(dish.method.seasonings)))
    opening = rng.choice(_OPENINGS).format(
        dish=dish.name, mains=_listing([m.name for m in dish.mains]), spices=_listing(spices)
    )
    clauses = _clauses(dish, rng)
    words = rng.choice(_CONNECTORS)
    places = [0, *[1 + i % 2 for i in range(len(clauses) - 2)], 3]
    told = "；".join(words[p] + clause for p, clause in zip(places, clauses, strict=True))
    return f"{opening}{told}。这道菜{rng.choice(_TASTES)}。"


def tell_ingredient(item: Ingredient, dishes: list[Dish], rng: random.Random) -> str:
    """Return sentences on one ingredient: preparing it, how much, what it is cooked into."""
    lines = [
        form.format(a=item.name, p=rng.choice(item.prepare), q=rng.choice(item.quantities))
        for form in rng.sample(_CARE, rng.randint(2, 3))
    ]
    own = [dish.name for dish in dishes if item in dish.mains]
    if len(own) > 2:
        lines.append(f"用{item.name}可以做{_listing(rng.sample(own, 3))}。")
    return "".join(lines)


def shopping(rng: random.Random) -> str:
    """Return a list of things with their quantities, quantity first, that is no one dish's."""
    lines = [rng.choice(item.quantities) + item.name for item in rng.sample(list(_ALL.values()), 3)]
    spices = rng.sample(list(SEASONINGS), rng.randint(2, 5))
    lines += [rng.choice(SEASONINGS[name]) + name for name in spices]
    rng.shuffle(lines)
    return rng.choice(_SHOPPING).format(lines="、".join(lines), column="\n".join(lines))


def steps_shuffled(dishes: list[Dish], rng: random.Random) -> str:
    """Return a column of steps, each of another dish."""
    lines = []
    for _ in range(rng.randint(2, 5)):
        clauses = _clauses(rng.choice(dishes), rng)
        lines.append(rng.choice(clauses) + "。")
    return "\n".join(lines)


def tell_method(method: Method, rng: random.Random) -> str:
    """Return sentences on a way of cooking, without a dish."""
    name = method.pattern.format(a="某样菜", b="另一样")
    spices = _listing(list(method.seasonings))
    lines = [f"{name}这类做法属于{method.tag}，调料一般是{spices}。"]
    for spice in rng.sample(method.seasonings, min(2, len(method.seasonings))):
        lines.append(rng.choice(_AMOUNTS).format(s=spice, q=rng.choice(SEASONINGS[spice])))
    return "".join(lines)


def cooking_prose(dishes: list[Dish], rng: random.Random) -> str:
    """Return one document of cooking prose."""
    kind = rng.random()
    if kind < 0.2:
        return shopping(rng)
    if kind < 0.3:
        return steps_shuffled(dishes, rng)
    if kind < 0.65:
        return "\n".join(tell_dish(rng.choice(dishes), rng) for _ in range(rng.randint(1, 3)))
    if kind < 0.85:
        items = rng.sample(list(_ALL.values()), rng.randint(1, 3))
        return "\n".join(tell_ingredient(item, dishes, rng) for item in items)
    return tell_method(rng.choice(METHODS), rng)


def cooking_chat(dishes: list[Dish], rng: random.Random) -> list[dict[str, str]]:
    """Return a short chat on cooking, answered in a sentence or two."""
    kind = rng.randrange(4)
    item = rng.choice(list(_ALL.values()))
    dish = rng.choice(dishes)
    if kind == 0:
        asked, told = f"{item.name}下锅前要怎么处理？", rng.choice(item.prepare) + "。"
    elif kind == 1:
        asked, told = f"{dish.name}里有什么？", _listing([m.name for m in dish.mains]) + "。"
    elif kind == 2:
        spices = _listing(list(dish.method.seasonings))
        asked, told = f"{dish.name}用什么调味？", f"一般用{spices}。"
    else:
        asked, told = f"说说{dish.name}。", tell_dish(dish, rng)
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": told}]
