"""Which variant to ship: a stated rule, and the reasons in numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from butler.errors import ButlerError

BASELINE = "fp16"
PREFERENCES = ("memory", "speed")
MIB = 2**20


@dataclass(frozen=True)
class Change:
    """Score of a variant minus that of the baseline on one benchmark, in points of 0 to 100.

    `low` and `high` bound the 95 % interval of the paired difference; None where it cannot be
    given (a subject with fewer than two questions).
    """

    points: float
    low: float | None = None
    high: float | None = None

    @property
    def within_noise(self) -> bool:
        """Whether no difference at all would be unsurprising."""
        return self.low is None or self.high is None or self.low <= 0.0 <= self.high


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
class Rule:
    """The rule: of the variants that lose at most `max_loss` points against the baseline on every
    benchmark, the one with the least memory, or the fastest decoding (`prefer`).

    Ties go to the other quantity, then to the smaller loss, then to the order given.
    """

    max_loss: float
    prefer: str
    tokens: int

    def __post_init__(self) -> None:
        if self.prefer not in PREFERENCES:
            raise ButlerError(f"decision.prefer takes memory or speed, found {self.prefer!r}")
        if self.max_loss < 0 or self.tokens < 1:
            raise ButlerError("decision.max_loss must be at least 0, decision.tokens at least 1")

    @property
    def text(self) -> str:
        """The rule as one sentence."""
        aim = {
            "memory": f"the least memory (weights and KV cache for {self.tokens:,} tokens)",
            "speed": "the fastest decoding",
        }[self.prefer]
        return (
            f"Among the variants that lose at most {self.max_loss:g} points against {BASELINE} "
            f"on every benchmark, take the one with {aim}."
        )


@dataclass(frozen=True)
class Verdict:
    """What the rule says of one variant, and why."""

    variant: str
    eligible: bool
    reason: str
    memory_bytes: float
    decode_tokens_per_s: float
    changes: Mapping[str, Change] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """The variant to ship, in a sentence, with a verdict on each variant and remarks."""

    variant: str
    sentence: str
    remarks: Sequence[str]
    rule: Rule
    verdicts: Sequence[Verdict]

    def to_json(self) -> dict[str, Any]:
        """Return the decision as plain values."""
        record = asdict(self)
        record["rule"]["text"] = self.rule.text
        for verdict, plain in zip(self.verdicts, record["verdicts"], strict=True):
            for benchmark, change in verdict.changes.items():
                plain["changes"][benchmark]["within_noise"] = change.within_noise
        return record


def caveats(baseline_scores: Mapping[str, float], since_base: Mapping[str, Change]) -> list[str]:
    """Return what a reader must know of the fine-tuned model before trusting a comparison.

    Args:
        baseline_scores: score of the baseline by benchmark, 0 to 100.
        since_base: change of the baseline against the model before fine-tuning, by benchmark.
    """
    found = [
        f"{BASELINE} itself scores 0 on {name}, so {name} cannot tell the variants apart."
        for name, score in baseline_scores.items()
        if score == 0
    ]
    for name, change in since_base.items():
        if change.points < 0 and not change.within_noise:
            found.append(
                f"Fine-tuning cost {-change.points:.2f} points on {name} against the base model: "
                "it forgot; mix in other data, train less, or lower the learning rate."
            )
    return found


def decide(rule: Rule, candidates: Sequence[Candidate], known: Sequence[str] = ()) -> Decision:
    """Apply the rule; the baseline itself always qualifies. `known` are remarks to put first.

    Raises:
        ButlerError: if the baseline is missing, a name comes twice, or a candidate lacks a
            benchmark that another has.
    """
    _check(candidates)
    eligible = [one for one in candidates if _worst(one) >= -rule.max_loss]
    winner = min(eligible, key=lambda one: _order(rule, one))
    baseline = next(one for one in candidates if one.name == BASELINE)
    return Decision(
        variant=winner.name,
        sentence=_sentence(rule, winner, baseline, len(eligible)),
        remarks=[*known, *_remarks(rule, winner, candidates)],
        rule=rule,
        verdicts=[_verdict(rule, one, winner) for one in candidates],
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
    """Largest loss as a negative number; rounded, so that 2.00 points are not more than 2."""
    return min(round(change.points, 6) for change in candidate.changes.values())


def _order(rule: Rule, candidate: Candidate) -> tuple[float, float, float]:
    memory, speed = candidate.memory_bytes, -candidate.decode_tokens_per_s
    first, second = (memory, speed) if rule.prefer == "memory" else (speed, memory)
    return first, second, -_worst(candidate)


def _sentence(rule: Rule, winner: Candidate, baseline: Candidate, eligible: int) -> str:
    if winner.name == BASELINE:
        why = (
            f"every other variant loses more than {rule.max_loss:g} points on some benchmark"
            if eligible == 1
            else "no other variant within the limit is better"
        )
        return f"Ship {BASELINE}: {why}."
    share = winner.memory_bytes / baseline.memory_bytes
    speed = winner.decode_tokens_per_s / baseline.decode_tokens_per_s
    return (
        f"Ship {winner.name}: {share:.0%} of {BASELINE}'s memory, {speed:.2f} times its decoding "
        f"speed, {_changes(winner)}."
    )


def _remarks(rule: Rule, winner: Candidate, candidates: Sequence[Candidate]) -> list[str]:
    remarks = []
    if winner.name != BASELINE:
        noisy = [name for name, change in winner.changes.items() if change.within_noise]
        if noisy:
            remarks.append(
                f"The change of {winner.name} against {BASELINE} on {' and '.join(noisy)} is "
                "within noise: its 95 % interval contains 0."
            )
    open_ends = [
        f"{one.name} on {benchmark} ({change.low:+.1f} to {change.high:+.1f})"
        for one in candidates
        for benchmark, change in one.changes.items()
        if one.name != BASELINE and _straddles(change, rule)
    ]
    if open_ends:
        remarks.append(
            f"More questions would settle on which side of the limit lies {', '.join(open_ends)}: "
            f"the 95 % interval reaches across {-rule.max_loss:g}."
        )
    return remarks


def _straddles(change: Change, rule: Rule) -> bool:
    if change.low is None or change.high is None:
        return False
    return change.low < -rule.max_loss <= change.high


def _verdict(rule: Rule, one: Candidate, winner: Candidate) -> Verdict:
    over = {k: c for k, c in one.changes.items() if round(c.points, 6) < -rule.max_loss}
    if over:
        lost = ", ".join(f"{-change.points:.2f} on {name}" for name, change in over.items())
        reason = f"loses {lost}; the limit is {rule.max_loss:g}"
    elif one.name == winner.name:
        changes = "" if one.name == BASELINE else f", {_changes(one)}"
        reason = f"chosen: {_quantity(rule, one)}{changes}"
    else:
        reason = f"within the limit, but {_quantity(rule, one)} against {_quantity(rule, winner)}"
    return Verdict(
        one.name, not over, reason, one.memory_bytes, one.decode_tokens_per_s, one.changes
    )


def _quantity(rule: Rule, candidate: Candidate) -> str:
    if rule.prefer == "memory":
        return f"{candidate.memory_bytes / MIB:,.1f} MiB"
    return f"{candidate.decode_tokens_per_s:,.1f} tokens/s"


def _changes(candidate: Candidate) -> str:
    return ", ".join(
        f"{change.points:+.2f} points on {name}" for name, change in candidate.changes.items()
    )
