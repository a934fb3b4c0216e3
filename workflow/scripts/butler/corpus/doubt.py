"""How much of a recipe is in doubt, by what the rules took out of it and of all others.

Clauses that the rules took out of steps and those that they left are two sets of examples, from
which a naive Bayes model learns by which runs of two and three characters they differ. In doubt is
a clause that was left and is more like those taken out; what was taken out, since where much is,
some is overlooked; and a line of ingredients that has not the usual form.
"""

import re
from collections import Counter
from collections.abc import Iterable

import numpy as np

from butler.corpus.ngrams import BASE, Array, mixed
from butler.corpus.records import Recipe
from butler.corpus.rules.ingredients import has_usual_form, lacks_unit
from butler.corpus.rules.references import has_reference

_MARKS = "，,。！!？?；;…~～、：:（）()【】「」“”\n "  # what parts clauses
_CLAUSES = re.compile(f"[^{re.escape(_MARKS)}]+")
_MARK_CODES = np.array(sorted(map(ord, _MARKS)), np.uint32)
_BITS = 20  # of the hashes of runs, by which they are counted
_PRIOR = 0.5  # added to each count
_SCALE = 256.0  # weights are whole numbers, so that no order of adding changes a sum


def taken_out(recipe: Recipe) -> str:
    """The clauses of the steps that are not in them any more, one a line."""
    if recipe.told == recipe.steps:
        return ""
    told, left = (Counter(_CLAUSES.findall(text)) for text in (recipe.told, recipe.steps))
    return "\n".join((told - left).elements())


def in_doubt(recipe: Recipe) -> tuple[int, int]:
    """How many characters are in doubt whatever other recipes say, and how many there are in all.

    In doubt are those taken out of the steps, and ingredients that have not the usual form; all, if
    a step is named by its number alone or an amount lost its unit, which a reader may still guess.
    """
    unusual = sum(len(line) for line in recipe.ingredients.split("\n") if not has_usual_form(line))
    taken = max(len(recipe.told) - len(recipe.steps), 0)
    size = taken + len(recipe.ingredients) + len(recipe.steps)
    guessed = has_reference(recipe.steps) or lacks_unit(recipe.ingredients, recipe.steps)
    return (size if guessed else taken + unusual), size


def weights(examples: Iterable[tuple[str, str]]) -> Array:
    """How much each run tells of talk: the logarithm of a ratio of rates, as int64 [2**_BITS].

    All 0 where nothing was taken out.

    Args:
        examples: clauses that were taken out, and steps that were left.
    """
    talk, told = np.zeros((2, 1 << _BITS), np.int64)
    for gone, left in examples:
        talk += _counts(gone)
        told += _counts(left)
    if not talk.any():
        return talk
    told = np.maximum(told - 1, 0)  # what stands there once may be the clause that is asked about
    spread = _PRIOR * np.count_nonzero(talk + told)
    rates = [(counts + _PRIOR) / (counts.sum() + spread) for counts in (talk, told)]
    ratios: Array = np.rint(_SCALE * np.log(rates[0] / rates[1])).astype(np.int64)
    return ratios


def like_talk(texts: list[str], ratios: Array) -> Array:
    """Characters in clauses that are more like talk than like steps, as int64 [texts].

    Args:
        ratios: what `weights` gave.
    """
    runs, inside, mark = _runs("\n".join(texts))
    begins = np.flatnonzero(mark)
    sums = np.add.reduceat(np.where(inside, ratios[runs], 0).sum(axis=0), begins)
    sizes = np.diff(np.append(begins, len(mark))) - 1
    ends = np.cumsum([len(text) + 1 for text in texts])  # each stands behind a line feed
    owners = np.searchsorted(ends, begins, "right")
    talk = np.where((sums > 0) & (sizes > 1), sizes, 0)
    return np.bincount(owners, talk, minlength=len(texts)).astype(np.int64)


def _counts(text: str) -> Array:
    runs, inside, _ = _runs(text)
    return np.bincount(runs[inside], minlength=1 << _BITS)


def _runs(text: str) -> tuple[Array, Array, Array]:
    """The runs of two and three characters from each place, of which the first is before `text`.

    Returns:
        their numbers below 2**_BITS, and whether they lie within a clause and the marks around it,
        both as [2, places]; whether a mark is at each place.
    """
    codes = np.frombuffer(f"\n{text}\n\n".encode("utf-32-le", "surrogatepass"), np.uint32)
    mark = np.isin(codes, _MARK_CODES)
    bare = np.where(mark, 0, codes).astype(np.uint64) + np.uint64(1)  # all marks are the same
    with np.errstate(over="ignore"):
        two = bare[:-1] * BASE + bare[1:]
        three = two[:-1] * BASE + bare[2:]
    hashes = mixed(np.stack((two[:-1], three))) >> np.uint64(64 - _BITS)
    inside = np.stack((~(mark[:-2] & mark[1:-1]), ~mark[1:-1]))
    return hashes.astype(np.int64), inside, mark[:-2]
