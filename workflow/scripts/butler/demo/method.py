"""What a way of cooking is."""

from dataclasses import dataclass

from butler.demo.pantry import Ingredient


@dataclass(frozen=True)
class Method:
    """A way of cooking.

    `pattern` is the dish's name with {a} and {b} for the main ingredients, `first` and `second`
    the ingredients that can stand there, `steps` one tuple of wordings per step.
    """

    slug: str
    pattern: str
    first: tuple[Ingredient, ...]
    second: tuple[Ingredient, ...]
    seasonings: tuple[str, ...]
    optional: tuple[str, ...]
    steps: tuple[tuple[str, ...], ...]
    tag: str


def pick(
    table: dict[str, Ingredient], names: str = "", without: str = ""
) -> tuple[Ingredient, ...]:
    """Return the ingredients of `table` called `names` (all, if none), except `without`."""
    chosen = names.split() if names else list(table)
    return tuple(table[name] for name in chosen if name not in without.split())
