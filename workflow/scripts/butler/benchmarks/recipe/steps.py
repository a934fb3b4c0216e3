"""How many of a recipe's steps an answer has, and whether it has them in order."""

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

SAME_STEP = 0.5  # F of the words from which two steps count as the same
_NUMBERING = re.compile(r"^\W*第?[\d一二三四五六七八九十]+(?:步[:.、,)\s]*|[:.、)]\s*)")


def step_words(step: str) -> Counter[str]:
    """Return the words of a step as jieba cuts them, without numbering and punctuation."""
    import jieba

    words = jieba.cut(_NUMBERING.sub("", step))
    return Counter(word for word in words if any(letter.isalnum() for letter in word))


def word_f(first: Counter[str], second: Counter[str]) -> float:
    """F of the words two steps share, 2·shared/(words of one + words of the other), 0 to 1."""
    total = first.total() + second.total()
    return 2 * (first & second).total() / total if total else 0.0


def step_scores(found: Sequence[str], wanted: Sequence[str]) -> dict[str, float]:
    """Coverage and order of the steps `wanted` by those `found`, 0 to 100.

    Two steps are the same if `word_f` is at least 0.5. Steps are paired one to one so that the sum
    of `word_f` over the pairs is greatest (the assignment problem: Kuhn, 1955). `step_coverage` is
    pairs/|wanted|; `step_order` is the longest chain of pairs in the same order/|wanted|. So order
    is at most coverage, and the gap between them is the steps in the wrong place.

    Raises:
        ValueError: if `wanted` is empty.
    """
    if not wanted:
        raise ValueError("the reference answer has no steps")
    places = _paired(found, wanted)
    return {
        "step_coverage": 100.0 * len(places) / len(wanted),
        "step_order": 100.0 * _longest_rise(places) / len(wanted),
    }


def _paired(found: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Return the places in `found` of the paired steps, in the order of `wanted`."""
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    if not found:
        return []
    have, want = [step_words(step) for step in found], [step_words(step) for step in wanted]
    alike = np.array([[word_f(one, other) for other in have] for one in want])
    alike[alike < SAME_STEP] = 0.0
    rows, columns = linear_sum_assignment(alike, maximize=True)
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return [column for row, column in sorted(pairs) if alike[row, column] > 0]


def _longest_rise(places: Sequence[int]) -> int:
    """Length of the longest rising subsequence (Fredman 1975)."""
    ends: list[int] = []
    for place in places:
        at = bisect_left(ends, place)
        ends[at : at + 1] = [place]
    return len(ends)
