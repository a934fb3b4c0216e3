"""A clean record as a training sample: its question, its answer, and what it is known by."""

from bisect import bisect
from collections.abc import Mapping
from hashlib import blake2b
from itertools import accumulate

import orjson

from butler.recipe_form import INGREDIENTS_HEADING, STEPS_HEADING


def stable_hash(*parts: object) -> int:
    """A 64-bit hash that is the same on every machine and in every run."""
    text = "\x1f".join(map(str, parts))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


def answer(ingredients: str, steps: str) -> str:
    """The asked form: a header, one ingredient per line, a header, one step per line."""
    return f"{INGREDIENTS_HEADING}\n{ingredients}\n{STEPS_HEADING}\n{steps}"


def sample(system: str, question: str, text: str) -> bytes:
    """A line of XTuner's JSON."""
    turn = {"system": system, "input": question, "output": text}
    return orjson.dumps({"conversation": [turn]}, option=orjson.OPT_APPEND_NEWLINE)


def question_of(line: bytes) -> str:
    """What a sample asks."""
    question: str = orjson.loads(line)["conversation"][0]["input"]
    return question


def body(line: bytes, recipes: bool) -> str:
    """What a sample is compared by.

    Of a recipe that is the answer without its headers, of a pair question and answer: that two
    questions have the answer in common, such as "In the fridge.", makes neither known.
    """
    turn = orjson.loads(line)["conversation"][0]
    text: str = turn["output"]
    if not recipes:
        return f"{turn['input']}\n{text}"
    return text.removeprefix(f"{INGREDIENTS_HEADING}\n").replace(f"\n{STEPS_HEADING}\n", "\n", 1)


def parts(line: bytes) -> tuple[str, str]:
    """The ingredients and the steps of a recipe's sample."""
    text: str = orjson.loads(line)["conversation"][0]["output"]
    ingredients, _, steps = text.partition(f"\n{STEPS_HEADING}\n")
    return ingredients.removeprefix(f"{INGREDIENTS_HEADING}\n"), steps


def content_key(first: str, second: str) -> bytes:
    """16 bytes, equal for records with the same letters: lines of `first` in any order."""
    lines = "\n".join(sorted(first.split("\n")))
    text = f"{lines}\n\n{second}".encode("utf-8", "surrogatepass")
    return blake2b(text, digest_size=16).digest()


class Questions:
    """A recipe's name in one of the keyword forms, drawn by seed and name.

    `forms` maps the ending of a question ("的做法") to its weight, in the order to draw in. Forms
    that the record's own keywords do not have are left out, unless they have none of them.
    """

    def __init__(self, forms: Mapping[str, float], seed: int) -> None:
        self._forms = tuple(forms.items())
        self._seed = seed

    def ask(self, name: str, keywords: str) -> str:
        """The question for a recipe with this name and these keywords, one a line."""
        words = keywords.replace(" ", "") + "\n"
        own = [form for form in self._forms if f"{form[0]}\n" in words]
        endings, weights = zip(*(own or self._forms), strict=True)
        bounds = list(accumulate(weights))
        drawn = stable_hash(self._seed, "question", name) / 2.0**64 * bounds[-1]
        ending = endings[min(bisect(bounds, drawn), len(endings) - 1)]
        return name if name.endswith(ending) else name + ending
