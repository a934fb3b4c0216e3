"""Worlds whose true losses are known, for `decision.py`: what questions, how alike, what changes.

A world draws how much each variant's score of each question differs from fp16's. Variants share
fp16's answers and what makes a question fragile, so their errors go together. All draws come from
normal variables, shared by the questions of a cluster and by the variants of a question in part.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import ndtr

SHARED = 0.5  # correlation of what makes a question fragile, between two variants
RIGHT = 0.5  # share of questions that fp16 answers rightly
UNLIKE = np.array([1.5, 0.5])  # flips of the smallest and the largest data set, in the mean's


@dataclass(frozen=True)
class Questions:
    """A benchmark's questions and what quantising changes in the answers to them.

    Attributes:
        sizes: questions of each data set.
        change: "answers" are right or wrong; the others are graded, see `_graded`.
        flips: share of answers that change, where they are right or wrong.
        spread: points that data sets' losses lie apart at most from the mean, the smallest data
            sets losing most; with it they flip most too.
        repeats: most questions of a cluster; there are as many clusters of each number up to it.
        alike: correlation of the questions in a cluster; 1 where they have the same answers.
    """

    sizes: Sequence[int]
    change: str = "answers"
    flips: float = 0.1
    spread: float = 0.0
    repeats: int = 1
    alike: float = 1.0

    @property
    def count(self) -> int:
        """Number of questions of all data sets."""
        return sum(self.sizes)

    @cached_property
    def data_sets(self) -> np.ndarray:
        """Data set of each question."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    @cached_property
    def clusters(self) -> np.ndarray:
        """Cluster of each question; no cluster spans two data sets."""
        found: list[int] = []
        number = 0
        for size in self.sizes:
            end = len(found) + size
            while len(found) < end:
                number += 1
                found.extend([number] * min(number % self.repeats + 1, end - len(found)))
        return np.unique(found, return_inverse=True)[1]

    def draw(self, losses: Sequence[float], random: np.random.Generator) -> np.ndarray:
        """Return [variants, questions] differences in points whose true mean is −loss."""
        of_set, of_cluster = self.data_sets, self.clusters

        def normals(*rows: int) -> np.ndarray:
            together = random.standard_normal((*rows, of_cluster[-1] + 1))[..., of_cluster]
            apart = random.standard_normal((*rows, len(of_set)))
            return self.alike**0.5 * together + (1 - self.alike) ** 0.5 * apart

        small_first = np.argsort(np.argsort(self.sizes, kind="stable"), kind="stable")
        place = small_first / max(1, len(self.sizes) - 1)
        apart = self.spread * (1 - 2 * place) * (len(self.sizes) > 1)
        flips = self.flips * (np.interp(place, [0, 1], UNLIKE) if self.spread else 1 + 0 * place)
        lost = (np.asarray(losses, dtype=float)[:, None] + apart)[:, of_set]
        fragile = SHARED**0.5 * normals() + (1 - SHARED) ** 0.5 * normals(len(losses))
        if self.change != "answers":
            changed = ndtr(normals(len(losses)))
            return np.clip(_graded(self.change, lost, changed, fragile), -100.0, 100.0)
        flips = np.maximum(flips[of_set], np.abs(lost) / 100)
        to_wrong, to_right = (flips + lost / 100) / 2, (flips - lost / 100) / 2
        right, chance = ndtr(normals()) < RIGHT, ndtr(fragile)
        wrong = right & (chance < to_wrong / RIGHT)
        mended = ~right & (chance < to_right / (1 - RIGHT))
        return 100.0 * (mended.astype(float) - wrong)


def _graded(change: str, lost: np.ndarray, changed: np.ndarray, fragile: np.ndarray) -> np.ndarray:
    """Return differences in points of graded answers whose mean is −`lost`.

    Args:
        change: "many" answers change by some 25 points; "few" (one in ten) by 30; "slight": three
            in ten by 5; "rare losses": one in 25 loses 80 and the others gain a little; "rare
            gains": the reverse.
        lost, changed, fragile: points, a uniform and a normal variable, [variants, questions].
    """
    if change in ("rare losses", "rare gains"):
        sign, share, jump = (-1 if change == "rare losses" else 1), 0.04, 80.0
        usual = (-lost - sign * share * jump) / (1 - share) + 2 * fragile
        return np.where(changed < share, sign * jump, usual)
    share, size = {"many": (0.6, 25.0), "few": (0.1, 30.0), "slight": (0.3, 5.0)}[change]
    share = np.maximum(share, np.abs(lost) / 40)  # no change is cut off at −100
    return np.where(changed < share, size * fragile - lost / share, 0.0)


