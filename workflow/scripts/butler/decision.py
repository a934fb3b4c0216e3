"""Which variant to ship: a stated rule, and the reasons in numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from butler.errors import ButlerError
from butler.schemes import BASELINE
from butler.settings.judging_stage import DecisionSettings
from butler.texts import Phrase, phrase, say

MIB = 2**20
Labels = Mapping[str, str]  # how a benchmark is called in a sentence, by its name


@dataclass(frozen=True)
class Change:
    """Score of a variant minus that of the baseline on one benchmark, in points of 0 to 100.

    `low` and `high` bound the 95 % interval of the paired difference; None where it cannot be
    given (a data set with fewer than two questions). Where each question is right or wrong,
    `lost` counts those that the baseline alone had right, `gained` those that the variant alone
    has, and `p` is McNemar's for the two; elsewhere all three are None.
    """

    points: float
    low: float | None = None
    high: float | None = None
    lost: int | None = None
    gained: int | None = None
    p: float | None = None

    @property
    def within_noise(self) -> bool | None:
        """Whether no difference at all would be unsurprising; None without an interval."""
        if self.low is None or self.high is None:
            return None
        return self.low <= 0.0 <= self.high


@dataclass(frozen=True)
class Candidate:
    """What is known of a variant: changes by benchmark, bytes and tokens per second.

    `memory_bytes` is weights plus KV cache for the rule's number of tokens.
    """

    name: str
    changes: Mapping[str, Change]
    memory_bytes: float
    decode_tokens_per_s: float


@dataclass(frozen=True)
class Verdict:
    """What the rule says of one variant, and why."""

    variant: str
    eligible: bool
    reason: Phrase
    memory_bytes: float
    decode_tokens_per_s: float
    changes: Mapping[str, Change] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """The variant to ship, in a sentence, with a verdict on each variant and remarks."""

    variant: str
    sentence: Phrase
    remarks: Sequence[Phrase]
    rule: DecisionSettings
    verdicts: Sequence[Verdict]

    def to_json(self) -> dict[str, Any]:
        """Return the decision as plain values; what is said, in English and as `…_zh`."""
        record: dict[str, Any] = {"variant": self.variant}
        record |= _said("sentence", self.sentence)
        record["remarks"] = [say(remark, "en") for remark in self.remarks]
        record["remarks_zh"] = [say(remark, "zh") for remark in self.remarks]
        record["rule"] = self.rule.model_dump() | _said("text", rule_text(self.rule))
        record["verdicts"] = [_plain(verdict) for verdict in self.verdicts]
        return record


def rule_text(rule: DecisionSettings) -> Phrase:
    """Return the rule as one sentence."""
    aim = phrase(f"rule.{rule.prefer}", tokens=rule.tokens)
    return phrase("rule.text", max_loss=rule.max_loss, baseline=BASELINE, aim=aim)


def _said(name: str, text: Phrase) -> dict[str, str]:
    return {name: say(text, "en"), f"{name}_zh": say(text, "zh")}


def _plain(verdict: Verdict) -> dict[str, Any]:
    changes = {
        benchmark: asdict(change) | {"within_noise": change.within_noise}
        for benchmark, change in verdict.changes.items()
    }
    return {
        "variant": verdict.variant,
        "eligible": verdict.eligible,
        **_said("reason", verdict.reason),
        "memory_bytes": verdict.memory_bytes,
        "decode_tokens_per_s": verdict.decode_tokens_per_s,
        "changes": changes,
    }


def caveats(
    baseline_scores: Mapping[str, float], since_base: Mapping[str, Change], labels: Labels
) -> list[Phrase]:
    """Return what a reader must know of the fine-tuned model before trusting a comparison.

    Args:
        baseline_scores: score of the baseline by benchmark, 0 to 100.
        since_base: change of the baseline against the model before fine-tuning, by benchmark.
        labels: display name of each benchmark.
    """
    found = [
        phrase("remark.baseline_zero", baseline=BASELINE, benchmark=labels[name])
        for name, score in baseline_scores.items()
        if score == 0
    ]
    for name, change in since_base.items():
        if change.points < 0 and change.within_noise is False:
            found.append(phrase("remark.forgot", lost=-change.points, benchmark=labels[name]))
    return found


def decide(
    rule: DecisionSettings,
    candidates: Sequence[Candidate],
    labels: Labels,
    known: Sequence[Phrase] = (),
) -> Decision:
    """Apply the rule: of the candidates that lose at most `max_loss` points against the baseline on
    every benchmark, the one with the least memory, or the fastest decoding (`prefer`).

    Ties go to the other quantity, then to the smaller loss, then to the order given. The baseline
    itself always qualifies. `known` are remarks to put first, `labels` the benchmarks' display
    names.

    Raises:
        ButlerError: if the baseline is missing, a name comes twice, or a candidate lacks a
            benchmark that another has.
    """
    _check(candidates)
    eligible = [one for one in candidates if not too_much(_worst(one), rule.max_loss)]
    winner = min(eligible, key=lambda one: _order(rule, one))
    baseline = next(one for one in candidates if one.name == BASELINE)
    return Decision(
        variant=winner.name,
        sentence=_sentence(rule, winner, baseline, len(candidates), len(eligible), labels),
        remarks=[*known, *_remarks(rule, winner, candidates, labels)],
        rule=rule,
        verdicts=[_verdict(rule, one, winner, labels) for one in candidates],
    )


def _check(candidates: Sequence[Candidate]) -> None:
    names = [one.name for one in candidates]
    if BASELINE not in names:
        raise ButlerError(f"no results of {BASELINE}: there is nothing to compare with")
    if len(set(names)) < len(names):
        raise ButlerError(f"a variant comes twice: {', '.join(names)}")
    benchmarks = {name for one in candidates for name in one.changes}
    if not benchmarks:
        raise ButlerError("no benchmark was run: a decision needs one")
    for one in candidates:
        missing = sorted(benchmarks - set(one.changes))
        if missing:
            raise ButlerError(f"variant {one.name} has no result of {', '.join(missing)}")


def _worst(candidate: Candidate) -> float:
    """Largest loss as a negative number."""
    return min(change.points for change in candidate.changes.values())


def too_much(points: float, max_loss: float) -> bool:
    """Say whether a change loses more than the rule allows; 2.00 points are not more than 2."""
    return round(points, 6) < -max_loss


def _order(rule: DecisionSettings, candidate: Candidate) -> tuple[float, float, float]:
    memory, speed = candidate.memory_bytes, -candidate.decode_tokens_per_s
    first, second = (memory, speed) if rule.prefer == "memory" else (speed, memory)
    return first, second, -_worst(candidate)


def _sentence(
    rule: DecisionSettings,
    winner: Candidate,
    baseline: Candidate,
    candidates: int,
    eligible: int,
    labels: Labels,
) -> Phrase:
    if candidates == 1:
        return phrase("sentence.alone", variant=BASELINE)
    if winner.name == BASELINE:
        why = "sentence.all_lossy" if eligible == 1 else "sentence.none_better"
        return phrase(why, variant=BASELINE, max_loss=rule.max_loss)
    return phrase(
        "sentence.ship",
        variant=winner.name,
        share=winner.memory_bytes / baseline.memory_bytes,
        baseline=BASELINE,
        speed=winner.decode_tokens_per_s / baseline.decode_tokens_per_s,
        changes=_changes(winner, labels),
    )


def _remarks(
    rule: DecisionSettings, winner: Candidate, candidates: Sequence[Candidate], labels: Labels
) -> list[Phrase]:
    remarks = []
    others = [one for one in candidates if one.name != BASELINE]
    if others and all(change.within_noise for one in others for change in one.changes.values()):
        remarks.append(phrase("remark.all_noise", baseline=BASELINE))
    elif winner.name != BASELINE:
        noisy = [labels[name] for name, change in winner.changes.items() if change.within_noise]
        if noisy:
            values = {"variant": winner.name, "baseline": BASELINE, "benchmarks": noisy}
            remarks.append(phrase("remark.noise", **values))
    unsure = {name for one in others for name, it in one.changes.items() if it.low is None}
    if unsure:
        names = [labels[name] for name in sorted(unsure)]
        remarks.append(phrase("remark.no_interval", benchmarks=names))
    open_ends = [
        phrase(
            "remark.open_end",
            variant=one.name,
            benchmark=labels[benchmark],
            low=change.low,
            high=change.high,
        )
        for one in others
        for benchmark, change in one.changes.items()
        if _straddles(change, rule)
    ]
    if open_ends:
        remarks.append(phrase("remark.open", ends=open_ends, limit=-rule.max_loss))
    return remarks


def _straddles(change: Change, rule: DecisionSettings) -> bool:
    if change.low is None or change.high is None:
        return False
    return change.low < -rule.max_loss <= change.high


def _verdict(rule: DecisionSettings, one: Candidate, winner: Candidate, labels: Labels) -> Verdict:
    over = {k: c for k, c in one.changes.items() if too_much(c.points, rule.max_loss)}
    if over:
        lost = [
            phrase("reason.lost", lost=-change.points, benchmark=labels[name])
            for name, change in over.items()
        ]
        reason = phrase("reason.over", lost=lost, max_loss=rule.max_loss)
    elif one.name == winner.name == BASELINE:
        reason = phrase("reason.chosen_baseline", own=_quantity(rule, one))
    elif one.name == winner.name:
        reason = phrase("reason.chosen", own=_quantity(rule, one), changes=_changes(one, labels))
    else:
        own, best = _quantity(rule, one), _quantity(rule, winner)
        reason = phrase("reason.within", own=own, best=best)
    return Verdict(
        one.name, not over, reason, one.memory_bytes, one.decode_tokens_per_s, one.changes
    )


def _quantity(rule: DecisionSettings, candidate: Candidate) -> Phrase:
    if rule.prefer == "memory":
        return phrase("quantity.memory", mib=candidate.memory_bytes / MIB)
    return phrase("quantity.speed", speed=candidate.decode_tokens_per_s)


def _changes(candidate: Candidate, labels: Labels) -> list[Phrase]:
    return [
        phrase("change.points", points=change.points, benchmark=labels[name])
        for name, change in candidate.changes.items()
    ]
