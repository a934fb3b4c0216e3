"""Which variant to ship: a stated rule, a stated error, and the reasons in numbers."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from butler.comparisons import Change
from butler.decision_texts import (
    Labels,
    Quantities,
    reason,
    rule_text,
    sentence,
    settling_remark,
    sure_text,
    target_remark,
    verdict_text,
    with_target,
)
from butler.efficiency.speed import Spread
from butler.efficiency.target import TargetOutcome
from butler.errors import ButlerError
from butler.rounds import Looks
from butler.schemes import BASELINE
from butler.settings.judging_stage import DecisionSettings
from butler.texts import Phrase, in_both, say
from butler.verdicts import Outcome, VariantVerdict, judge


@dataclass(frozen=True)
class Candidate:
    """What is known of a variant: changes and looks by benchmark, bytes and tokens per second.

    The baseline has neither changes nor looks: it is what the others are compared with.
    `memory_bytes` is weights plus KV cache for the rule's number of tokens; the speed is None
    where nothing that serves on a GPU was measured. `target` is what became of the rule's service
    target, None where it has none.
    """

    name: str
    changes: Mapping[str, Change]
    looks: Mapping[str, Looks]
    memory_bytes: float
    decode_tokens_per_s: Spread | None = None
    target: TargetOutcome | None = None

    def preferred(self, prefer: str) -> tuple[float, float]:
        """What `prefer` goes by and then the other, memory or speed: the least is the best."""
        measured = self.decode_tokens_per_s
        memory, speed = self.memory_bytes, -measured.median if measured else 0.0
        return (memory, speed) if prefer == "memory" else (speed, memory)

    @property
    def serves(self) -> bool:
        """Whether it keeps the service target, if there is one."""
        return self.target is None or self.target.kept


@dataclass(frozen=True)
class JudgedVariant:
    """What the rule says of one variant, and why; `eligible` says that it may ship.

    The baseline has no verdict; it may ship if it keeps the target, or where nothing does.
    """

    variant: str
    eligible: bool
    verdict: VariantVerdict | None
    reason: Phrase
    memory_bytes: float
    decode_tokens_per_s: Spread | None
    changes: Mapping[str, Change]
    target: TargetOutcome | None = None


@dataclass(frozen=True)
class Decision:
    """The variant to ship, in a sentence, with a verdict on each variant and remarks."""

    variant: str
    sentence: Phrase
    remarks: Sequence[Phrase]
    rule: DecisionSettings
    judged: Sequence[JudgedVariant]

    def to_json(self) -> dict[str, Any]:
        """Return the decision as plain values; what is said, in English and as `…_zh`."""
        record: dict[str, Any] = {"variant": self.variant}
        record |= in_both("sentence", self.sentence)
        record["remarks"] = [say(remark, "en") for remark in self.remarks]
        record["remarks_zh"] = [say(remark, "zh") for remark in self.remarks]
        told = in_both("text", rule_text(self.rule)) | in_both("sure", sure_text(self.rule))
        record["rule"] = self.rule.model_dump() | told
        record["verdicts"] = [self._plain(one) for one in self.judged]
        return record

    def _plain(self, one: JudgedVariant) -> dict[str, Any]:
        found = {} if one.verdict is None else one.verdict.benchmarks
        return {
            "variant": one.variant,
            "eligible": one.eligible,
            "outcome": None if one.verdict is None else one.verdict.outcome.value,
            **in_both("reason", one.reason),
            "memory_bytes": one.memory_bytes,
            "decode_tokens_per_s": one.decode_tokens_per_s and asdict(one.decode_tokens_per_s),
            "target": None if one.target is None else one.target.to_json(),
            "benchmarks": {
                name: asdict(verdict)
                | in_both("text", verdict_text(verdict, self.rule.max_loss))
                | {"change": asdict(one.changes[name])}
                for name, verdict in found.items()
            },
        }


def decide(
    rule: DecisionSettings,
    candidates: Sequence[Candidate],
    labels: Labels,
    known: Sequence[Phrase] = (),
    zero: Collection[str] = (),
) -> Decision:
    """Apply the rule: of the variants that are shown to lose at most `max_loss` points against the
    baseline on every benchmark, and the baseline, the one with the least memory, or the fastest
    decoding (`prefer`). If there is a service target (`target`), of those that keep it, and where
    none does the baseline.

    The chance that one ships which loses more is at most `error` (verdicts.py). Ties go to the
    other quantity, then to the smaller loss, then to the order given. `known` are remarks to put
    first, `labels` the benchmarks' display names, `zero` those where the baseline scores nothing.

    Raises:
        ButlerError: if the baseline is missing, a name comes twice, a candidate lacks a benchmark
            that another has, or speed is preferred and was not measured of each.
    """
    baseline = _check(rule, candidates)
    looks = {one.name: one.looks for one in candidates if one is not baseline}
    verdicts = judge(looks, rule.max_loss, rule.error)
    ranked = sorted(candidates, key=lambda one: _order(rule, one))
    may_ship = [
        one
        for one in ranked
        if one.serves and (one is baseline or verdicts[one.name].outcome is Outcome.WITHIN)
    ]
    winner = may_ship[0] if may_ship else baseline
    # A variant that keeps the target would be preferred to a baseline that does not.
    ahead = ranked[: ranked.index(winner)] if winner.serves else ranked
    quantities = {one.name: _quantities(one) for one in candidates}
    # What would be preferred if it were settled, the most preferred first.
    unsettled = {
        one.name: verdicts[one.name]
        for one in ahead
        if one is not baseline and one.serves and verdicts[one.name].outcome is Outcome.UNDECIDED
    }
    remarks = list(known)
    if not baseline.serves:
        remarks.append(target_remark(baseline.target, other=winner is not baseline))
    if unsettled and (winner is not baseline or not baseline.serves):
        remarks.append(settling_remark(rule, unsettled, quantities, labels, zero))
    return Decision(
        variant=winner.name,
        sentence=sentence(
            rule, winner.name, winner.serves, verdicts, unsettled, quantities, labels, zero
        ),
        remarks=remarks,
        rule=rule,
        judged=[
            JudgedVariant(
                variant=one.name,
                eligible=one is winner or one in may_ship,
                verdict=verdicts.get(one.name),
                reason=with_target(
                    reason(rule, one.name, winner.name, verdicts, quantities, one.changes, labels),
                    one.target,
                ),
                memory_bytes=one.memory_bytes,
                decode_tokens_per_s=one.decode_tokens_per_s,
                changes=one.changes,
                target=one.target,
            )
            for one in candidates
        ],
    )


def _check(rule: DecisionSettings, candidates: Sequence[Candidate]) -> Candidate:
    """Return the baseline of a list of candidates that can be decided on."""
    names = [one.name for one in candidates]
    if BASELINE not in names:
        raise ButlerError(f"no results of {BASELINE}: there is nothing to compare with")
    if len(set(names)) < len(names):
        raise ButlerError(f"a variant comes twice: {', '.join(names)}")
    others = [one for one in candidates if one.name != BASELINE]
    benchmarks = {name for one in others for name in one.looks}
    for one in others:
        if missing := sorted(benchmarks - set(one.looks)):
            raise ButlerError(f"variant {one.name} has no result of {', '.join(missing)}")
    if others and not benchmarks:
        raise ButlerError("no benchmark was run: a decision needs one")
    unknown = [one.name for one in candidates if one.decode_tokens_per_s is None]
    if rule.prefer == "speed" and unknown:
        raise ButlerError(
            f"decision.prefer is speed, but no GPU measured that of {', '.join(unknown)}: run "
            "efficiency with engine: lmdeploy, or set decision.prefer: memory"
        )
    return candidates[names.index(BASELINE)]


def _order(rule: DecisionSettings, candidate: Candidate) -> tuple[float, float, float]:
    first, second = candidate.preferred(rule.prefer)
    worst = min((change.points for change in candidate.changes.values()), default=0.0)
    return first, second, -worst


def _quantities(one: Candidate) -> Quantities:
    return Quantities(one.memory_bytes, one.decode_tokens_per_s)
