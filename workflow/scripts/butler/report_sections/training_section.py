"""What fine-tuning did: the base model against the baseline on the same questions, and the loss."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from butler.decision import Change
from butler.report_sections.charts import Charts, loss_curve
from butler.report_sections.findings import Findings
from butler.results import Evaluation
from butler.schemes import BASELINE
from butler.texts import Phrase, phrase

CHART = "loss"


@dataclass(frozen=True)
class TuningRow:
    """One benchmark before and after fine-tuning; `sides`: McNemar's p is of this benchmark."""

    label: str
    said: Phrase
    before: Evaluation
    after: Evaluation
    change: Change
    sides: bool


@dataclass(frozen=True)
class TrainingSection:
    """A line for each benchmark (none where the base was not evaluated), and the loss curve."""

    rows: Sequence[TuningRow]
    charts: Charts


def training_section(findings: Findings, log: pd.DataFrame | None) -> TrainingSection | None:
    """Return the section, or None where neither the base nor a training log is there."""
    rows = [_row(findings, name, change) for name, change in findings.since_base.items()]
    charts = {} if log is None else {CHART: loss_curve(log)}
    return TrainingSection(rows, charts) if rows or charts else None


def _row(findings: Findings, benchmark: str, change: Change) -> TuningRow:
    """Return a benchmark with a sentence on what fine-tuning did to it."""
    label = findings.labels[benchmark]
    before = findings.evaluations[benchmark, str(findings.base)]
    after = findings.evaluations[benchmark, BASELINE]
    fell = "lost" if change.points < 0 else "gained"
    how = {None: "unknown", True: "noise", False: fell}[change.within_noise]
    said = phrase(
        f"forgetting.{how}",
        benchmark=label,
        before=before.average,
        after=after.average,
        points=change.points,
    )
    sides = change.p is not None and findings.right_or_wrong(benchmark)
    return TuningRow(label, said, before, after, change, sides)
