"""Which candidates stay, and on which side: duplicates out, sample, split by dish.

Nothing here depends on the order of the input: every choice is made by content and seed.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from butler.corpus.dish import DishGroups, dish_key
from butler.corpus.recipe import Recipe
from butler.corpus.sample import content_key, stable_hash


@dataclass(frozen=True, slots=True)
class Candidate:
    """A usable record, in memory without its text.

    `characters` is the length of the answer, `place` is (offset, bytes) of its sample in the
    spool. Of several records with one `content`, the one with the smallest `rank` is the better.
    """

    line: int
    name: str
    characters: int
    place: tuple[int, int]
    content: bytes
    rank: tuple[bool, int, int, int]
    keys: tuple[str, ...]


def candidate(
    recipe: Recipe, line: int, characters: int, place: tuple[int, int], sample: bytes
) -> Candidate:
    """Describe a usable recipe whose finished sample is `sample`.

    Better is, in this order: a record whose dish the corpus names, the longer answer, the shorter
    name, and the smaller hash of dish and sample, which only decides between equals.
    """
    rank = (
        not recipe.dish,
        -characters,
        len(recipe.name),
        stable_hash(recipe.dish, sample.hex()),
    )
    keys = {dish_key(recipe.name), dish_key(recipe.dish) if recipe.dish else ""} - {""}
    content = content_key(recipe)
    return Candidate(line, recipe.name, characters, place, content, rank, tuple(sorted(keys)))


def drop_duplicates(
    candidates: Iterable[Candidate],
) -> tuple[list[Candidate], dict[int, int], int]:
    """The best candidate per content, {line dropped: line kept}, and how many groups there were."""
    groups: dict[bytes, list[Candidate]] = defaultdict(list)
    for item in candidates:
        groups[item.content].append(item)
    best, dropped = [], {}
    for group in groups.values():
        kept, *others = sorted(group, key=lambda item: (item.rank, item.line))
        best.append(kept)
        dropped |= {item.line: kept.line for item in others}
    return best, dropped, sum(len(group) > 1 for group in groups.values())


def shuffle(candidates: Iterable[Candidate], seed: int, purpose: str) -> list[Candidate]:
    """The candidates in an order drawn by seed and content."""
    return sorted(
        candidates,
        key=lambda item: (stable_hash(seed, purpose, item.content.hex()), item.content),
    )


@dataclass(frozen=True)
class Split:
    """Both sides in the order to write them, and the number of dishes on each."""

    train: list[Candidate]
    test: list[Candidate]
    train_dishes: int
    test_dishes: int


def split_by_dish(candidates: list[Candidate], test_size: int, seed: int) -> Split:
    """Give whole dishes, in an order drawn by seed, to the test side until it has `test_size`.

    A dish with more records than there is room for goes to train, so the test side has exactly
    `test_size` records wherever single-record dishes are left.
    """
    groups = DishGroups()
    for item in candidates:
        groups.join(*item.keys)
    dishes: dict[str, list[Candidate]] = defaultdict(list)
    for item in candidates:
        dishes[groups.find(item.keys[0])].append(item)
    test: list[Candidate] = []
    test_dishes = 0
    for dish in sorted(dishes, key=lambda dish: (stable_hash(seed, "split", dish), dish)):
        if len(test) + len(dishes[dish]) <= test_size:
            test += dishes.pop(dish)
            test_dishes += 1
        if len(test) == test_size:
            break
    train = [item for group in dishes.values() for item in group]
    return Split(
        shuffle(train, seed, "order"),
        shuffle(test, seed, "order"),
        len(dishes),
        test_dishes,
    )
