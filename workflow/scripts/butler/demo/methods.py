"""The dishes of the demo kitchen: how a cooking method turns ingredients into a recipe.

A dish's name says what goes in and how it is cooked, so that a model can learn the step from the
name to the recipe; wording, quantities and optional steps vary.
"""

import random
from dataclasses import dataclass

from butler.demo.cookbook import DISHES
from butler.demo.cookbook_meals import MEALS
from butler.demo.method import Method
from butler.demo.pantry import Ingredient

METHODS: tuple[Method, ...] = DISHES + MEALS


@dataclass(frozen=True)
class Dish:
    """One dish: a method with its main ingredients."""

    name: str
    method: Method
    mains: tuple[Ingredient, ...]


def every_dish() -> list[Dish]:
    """Return all dishes the kitchen can make, in a fixed order, each name once."""
    dishes: dict[str, Dish] = {}
    for method in METHODS:
        for first in method.first:
            for second in method.second or (None,):
                if second is first:
                    continue
                name = method.pattern.format(a=first.name, b=second.name if second else "")
                mains = (first, second) if second else (first,)
                dishes.setdefault(name, Dish(name, method, mains))
    return list(dishes.values())


def fillings(dish: Dish, rng: random.Random) -> dict[str, str]:
    """Return what the gaps of a method's sentences take for `dish`: names and preparations."""
    first, second = dish.mains[0], dish.mains[-1]
    return {
        "a": first.name,
        "b": second.name,
        "pa": rng.choice(first.prepare),
        "pb": rng.choice(second.prepare),
    }
