"""The rounds in which a benchmark is asked, and what each may spend of the error.

A variant is judged after each round and asked no further once it is settled. The looks share the
chance of an error as fixed beforehand (a weighted Bonferroni correction): after n of at most N
questions (n/N)² of it may be spent, as Kim and DeMets' power family has it (Biometrika 74, 1987).
So the error holds at whatever round one stops, and the last look keeps most of it.
"""

import random
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from scipy.special import ndtr

from butler.paired import PairedSample


@dataclass(frozen=True)
class Rounds:
    """Cumulative numbers of questions after each planned round, rising; the last is the most."""

    sizes: Sequence[int]

    @property
    def shares(self) -> list[float]:
        """Share of the error that each look may spend; they sum to 1."""
        spent = [(size / self.sizes[-1]) ** 2 for size in self.sizes]
        return [after - before for before, after in zip([0.0, *spent], spent, strict=False)]


def plan_rounds(questions: int, first: int) -> Rounds:
    """Return rounds of which each doubles what was asked, the first of `first` questions or more.

    One round, if there are not twice as many questions.
    """
    sizes = [questions]
    while sizes[0] >= 2 * first:
        sizes.insert(0, -(-sizes[0] // 2))
    return Rounds(sizes)


def round_of_each(
    data_sets: Sequence[Hashable], clusters: Sequence[Hashable], rounds: Rounds, seed: int
) -> list[int]:
    """Return the round, from 1, in which each question is asked.

    Every round takes the same share of each data set, drawn by seed, and a cluster whole, so sizes
    may differ by a cluster.
    """
    members: dict[Hashable, dict[Hashable, list[int]]] = {}
    for index, (data_set, cluster) in enumerate(zip(data_sets, clusters, strict=True)):
        members.setdefault(data_set, {}).setdefault(cluster, []).append(index)
    places: list[tuple[float, float, list[int]]] = []
    draw = random.Random(seed)
    for of_set in members.values():
        drawn = list(of_set.values())
        draw.shuffle(drawn)
        total, before = sum(map(len, drawn)), 0
        for questions in drawn:
            places.append(((before + len(questions) / 2) / total, draw.random(), questions))
            before += len(questions)
    found, asked, current = [0] * len(data_sets), 0, 1
    for _, _, questions in sorted(places):
        if asked >= rounds.sizes[current - 1] and current < len(rounds.sizes):
            current += 1
        for index in questions:
            found[index] = current
        asked += len(questions)
    return found


@dataclass(frozen=True)
class Looks:
    """What was seen of one variant on one benchmark after each round that was asked."""

    samples: Sequence[PairedSample]
    rounds: Rounds

    @property
    def last(self) -> PairedSample:
        """All that was asked."""
        return self.samples[-1]

    def p_within(self, limit: float) -> float:
        """Return the p-value of a loss of `limit` points or more, over all looks."""
        return self._p([float(ndtr(-one.statistic(-limit))) for one in self.samples])

    def p_over(self, limit: float) -> float:
        """Return the p-value of a loss of `limit` points or less, over all looks."""
        return self._p([float(ndtr(one.statistic(-limit))) for one in self.samples])

    def bounds(self, below: float, above: float) -> tuple[float, float]:
        """Return bounds in points of which no look's is wrong but with chances `below`, `above`."""
        looks = list(zip(self.samples, self.rounds.shares, strict=False))
        low = max(sample.bound(below * share) for sample, share in looks)
        high = min(sample.bound(above * share, upper=True) for sample, share in looks)
        return low, high

    def last_level(self, level: float) -> float:
        """Return what of `level` the last planned look may spend."""
        return level * self.rounds.shares[-1]

    def _p(self, values: Sequence[float]) -> float:
        shares = self.rounds.shares
        return min(1.0, *(p / share for p, share in zip(values, shares, strict=False)))
