"""What a decision says, in words that need no statistics."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from butler.comparisons import Change
from butler.efficiency.speed import Spread
from butler.efficiency.target import TargetOutcome
from butler.schemes import BASELINE
from butler.settings.judging_stage import DecisionSettings
from butler.texts import Phrase, phrase
from butler.verdicts import BenchmarkVerdict, Outcome, VariantVerdict

MIB = 2**20
MOST_NEEDED = 100_000  # questions: what takes more, no benchmark settles
Labels = Mapping[str, str]  # how a benchmark is called in a sentence, by its name
Verdicts = Mapping[str, VariantVerdict]  # by variant, without the baseline


@dataclass(frozen=True)
class Quantities:
    """What the rule prefers one variant for: bytes and, if it was measured, tokens per second."""

    memory_bytes: float
    decode_tokens_per_s: Spread | None


def rule_text(rule: DecisionSettings) -> Phrase:
    """Return the rule as one sentence."""
    values = {
        "max_loss": rule.max_loss,
        "baseline": BASELINE,
        "aim": phrase(f"rule.{rule.prefer}", tokens=rule.tokens),
    }
    if rule.target is None:
        return phrase("rule.text", **values)
    promises = [
        phrase("target.promise", promise=phrase(f"promise.{key}"), limit=limit)
        for key, limit in rule.target.promises.items()
    ]
    return phrase("rule.text_target", promises=promises, count=rule.target.requests, **values)


def sure_text(rule: DecisionSettings) -> Phrase:
    """Return how often the rule errs, in plain words."""
    return phrase("rule.sure", max_loss=rule.max_loss, times=100 * rule.error)


def verdict_text(verdict: BenchmarkVerdict, max_loss: float) -> Phrase:
    """Return the verdict on one variant and benchmark."""
    if verdict.outcome is Outcome.UNDECIDED:
        return phrase("verdict.undecided", need=needed_text(verdict))
    return phrase(f"verdict.{verdict.outcome.value}", max_loss=max_loss)


def sentence(
    rule: DecisionSettings,
    winner: str,
    serves: bool,
    verdicts: Verdicts,
    unsettled: Verdicts,
    quantities: Mapping[str, Quantities],
    labels: Labels,
    zero: Collection[str],
) -> Phrase:
    """Return what to ship, and if that is the baseline, why and what would change it.

    Args:
        serves: whether what ships keeps the service target.
        unsettled: undecided variants that would be preferred, the most preferred first.
        zero: benchmarks on which the baseline scores nothing, so that no question settles anything.
    """
    also = "" if rule.target is None else phrase("target.also")
    values = {"variant": winner, "baseline": BASELINE, "max_loss": rule.max_loss, "also": also}
    if winner != BASELINE:
        return phrase("sentence.ship", gains=_gains(winner, quantities), **values)
    if not verdicts:
        return phrase("sentence.alone", **values)
    if not serves:
        return phrase("sentence.no_target", **values)
    if unsettled:
        name, verdict = _to_settle(unsettled)
        return phrase(
            f"sentence.unsettled.{rule.prefer}",
            first=name,
            gains=_gains(name, quantities),
            needs=_needs(verdict, labels, zero),
            **values,
        )
    if all(one.outcome is Outcome.OVER for one in verdicts.values()):
        return phrase("sentence.all_over", **values)
    return phrase(f"sentence.none_better.{rule.prefer}", **values)


def settling_remark(
    rule: DecisionSettings,
    unsettled: Verdicts,
    quantities: Mapping[str, Quantities],
    labels: Labels,
    zero: Collection[str],
) -> Phrase:
    """Return which variant would be preferred to the one that ships if it were settled."""
    name, verdict = _to_settle(unsettled)
    values = {"baseline": BASELINE, "gains": _gains(name, quantities), "max_loss": rule.max_loss}
    needs = _needs(verdict, labels, zero)
    return phrase("remark.to_settle", variant=name, needs=needs, **values)


def target_remark(outcome: TargetOutcome, other: bool) -> Phrase:
    """Return that the baseline misses the service target; `other` says that another ships."""
    kind = "remark.target_baseline" if other else "remark.target_none"
    return phrase(kind, baseline=BASELINE, missed=_missed(outcome), count=outcome.requests)


def with_target(why: Phrase, outcome: TargetOutcome | None) -> Phrase:
    """Return a reason with what it misses of the service target, if it does."""
    if outcome is None or outcome.kept:
        return why
    values = {"missed": _missed(outcome), "count": outcome.requests}
    return phrase("reason.and_target", reason=why, **values)


def _missed(outcome: TargetOutcome) -> list[Phrase]:
    return [
        phrase(
            "target.missed",
            promise=phrase(f"promise.{one.key}"),
            measured=one.measured,
            limit=one.limit,
        )
        for one in outcome.broken
    ]


def reason(
    rule: DecisionSettings,
    variant: str,
    winner: str,
    verdicts: Verdicts,
    quantities: Mapping[str, Quantities],
    changes: Mapping[str, Change],
    labels: Labels,
) -> Phrase:
    """Return why a variant is chosen or not."""
    own, best = (_quantity(rule, quantities[name]) for name in (variant, winner))
    verdict = verdicts.get(variant)
    if verdict is not None and verdict.outcome is not Outcome.WITHIN:
        outcome = verdict.outcome
        found = [
            phrase(
                f"reason.{outcome.value}_on",
                points=changes[name].points,
                low=one.low,
                high=one.high,
                benchmark=labels[name],
            )
            for name, one in verdict.benchmarks.items()
            if one.outcome is outcome
        ]
        return phrase(f"reason.{outcome.value}", found=found, max_loss=rule.max_loss)
    moved = [
        phrase("change.points", points=one.points, benchmark=labels[name])
        for name, one in changes.items()
    ]
    if variant == winner:
        return phrase("reason.chosen", own=own, changes=[own, *moved])
    kind = "reason.baseline" if verdict is None else "reason.within"
    return phrase(kind, own=own, best=best, winner=winner)


def _gains(variant: str, quantities: Mapping[str, Quantities]) -> list[Phrase]:
    """Return memory and, where it was measured, speed as parts of the baseline's."""
    own, baseline = quantities[variant], quantities[BASELINE]
    values = {"baseline": BASELINE}
    gains = [phrase("gain.memory", share=own.memory_bytes / baseline.memory_bytes, **values)]
    if own.decode_tokens_per_s and baseline.decode_tokens_per_s:
        times = own.decode_tokens_per_s.over(baseline.decode_tokens_per_s)
        ends = {"low": times.low, "high": times.high}
        gains.append(phrase("gain.speed", speed=times.median, **ends, **values))
    return gains


