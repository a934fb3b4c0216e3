"""Which run and which form of it to ship, of several runs: one rule and one error over all of them.

Two things are compared. Each variant with its own run's fp16, as within a run; and each run's fp16
with every other run's, on the benchmarks of which all runs were asked the same questions. All of
these claims share the error by Holm's correction (verdicts.py): the chance that any form is taken
to lose at most `max_loss` which loses more is at most `error`, over all runs, forms and benchmarks.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from butler.comparisons import Change, change_of, common, key_of, sample_of
from butler.decision import Candidate
from butler.errors import ButlerError
from butler.evaluations import Evaluation
from butler.report_sections.findings import Findings
from butler.rounds import Looks, Rounds
from butler.schemes import BASELINE
from butler.settings.judging_stage import DecisionSettings
from butler.settings.run import Settings
from butler.verdicts import Outcome, VariantVerdict, judge


@dataclass(frozen=True)
class Run:
    """What is known of a run: its settings, what was measured, and what its training came to.

    `loss` is the last logged one, `held_out` the mean NLL of the held-out answers through the
    merged model, in nats a token; None where it was not told. `answers` are the files of its fp16's
    answers: of scenarios that share their training they are the same.
    """

    name: str
    settings: Settings
    findings: Findings
    loss: float
    held_out: float | None = None
    answers: frozenset[Path] = frozenset()

    def same_model(self, other: "Run") -> bool:
        """Whether its fp16 is the other run's too, so that there is nothing to compare."""
        return bool(self.answers & other.answers)

    def baseline(self, benchmark: str) -> Evaluation:
        """Return the evaluation of its fp16."""
        return self.findings.evaluations[benchmark, BASELINE]


@dataclass(frozen=True)
class Form:
    """A variant of a run: what was measured, and what is shown of its loss against the run's fp16.

    `verdict` is None for fp16 itself. `may_ship` says that it and its run may.
    """

    run: str
    candidate: Candidate
    verdict: VariantVerdict | None
    score: float
    may_ship: bool

    @property
    def variant(self) -> str:
        """Its variant."""
        return self.candidate.name

    @property
    def serves(self) -> bool:
        """Whether it keeps the service target, if there is one."""
        return self.candidate.serves


@dataclass(frozen=True)
class RunVerdict:
    """A run's fp16 beside the other runs': its mean score, and what is shown of its loss.

    It has no score where nothing was asked of all; it leads with its model, which runs may share.

    `changes` and the verdict's benchmarks have (other run, benchmark) as keys. `verdict` is None
    where there is nothing to compare with.
    """

    run: str
    score: float | None
    leads: bool
    verdict: VariantVerdict | None
    changes: Mapping[tuple[str, str], Change]

    @property
    def may_ship(self) -> bool:
        """Whether its forms may ship: it leads, or is shown to lose no more than it may."""
        return self.leads or (self.verdict is not None and self.verdict.outcome is Outcome.WITHIN)


@dataclass(frozen=True)
class Across:
    """The decision over all runs.

    `asked_alike` are the benchmarks of which all runs were asked the same questions, `apart` the
    others; without any of the first there is no `chosen` form.
    """

    rule: DecisionSettings
    runs: Sequence[RunVerdict]
    forms: Sequence[Form]
    chosen: Form | None
    asked_alike: Sequence[str]
    apart: Sequence[str]

    @property
    def claims(self) -> int:
        """How many claims share the error."""
        verdicts = [one.verdict for one in (*self.runs, *self.forms)]
        return sum(one is not None for one in verdicts)

    @property
    def to_settle(self) -> Form | None:
        """The form that is preferred most of those that only more questions keep from shipping."""
        chosen = self.chosen
        waiting = [
            form
            for form in self.forms
            if chosen is not None
            and form.verdict is not None
            and form.verdict.outcome is Outcome.UNDECIDED
            and form.serves
            and self.run(form.run).may_ship
            and _order(self.rule, form) < _order(self.rule, chosen)
        ]
        return min(waiting, key=lambda form: _order(self.rule, form), default=None)

    @property
    def leader(self) -> RunVerdict | None:
        """The run that leads, if the runs could be compared."""
        return next((one for one in self.runs if one.leads), None)

    def run(self, name: str) -> RunVerdict:
        """Return what is shown of a run."""
        return next(one for one in self.runs if one.run == name)


