"""The report across runs: what to ship, every form of every run, the runs beside each other."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from butler.across import Across, Form, Run, RunVerdict
from butler.comparisons import Change
from butler.decision_texts import Labels, needed_text, quantity_text, verdict_text
from butler.report_sections.charts import Charts
from butler.report_sections.decision_section import ScoreCell, score_cell
from butler.report_sections.forest import forest_of
from butler.schemes import BASELINE
from butler.settings.judging_stage import DecisionSettings
from butler.texts import Phrase, phrase
from butler.verdicts import Outcome

FORMS, RUNS = "forms", "runs"  # the charts


@dataclass(frozen=True)
class FormRow:
    """A form in the table; a benchmark that its run was not asked has no cell."""

    run: Run
    form: Form
    chosen: bool
    outcome: Phrase
    cells: Sequence[ScoreCell | None]


@dataclass(frozen=True)
class AcrossSection:
    """What to ship over all runs, and every form of every run."""

    across: Across
    sentence: Phrase
    rule: Phrase
    sure: Phrase
    remarks: Sequence[Phrase]
    labels: Labels
    rows: Sequence[FormRow]
    charts: Charts

    @property
    def forest(self) -> str | None:
        """Name of the chart of verdicts, None where there is none."""
        return FORMS if FORMS in self.charts else None

    @property
    def fewer(self) -> bool:
        """Whether a variant was asked fewer questions than its run's baseline."""
        return any(cell.fewer for row in self.rows for cell in row.cells if cell)

    @property
    def fast(self) -> bool:
        """Whether the speed of every form was measured."""
        return all(row.form.candidate.decode_tokens_per_s for row in self.rows)


@dataclass(frozen=True)
class BesideRow:
    """A run's fp16 against another's on one benchmark; `outcome` is of the run over all of them."""

    verdict: RunVerdict
    outcome: Phrase
    other: str
    label: str
    change: Change
    said: Phrase


@dataclass(frozen=True)
class BesideSection:
    """The runs' fp16 beside each other."""

    rows: Sequence[BesideRow]
    charts: Charts

    @property
    def forest(self) -> str | None:
        """Name of the chart, None where there is none."""
        return RUNS if RUNS in self.charts else None


@dataclass(frozen=True)
class DifferingRow:
    """A setting, as a path of keys, and its value in each run."""

    setting: str
    values: Sequence[str]


@dataclass(frozen=True)
class DifferingSection:
    """The settings that differ between runs."""

    runs: Sequence[str]
    rows: Sequence[DifferingRow]


@dataclass(frozen=True)
class AcrossPage:
    """The sections of the report across runs; `beside` is None of one run."""

    across: AcrossSection
    beside: BesideSection | None
    differing: DifferingSection | None

    @property
    def title(self) -> str:
        """What to ship."""
        chosen = self.across.across.chosen
        return f"{chosen.run} {chosen.variant}" if chosen else "–"

    @property
    def sections(self) -> dict[str, Any]:
        """The sections that there are, by name."""
        return {name: section for name, section in vars(self).items() if section is not None}

    @property
    def charts(self) -> Charts:
        """The charts of all sections."""
        return self.across.charts | (self.beside.charts if self.beside else {})


def across_page(across: Across, runs: Sequence[Run]) -> AcrossPage:
    """Return the page of a decision over runs."""
    labels = {name: label for run in runs for name, label in run.findings.labels.items()}
    return AcrossPage(
        _across(across, runs, labels), _beside(across, labels), differing_settings(runs)
    )


def across_sentence(across: Across) -> Phrase:
    """Return what to ship, and why."""
    form, leader = across.chosen, across.leader
    if form is None or leader is None:
        return phrase("across.none")
    run = across.run(form.run)
    values = {"run": form.run, "baseline": BASELINE, "max_loss": across.rule.max_loss}
    kind = "baseline" if form.verdict is None else "within"
    what = phrase(f"across.form.{kind}", **values)
    best = max(one.score or 0 for one in across.runs)
    leads = "leads" if run.score == best else "leads_of_rest"
    why = phrase(
        f"across.why.{leads if run.leads else 'within'}",
        score=run.score,
        leader=leader.run,
        best=leader.score,
        **values,
    )
    said = "across.ship" if len(across.runs) > 1 else "across.ship_alone"
    quantity = _quantity(across, form)
    return phrase(said, run=form.run, variant=form.variant, quantity=quantity, form=what, why=why)


def _quantity(across: Across, form: Form) -> Phrase:
    candidate = form.candidate
    return quantity_text(across.rule, candidate.memory_bytes, candidate.decode_tokens_per_s)


def across_rule(across: Across) -> Phrase:
    """Return the rule as a sentence or two."""
    aim = phrase(f"rule.{across.rule.prefer}", tokens=across.rule.tokens)
    return phrase("across.rule", baseline=BASELINE, max_loss=across.rule.max_loss, aim=aim)


def across_sure(across: Across) -> Phrase:
    """Return how often the rule errs, and over what."""
    rule: DecisionSettings = across.rule
    values = {"times": 100 * rule.error, "max_loss": rule.max_loss, "baseline": BASELINE}
    return phrase("across.sure", claims=across.claims, **values)