@dataclass(frozen=True)
class World:
    """What is evaluated together: some variants on some benchmarks.

    Attributes:
        first: questions of the first round; None asks all at once.
        variants: number of variants.
        bad: of those, how many lose too much where any does.
    """

    name: str
    benchmarks: Sequence[Questions]
    first: int | None = 400
    variants: int = 1
    bad: int = 1

    @property
    def effort(self) -> float:
        """Share of the runs that such a world gets, as its runs take longer."""
        questions = self.variants * sum(each.count for each in self.benchmarks)
        return min(1.0, max(0.1, 1500 / questions))

    def losses(self, loss: float, limit: float) -> list[list[float]]:
        """Return the losses [variants][benchmarks] of the world whose bad variants lose `loss`.

        They lose it on the first benchmark and gain 3 points on the others, which is where a rule
        over several benchmarks errs most. With `loss` below the limit all is alike.
        """
        if loss < limit:
            return [[loss] * len(self.benchmarks) for _ in range(self.variants)]
        one = [loss] + [-3.0] * (len(self.benchmarks) - 1)
        good = [0.0] * len(self.benchmarks)
        return [one] * self.bad + [good] * (self.variants - self.bad)


C_EVAL = [12 + 28 * place // 51 for place in range(52)]  # 1,330 questions, as its `val` has 1,346


def worlds() -> list[World]:
    """Return all worlds of the full table."""
    found = []
    for flips in (0.05, 0.1, 0.15):
        for count in (40, 100, 400, 1346, 3000, 12000):
            found.append(
                World(f"{count:,} q, {flips * 100:g} % flips", [Questions([count], flips=flips)])
            )
    for count in (133, 400, 1346):
        found.append(World(f"{count:,} q, 2 % flips: all losses", [Questions([count], flips=0.02)]))
    for first in (None, 700, 350, 170, 80):
        name = f"1,346 q, 10 % flips, first round {first or 'of all'}"
        found.append(World(name, [Questions([1346])], first))
    found += stratified() + clustered() + graded() + joint()
    return found


def stratified() -> list[World]:
    """Return worlds of several data sets."""
    return [
        World("52 data sets, alike", [Questions(C_EVAL)]),
        World("52 data sets, losses ±2 apart", [Questions(C_EVAL, spread=2.0)]),
        World("40 + 4,000 q, alike", [Questions([40, 4000])]),
        World("40 + 4,000 q, losses ±2 apart", [Questions([40, 4000], spread=2.0)]),
        World("5 data sets of 10 to 800, ±2", [Questions([10, 40, 100, 400, 800], spread=2.0)]),
        World("8 data sets of 5", [Questions([5] * 8, spread=2.0)]),
    ]


def clustered() -> list[World]:
    """Return worlds whose questions are not all news."""
    return [
        World("40 q, each 1 to 3 times", [Questions([40], repeats=3)]),
        World("100 q, each 1 to 3 times", [Questions([100], repeats=3)]),
        World("1,346 q, each 1 to 3 times", [Questions([1346], repeats=3)]),
        World("1,346 q of dishes, half alike", [Questions([1346], repeats=6, alike=0.5)]),
        World("100 q of 10 dishes, half alike", [Questions([100], repeats=20, alike=0.5)]),
        World("52 data sets, clusters", [Questions(C_EVAL, spread=2.0, repeats=3)]),
    ]


def graded() -> list[World]:
    """Return worlds of graded answers."""
    found = []
    for change in ("many", "few", "slight", "rare losses", "rare gains"):
        for count in (40, 100, 1346):
            found.append(World(f"{count:,} graded, {change}", [Questions([count], change)]))
    found.append(
        World("400 graded, rare losses, dishes", [Questions([400], "rare losses", repeats=3)])
    )
    return found


def joint() -> list[World]:
    """Return worlds of several variants and benchmarks."""
    one, exam = Questions([3000]), Questions(C_EVAL, flips=0.05)
    recipes = Questions([1000], "slight", repeats=3)
    return [
        World("3 variants, all bad", [one], variants=3, bad=3),
        World("3 variants, one bad", [one], variants=3),
        World("8 variants, all bad", [one], variants=8, bad=8),
        World("8 variants, one bad", [one], variants=8),
        World("2 benchmarks", [exam, recipes]),
        World("3 variants, 2 benchmarks, all bad", [exam, recipes], variants=3, bad=3),
        World("3 variants, 2 benchmarks, one bad", [exam, recipes], variants=3),
    ]


def quick_worlds() -> list[World]:
    """Return the few worlds that show each way to err."""
    return [
        World("40 q, 5 % flips", [Questions([40], flips=0.05)]),
        World("133 q, 2 % flips: all losses", [Questions([133], flips=0.02)]),
        World("400 q, 10 % flips", [Questions([400])]),
        World("3,000 q, 5 % flips", [Questions([3000], flips=0.05)]),
        World("52 data sets, losses ±2 apart", [Questions(C_EVAL, spread=2.0)]),
        World("20 + 1,000 q, losses ±2 apart", [Questions([20, 1000], spread=2.0)]),
        World("400 q, each 1 to 3 times", [Questions([400], repeats=3)]),
        World("100 graded, rare losses", [Questions([100], "rare losses")]),
        World("400 graded, many", [Questions([400], "many")]),
        World(
            "3 variants, 2 benchmarks, all bad",
            [Questions([1346], flips=0.03), Questions([800], "slight", repeats=3)],
            variants=3,
            bad=3,
        ),
    ]
