"""What a reader must know of questions, models and answers before trusting the verdicts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from butler.benchmarks.opencompass.proof import CUT
from butler.comparisons import (
    Change,
    Record,
    change_of,
    looks_of,
    repeats,
    round_of,
    without,
)
from butler.guessing import better_than, chance, options, unread
from butler.report_sections.findings import Findings
from butler.rounds import Looks
from butler.schemes import BASELINE
from butler.settings.judging_stage import DecisionSettings
from butler.texts import Phrase, phrase
from butler.verdicts import Outcome, holm_levels, outcome_at, p_within

MANY = 0.5  # from this share of answers on, a score judges something else
MUCH_MORE = 0.1  # of all answers, more than the baseline's
FEW = 0.95  # where fewer than this share of the questions are different, they repeat


@dataclass(frozen=True)
class Flaw:
    """A reason why a score may not tell what a model knows: `has` says it of an answer."""

    name: str
    has: Callable[[Record], bool]


def remarks(findings: Findings, rule: DecisionSettings) -> list[Phrase]:
    """Return the remarks, what makes a benchmark useless first."""
    changes = findings.since_base.items()
    found = [
        *(_of_baseline(findings, name) for name in findings.labels),
        *(_of_tuning(change, findings.labels[name]) for name, change in changes),
        *(_of_repeats(findings, name) for name in findings.labels),
    ]
    return [*filter(None, found), *_of_flaws(findings, rule)]


def _of_baseline(findings: Findings, benchmark: str) -> Phrase | None:
    own = findings.evaluations[benchmark, BASELINE]
    values = {"baseline": BASELINE, "benchmark": findings.labels[benchmark]}
    if benchmark in findings.zero:
        return phrase("remark.baseline_zero", **values)
    guessed = chance(own.details)
    if guessed is None or better_than(own.details, guessed):
        return None
    return phrase("remark.at_chance", score=own.average, chance=guessed, **values)


def _of_tuning(change: Change, label: str) -> Phrase | None:
    values = {"low": change.low, "high": change.high, "benchmark": label}
    if change.high < 0:
        return phrase("remark.cost", lost=-change.points, **values)
    return phrase("remark.gained", gained=change.points, **values) if change.low > 0 else None


def _of_repeats(findings: Findings, benchmark: str) -> Phrase | None:
    questions, different = repeats(findings.evaluations[benchmark, BASELINE].details)
    if different >= FEW * questions:
        return None
    label = findings.labels[benchmark]
    return phrase("remark.repeats", questions=questions, different=different, benchmark=label)


def flaws(records: Sequence[Record]) -> list[Flaw]:
    """Return what may be wrong with answers to these questions."""
    letters = options(records)
    found = [Flaw("cut", lambda record: record["finish"] == CUT)]
    if letters:
        found.append(Flaw("unread", lambda record: unread(record, letters)))
    return found


def _of_flaws(findings: Findings, rule: DecisionSettings) -> list[Phrase]:
    looks = {
        name: {benchmark: findings.looks(benchmark, name) for benchmark in findings.labels}
        for name in findings.compared
    }
    found = []
    for benchmark in findings.labels:
        for flaw in flaws(findings.evaluations[benchmark, BASELINE].details):
            found += [_many(findings, benchmark, flaw)]
            if _share(findings, benchmark, BASELINE, flaw) >= MANY:
                continue  # the few answers without it are no evidence of what the rest would say
            for name in findings.compared:
                found += [_decides(findings, benchmark, name, flaw, looks, rule)]
    return [one for one in found if one]


def _many(findings: Findings, benchmark: str, flaw: Flaw) -> Phrase | None:
    """Name the variants with many flawed answers or, of those unread, many more than others."""
    shares = {name: _share(findings, benchmark, name, flaw) for name in findings.variants}
    beyond = min(MANY, shares[BASELINE] + MUCH_MORE) if flaw.name == "unread" else MANY
    told = {name: share for name, share in shares.items() if share >= beyond}
    if not told:
        return None
    if flaw.name == "unread":
        told = {BASELINE: shares[BASELINE]} | told
    said = [phrase("remark.share", variant=name, share=share) for name, share in told.items()]
    return phrase(f"remark.many_{flaw.name}", benchmark=findings.labels[benchmark], shares=said)


def _share(findings: Findings, benchmark: str, variant: str, flaw: Flaw) -> float:
    return mean(map(flaw.has, findings.evaluations[benchmark, variant].details))


def _decides(
    findings: Findings,
    benchmark: str,
    variant: str,
    flaw: Flaw,
    looks: Mapping[str, Mapping[str, Looks]],
    rule: DecisionSettings,
) -> Phrase | None:
    """Say that flawed answers decide on a variant, if the verdict is another without them."""
    pairs = findings.pairs(benchmark, variant)
    rest = without(pairs, flaw.has)
    if len(rest) == len(pairs) or not any(round_of(one) == 1 for one, _ in rest):
        return None
    seen = looks_of(rest, findings.evaluations[benchmark, BASELINE].rounds)
    outcomes = [
        _outcome(one, variant, benchmark, rule)
        for one in (looks, {**looks, variant: {**looks[variant], benchmark: seen}})
    ]
    if outcomes[0] is outcomes[1]:
        return None
    said, other = (phrase(f"outcome.{one.value}") for one in outcomes)
    return phrase(
        f"remark.decides_{flaw.name}",
        variant=variant,
        baseline=BASELINE,
        benchmark=findings.labels[benchmark],
        points=change_of(pairs).points,
        rest=change_of(rest).points,
        every=len(pairs),
        count=len(rest),
        said=said,
        other=other,
    )


def _outcome(
    looks: Mapping[str, Mapping[str, Looks]], variant: str, benchmark: str, rule: DecisionSettings
) -> Outcome:
    """Return what `judge` says of one variant and benchmark."""
    values = {name: p_within(of, rule.max_loss) for name, of in looks.items()}
    level = holm_levels(values, rule.error)[variant]
    over = rule.error / len(looks[variant])
    return outcome_at(looks[variant][benchmark], rule.max_loss, level, over)