def decide_across(rule: DecisionSettings, runs: Sequence[Run]) -> Across:
    """Apply the rule over all runs.

    The run whose fp16 has the best mean score leads, of those that are not shown to lose more than
    `max_loss` points to another on some benchmark. What may ship is the leader's fp16, the fp16
    of runs that are shown to lose at most `max_loss` points against every other run's, and the
    variants of all these that are shown to lose no more than that against their own fp16 and keep
    the service target. Of these the one with the least memory, or the fastest (`prefer`), is
    chosen; ties go to the better score, then to the other quantity, then to the order given.

    Raises:
        ButlerError: if there is no run, or speed is preferred and was not measured of each.
    """
    if not runs:
        raise ButlerError("no run was given; a report across runs needs one")
    candidates = {run.name: run.findings.candidates(rule) for run in runs}
    for name, found in candidates.items():
        if rule.prefer == "speed" and any(one.decode_tokens_per_s is None for one in found):
            raise ButlerError(
                f"decision.prefer is speed, and that of scenario {name} was not measured; set "
                "decision.prefer: memory"
            )
    alike = asked_alike(runs)
    compared = {run.name: dict(_against(run, runs, alike)) for run in runs}
    verdicts = judge(_claims(candidates, compared), rule.max_loss, rule.error)
    scores = {run.name: mean(run.baseline(name).average for name in alike) for run in runs if alike}
    # A run that is shown to lose too much somewhere leads only where each is.
    over = {name for name, one in verdicts.items() if one.outcome is Outcome.OVER}
    ahead = [name for name in scores if name not in over] or list(scores)
    leader = max(ahead, key=lambda name: scores[name], default=None)
    leads = [run for run in runs if run.name == leader]
    judged = [
        RunVerdict(
            run.name,
            scores.get(run.name),
            run in leads or any(map(run.same_model, leads)),
            verdicts.get(run.name),
            {place: change for place, (change, _) in compared[run.name].items()},
        )
        for run in runs
    ]
    forms = [
        _form(run, one, verdicts.get(f"{run.name}/{one.name}"), own.may_ship, alike)
        for run, own in zip(runs, judged, strict=True)
        for one in candidates[run.name]
    ]
    may_ship = [form for form in forms if form.may_ship]
    chosen = min(may_ship, key=lambda form: _order(rule, form), default=None)
    names = list(dict.fromkeys(name for run in runs for name in run.findings.labels))
    apart = [name for name in names if name not in alike]
    return Across(rule, judged, forms, chosen, alike, apart)


def asked_alike(runs: Sequence[Run]) -> list[str]:
    """Return the benchmarks of which the fp16 of all runs was asked the same questions."""
    first, *others = runs
    return [
        name
        for name in first.findings.labels
        if all(
            name in run.findings.labels
            and _questions(run.baseline(name)) == _questions(first.baseline(name))
            for run in others
        )
    ]


def _questions(evaluation: Evaluation) -> tuple[str, dict[Any, Any]]:
    """Return what was asked, what was the right answer, and by what an answer was scored."""
    asked = {key_of(one): (one["question"], one["reference"]) for one in evaluation.details}
    return evaluation.metric, asked


def _against(
    run: Run, runs: Sequence[Run], benchmarks: Sequence[str]
) -> Iterator[tuple[tuple[str, str], tuple[Change, Looks]]]:
    """Yield a run's fp16 against each other run's on each benchmark, by both.

    Both were asked all questions, whatever the rounds, so it is one look.
    """
    for other in runs:
        for name in benchmarks if other is not run and not run.same_model(other) else ():
            pairs = common(run.baseline(name).details, other.baseline(name).details)
            yield (
                (other.name, name),
                (change_of(pairs), Looks([sample_of(pairs)], Rounds([len(pairs)]))),
            )


def _claims(
    candidates: Mapping[str, Sequence[Candidate]],
    compared: Mapping[str, Mapping[tuple[str, str], tuple[Change, Looks]]],
) -> dict[str, Mapping[Any, Looks]]:
    """Return the looks behind every claim: of runs by their names, of variants by RUN/VARIANT."""
    runs = {
        name: {place: looks for place, (_, looks) in found.items()}
        for name, found in compared.items()
        if found
    }
    variants = {
        f"{name}/{one.name}": one.looks
        for name, found in candidates.items()
        for one in found
        if one.looks
    }
    return runs | variants


def _form(
    run: Run,
    candidate: Candidate,
    verdict: VariantVerdict | None,
    run_may_ship: bool,
    alike: Sequence[str],
) -> Form:
    shown = verdict is None or (verdict.outcome is Outcome.WITHIN and candidate.serves)
    benchmarks = alike or list(run.findings.labels)
    score = mean(run.findings.evaluations[name, candidate.name].average for name in benchmarks)
    return Form(run.name, candidate, verdict, score, run_may_ship and shown)


def _order(rule: DecisionSettings, form: Form) -> tuple[float, ...]:
    first, second = form.candidate.preferred(rule.prefer)
    return not form.serves, first, -form.score, second