def _to_settle(unsettled: Verdicts) -> tuple[str, VariantVerdict]:
    """Return the first variant that a benchmark could settle, else the first."""
    for name, verdict in unsettled.items():
        if all((one.needed or 0) <= MOST_NEEDED for one in verdict.benchmarks.values()):
            return name, verdict
    return next(iter(unsettled.items()))


def _needs(verdict: VariantVerdict, labels: Labels, zero: Collection[str]) -> list[Phrase]:
    """Return what would settle each benchmark that is not: more questions, or another benchmark."""
    return [
        phrase("need.other", benchmark=labels[name], baseline=BASELINE)
        if name in zero
        else phrase("need.of", need=needed_text(one), benchmark=labels[name])
        for name, one in verdict.benchmarks.items()
        if one.outcome is Outcome.UNDECIDED
    ]


def needed_text(verdict: BenchmarkVerdict) -> Phrase:
    """Return a number of questions with the two digits that an estimate has."""
    needed = verdict.needed or 0
    if needed > MOST_NEEDED:
        return phrase("need.more", count=MOST_NEEDED)
    unit = 10 ** max(0, len(str(needed)) - 2)
    return phrase("need.about", count=math.ceil(needed / unit) * unit)


def _quantity(rule: DecisionSettings, quantities: Quantities) -> Phrase:
    return quantity_text(rule, quantities.memory_bytes, quantities.decode_tokens_per_s)


def quantity_text(rule: DecisionSettings, memory_bytes: float, speed: Spread | None) -> Phrase:
    """Return what the rule prefers a variant for."""
    if rule.prefer == "memory":
        return phrase("quantity.memory", mib=memory_bytes / MIB)
    return phrase("quantity.speed", speed=speed.median if speed else None)
