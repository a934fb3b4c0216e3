"""What fine-tuning did: questions and held-out answers before and after, and its curves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from butler.comparisons import Change, key_of
from butler.report_sections.charts import Charts
from butler.report_sections.findings import Findings
from butler.report_sections.training_charts import CURVES, HeldOutLoss, training_charts
from butler.results import CheckOutcome
from butler.schemes import BASE, BASELINE
from butler.texts import Phrase, phrase

CHECK = "training"
# How many standard errors are noise: within two lie 95 % of what chance alone makes.
NOISE = 2


@dataclass(frozen=True)
class TuningRow:
    """One benchmark before and after fine-tuning: both scores, 0 to 100, over what both were asked.

    `metric` is the benchmark's main one.
    """

    label: str
    metric: str
    said: Phrase
    before: float
    after: float
    change: Change


@dataclass(frozen=True)
class HeldOutRow:
    """The mean NLL of the held-out answers through one model, in nats a token.

    `name` ends the name of a text. `shift` is merged − this one, `error` its standard error; None
    for the merged model itself.
    """

    name: str
    nll: float
    shift: float | None = None
    error: float | None = None


@dataclass(frozen=True)
class HeldOut:
    """What the check of the training measured, with a sentence for each shift that matters."""

    answers: int
    tokens: int
    said: Sequence[Phrase]
    rows: Sequence[HeldOutRow]


@dataclass(frozen=True)
class TrainingSection:
    """A line for each benchmark, NLL, and the curves."""

    rows: Sequence[TuningRow]
    held_out: HeldOut | None
    charts: Charts

    @property
    def curves(self) -> list[str]:
        """The charts beside the loss, each named by its text."""
        return [name for name in CURVES if name in self.charts]


def training_section(
    findings: Findings, log: pd.DataFrame, checks: Sequence[CheckOutcome]
) -> TrainingSection:
    """Return the section, from the training's log and what its check measured."""
    rows = [_row(findings, name, change) for name, change in findings.since_base.items()]
    found = [one.measured for one in checks if one.check == CHECK and "change" in one.measured]
    held_out = _held_out(found[0]) if found else None
    ends = HeldOutLoss(found[0]["nll_base"], found[0]["nll_merged"]) if found else None
    return TrainingSection(rows, held_out, training_charts(log, ends))


def _held_out(measured: Mapping[str, float]) -> HeldOut:
    """Return the likelihoods that check_training.py measured."""
    rows = [
        HeldOutRow(name, measured[f"nll_{name}"], measured[shift], measured[f"{shift}_se"])
        for name, shift in (
            ("base", "change"),
            ("nf4_adapter", "nf4_shift"),
            ("base_adapter", "merge_shift"),
        )
        if shift in measured
    ]
    said = [
        phrase(
            f"held_out.{row.name}.{_how(row)}",
            before=row.nll,
            after=measured["nll_merged"],
            shift=row.shift,
            error=row.error,
        )
        for row in rows
        if row.name != "base_adapter" or _how(row) != "noise"
    ]
    merged = HeldOutRow("merged", measured["nll_merged"])
    counts = int(measured["conversations"]), int(measured["tokens"])
    return HeldOut(*counts, said, [*rows, merged])


def _how(row: HeldOutRow) -> str:
    if row.shift is None or row.error is None or not abs(row.shift) > NOISE * row.error:
        return "noise"  # of a NaN, too, nothing can be told
    return "rose" if row.shift > 0 else "fell"


def _row(findings: Findings, benchmark: str, change: Change) -> TuningRow:
    """Return a benchmark with a sentence on what fine-tuning did to it."""
    label = findings.labels[benchmark]
    pairs = findings.pairs(benchmark, BASELINE, BASE)
    asked = [key_of(one) for one, _ in pairs]
    before, after = (
        findings.evaluations[benchmark, model].only(asked) for model in (BASE, BASELINE)
    )
    how = "cost" if change.high < 0 else "gained" if change.low > 0 else "unclear"
    said = phrase(
        f"forgetting.{how}",
        benchmark=label,
        before=before.mean,
        after=after.mean,
        points=change.points,
        low=change.low,
        high=change.high,
    )
    return TuningRow(label, after.metric, said, before.mean, after.mean, change)
