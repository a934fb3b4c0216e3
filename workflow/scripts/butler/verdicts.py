"""Three verdicts: a variant loses no more than the limit, it loses more, or it is not settled.

A variant is within the limit if that is shown on every benchmark, so each benchmark may use the
whole error (intersection–union, Berger, Technometrics 24, 1982); over variants Holm's correction
holds it (Scandinavian Journal of Statistics 6, 1979). So the chance that any variant which loses
more than the limit is called within is at most `error`. Being over is shown by one benchmark alone,
and benchmarks share the error for it (Bonferroni).
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from butler.paired import questions_to_settle
from butler.rounds import Looks


class Outcome(StrEnum):
    """What is shown of a loss against the baseline."""

    WITHIN = "within"
    OVER = "over"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class BenchmarkVerdict:
    """What is shown of one variant on one benchmark.

    `low` and `high` bound its change in points at the levels that decide, over all looks, variants
    and benchmarks: the change is within if `low` is above −limit and over if `high` is below.
    `needed` is about how many questions would settle an undecided one (`questions_to_settle`).
    """

    outcome: Outcome
    low: float
    high: float
    needed: int | None = None


@dataclass(frozen=True)
class VariantVerdict:
    """What is shown of one variant over all benchmarks."""

    outcome: Outcome
    benchmarks: Mapping[Any, BenchmarkVerdict]


def judge(
    looks: Mapping[str, Mapping[Hashable, Looks]], limit: float, error: float
) -> dict[str, VariantVerdict]:
    """Return the verdict on each variant.

    Args:
        looks: by variant, without the baseline, and benchmark; the same benchmarks for each.
        limit: points that a variant may lose.
        error: chance of calling any variant within that loses more.
    """
    levels = holm_levels({name: p_within(of, limit) for name, of in looks.items()}, error)
    return {name: _judge_one(of, limit, levels[name], error) for name, of in looks.items()}


def p_within(looks: Mapping[Hashable, Looks], limit: float) -> float:
    """Return the p-value of a variant that loses `limit` or more on one benchmark or another."""
    return max(one.p_within(limit) for one in looks.values())


def holm_levels(values: Mapping[str, float], error: float) -> dict[str, float]:
    """Return the level that each p-value is held against; it is rejected if it is no higher."""
    levels: dict[str, float] = {}
    left = len(values)
    for name, p in sorted(values.items(), key=lambda item: item[1]):
        levels[name] = error / left
        if p <= levels[name]:
            left -= 1
    return levels


def settled(looks: Looks, limit: float, error: float, variants: int, benchmarks: int) -> Outcome:
    """Return the verdict on one variant and benchmark while the others are not known.

    It is what `judge` would say at worst, so nothing that is settled here is open there.
    """
    return outcome_at(looks, limit, error / variants, error / benchmarks)


def _judge_one(
    looks: Mapping[Hashable, Looks], limit: float, level: float, error: float
) -> VariantVerdict:
    over = error / len(looks)
    found = {}
    for name, one in looks.items():
        outcome, needed = outcome_at(one, limit, level, over), None
        if outcome is Outcome.UNDECIDED:
            side = level if one.last.mean > -limit else over
            needed = questions_to_settle(one.last, limit, one.last_level(side))
        found[name] = BenchmarkVerdict(outcome, *one.bounds(level, over), needed)
    outcomes = {one.outcome for one in found.values()}
    if Outcome.OVER in outcomes:
        return VariantVerdict(Outcome.OVER, found)
    whole = Outcome.WITHIN if outcomes == {Outcome.WITHIN} else Outcome.UNDECIDED
    return VariantVerdict(whole, found)


def outcome_at(looks: Looks, limit: float, within: float, over: float) -> Outcome:
    """Return what is shown of one variant and benchmark with these errors for either side."""
    if looks.p_within(limit) <= within:
        return Outcome.WITHIN
    return Outcome.OVER if looks.p_over(limit) <= over else Outcome.UNDECIDED
