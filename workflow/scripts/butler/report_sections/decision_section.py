"""The decision: the chosen variant, the table of all of them, and accuracy against memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from butler.decision import Change, Decision, Verdict, rule_text
from butler.report_sections.charts import Charts, Colours, accuracy_against_memory, points
from butler.report_sections.findings import Findings
from butler.report_sections.summary import Capacity
from butler.schemes import BASELINE
from butler.texts import Phrase


@dataclass(frozen=True)
class BenchmarkColumn:
    """A benchmark in the table: its name, display name and main metric; `chart` is its chart's."""

    name: str
    label: str
    metric: str
    chart: str


@dataclass(frozen=True)
class ScoreCell:
    """A variant's score, 0 to 100, with its change; `sides`: McNemar's p is of this benchmark.

    `cut` is the share of its answers, 0 to 1, that were cut at max_new_tokens.
    """

    score: float
    cut: float
    change: Change | None
    sides: bool


@dataclass(frozen=True)
class VariantRow:
    """A variant in the table; `share` and `factor` are of the baseline's memory and speed."""

    verdict: Verdict
    chosen: bool
    scores: Sequence[ScoreCell]
    share: float
    kv_bytes_per_token: float
    factor: float
    chats: Mapping[int, int]


@dataclass(frozen=True)
class DecisionSection:
    """What to ship and why; `cards` are those in GB whose chats could be counted."""

    decision: Decision
    rule: Phrase
    benchmarks: Sequence[BenchmarkColumn]
    rows: Sequence[VariantRow]
    capacity: Capacity
    cards: Sequence[int]
    charts: Charts


def decision_section(
    decision: Decision, findings: Findings, capacity: Capacity, colours: Colours
) -> DecisionSection:
    """Return the section of a decision that was made from the findings."""
    columns = [
        BenchmarkColumn(name, label, findings.evaluations[name, BASELINE].metric, f"memory/{name}")
        for name, label in findings.labels.items()
    ]
    rows = [_row(verdict, decision, findings, capacity) for verdict in decision.verdicts]
    charts = {
        column.chart: accuracy_against_memory(
            points(decision.verdicts, findings, column.name),
            decision.variant,
            decision.rule.tokens,
            colours,
        )
        for column in columns
    }
    cards = list(rows[0].chats)
    rule = rule_text(decision.rule)
    return DecisionSection(decision, rule, columns, rows, capacity, cards, charts)


def _row(
    verdict: Verdict, decision: Decision, findings: Findings, capacity: Capacity
) -> VariantRow:
    baseline = next(one for one in decision.verdicts if one.variant == BASELINE)
    cells = [
        ScoreCell(
            findings.evaluations[name, verdict.variant].average,
            findings.evaluations[name, verdict.variant].cut_share(),
            None if verdict is baseline else verdict.changes[name],
            findings.right_or_wrong(name),
        )
        for name in findings.labels
    ]
    efficiency = findings.efficiencies[verdict.variant]
    return VariantRow(
        verdict=verdict,
        chosen=verdict.variant == decision.variant,
        scores=cells,
        share=verdict.memory_bytes / baseline.memory_bytes,
        kv_bytes_per_token=efficiency.values["kv_bytes_per_token"],
        factor=verdict.decode_tokens_per_s / baseline.decode_tokens_per_s,
        chats=efficiency.chats(capacity.cards, capacity.chat_tokens),
    )
