"""The demo corpus: raw lines of recipes.jsonl, dirt included."""

import json
import random
from dataclasses import dataclass

from butler.demo import dirt
from butler.demo.methods import Dish, every_dish
from butler.demo.recipes import Record, record

CORPUS_SEED = 2026
CORPUS_LINES = 2000
CORPUS_DISHES = 850


@dataclass(frozen=True)
class Corpus:
    """Raw lines and, for the tests, the kind of dirt on each and the dishes used."""

    lines: list[str]
    kinds: list[str]
    dishes: list[Dish]


def corpus_dishes() -> list[Dish]:
    """Return the dishes of the demo corpus; the pretraining text keeps off them."""
    return random.Random(CORPUS_SEED).sample(every_dish(), CORPUS_DISHES)


def make_corpus() -> Corpus:
    """Return the raw lines, the same bytes on every machine."""
    dishes = corpus_dishes()
    rng = random.Random(f"corpus {CORPUS_SEED}")
    kinds = dirt.plan(CORPUS_LINES, rng)
    clean: list[Record] = []
    lines: list[str] = []
    for index, kind in enumerate(kinds):
        if kind.endswith("duplicate") and clean:
            source = rng.choice(clean)
            made = source if kind == "exact_duplicate" else dirt.near_copy(source, rng)
        else:
            made = record(dishes[index % len(dishes)], rng)
            if rng.random() < dirt.UNKNOWN_DISH:
                made["dish"] = "Unknown"
            if kind in dirt.CHANGES:
                dirt.CHANGES[kind](made, rng)
            elif kind == "clean":
                clean.append(made)
        line = json.dumps(made, ensure_ascii=False)
        lines.append(dirt.malformed(line, rng) if kind == "malformed" else line)
    return Corpus(lines, kinds, dishes)