def across_remarks(across: Across, labels: Labels) -> list[Phrase]:
    """Return what else a reader must know before shipping."""
    found = []
    form, leader = across.chosen, across.leader
    values = {"baseline": BASELINE, "max_loss": across.rule.max_loss}
    if form and leader and form.verdict is not None and leader.run != form.run:
        found.append(
            phrase("across.add_up", variant=form.variant, run=form.run, leader=leader.run, **values)
        )
    if form := across.to_settle:
        needs = [
            phrase("need.of", need=needed_text(one), benchmark=labels[name])
            for name, one in (form.verdict.benchmarks if form.verdict else {}).items()
            if one.outcome is Outcome.UNDECIDED
        ]
        quantity = _quantity(across, form)
        found.append(
            phrase(
                "across.to_settle",
                run=form.run,
                variant=form.variant,
                quantity=quantity,
                needs=needs,
            )
        )
    if leader and leader.verdict is not None and leader.verdict.outcome is Outcome.OVER:
        found.append(phrase("across.trade", leader=leader.run, **values))
    if across.apart and len(across.runs) > 1:
        names = [labels[name] for name in across.apart]
        found.append(phrase("across.apart", benchmarks=names, **values))
    return found


def run_outcome(run: RunVerdict, max_loss: float, labels: Labels) -> Phrase:
    """Return what is shown of a run's fp16 beside the others'."""
    if run.leads and run.verdict is not None and run.verdict.outcome is not Outcome.OVER:
        return phrase("across.run.leads")
    if run.verdict is None:
        return phrase("across.run.alone")
    outcome, found = run.verdict.outcome, run.verdict.benchmarks.items()
    if outcome is Outcome.OVER:
        others = dict.fromkeys(other for (other, _), one in found if one.outcome is outcome)
        return phrase("across.run.over", others=list(others), max_loss=max_loss)
    if outcome is Outcome.WITHIN:
        return phrase("across.run.within", max_loss=max_loss)
    needs = [
        phrase("across.need", other=other, benchmark=labels[name], need=needed_text(one))
        for (other, name), one in found
        if one.outcome is Outcome.UNDECIDED
    ]
    return phrase("across.run.undecided", needs=needs)


def form_outcome(across: Across, form: Form) -> Phrase:
    """Return how far a form may ship."""
    if form is across.chosen:
        return phrase("across.outcome.chosen")
    if form.may_ship:
        return phrase("across.outcome.may_ship")
    if form.verdict is not None and form.verdict.outcome is not Outcome.WITHIN:
        return phrase(f"outcome.{form.verdict.outcome.value}")
    if form.verdict is not None and not form.serves:
        return phrase("outcome.target")
    return phrase("across.outcome.run")


def _across(across: Across, runs: Sequence[Run], labels: Labels) -> AcrossSection:
    by_name = {run.name: run for run in runs}
    rows = [
        FormRow(
            run=by_name[form.run],
            form=form,
            chosen=form is across.chosen,
            outcome=form_outcome(across, form),
            cells=[_cell(across, by_name[form.run], form, name) for name in labels],
        )
        for form in across.forms
    ]
    drawn = forest_of(
        [
            (f"{form.run} {form.variant} · {labels[name]}", form.candidate.changes[name], verdict)
            for form in across.forms
            for name, verdict in (form.verdict.benchmarks.items() if form.verdict else ())
        ],
        across.rule.max_loss,
    )
    return AcrossSection(
        across,
        across_sentence(across),
        across_rule(across),
        across_sure(across),
        across_remarks(across, labels),
        labels,
        rows,
        {FORMS: drawn} if drawn else {},
    )


def _cell(across: Across, run: Run, form: Form, benchmark: str) -> ScoreCell | None:
    if benchmark not in run.findings.labels:
        return None
    changes, rule = form.candidate.changes, across.rule
    return score_cell(run.findings, form.variant, benchmark, changes, form.verdict, rule)


def _beside(across: Across, labels: Labels) -> BesideSection | None:
    """Return each run beside the leader, and wherever it is shown to lose too much."""
    limit, leader = across.rule.max_loss, across.leader
    if leader is None:
        return None
    shown = [
        (run, other, name, verdict)
        for run in across.runs
        for (other, name), verdict in (run.verdict.benchmarks.items() if run.verdict else ())
        if other == leader.run or verdict.outcome is Outcome.OVER
    ]
    rows = [
        BesideRow(
            run,
            run_outcome(run, limit, labels),
            other,
            labels[name],
            run.changes[other, name],
            verdict_text(verdict, limit),
        )
        for run, other, name, verdict in shown
    ]
    drawn = forest_of(
        [
            (f"{run.run} − {other} · {labels[name]}", run.changes[other, name], verdict)
            for run, other, name, verdict in shown
        ],
        limit,
        "chart.change_run",
    )
    return BesideSection(rows, {RUNS: drawn}) if drawn else None


def differing_settings(runs: Sequence[Run]) -> DifferingSection | None:
    """Return the settings that are not the same in all runs, None where there is none."""
    flat = [dict(_flat(run.settings.model_dump(mode="json"))) for run in runs]
    keys = dict.fromkeys(key for one in flat for key in one)
    rows = [
        DifferingRow(key, [str(one.get(key, "–")) for one in flat])
        for key in keys
        if any(one.get(key) != flat[0].get(key) for one in flat)
    ]
    return DifferingSection([run.name for run in runs], rows) if rows else None


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value
