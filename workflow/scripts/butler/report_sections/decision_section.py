"""The decision: the chosen variant, the verdicts, the table, and accuracy against memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from butler.comparisons import Change, interval_of
from butler.decision import Decision, JudgedVariant
from butler.decision_texts import rule_text, sure_text, verdict_text
from butler.report_sections.charts import Charts, Colours, accuracy_against_memory, points
from butler.report_sections.findings import Findings
from butler.report_sections.forest import forest
from butler.report_sections.summary import Capacity
from butler.schemes import BASELINE
from butler.settings.judging_stage import DecisionSettings
from butler.texts import Phrase, phrase
from butler.verdicts import VariantVerdict

FOREST = "forest"


@dataclass(frozen=True)
class BenchmarkColumn:
    """A benchmark in the table: its name, display name and main metric; `chart` is its chart's."""

    name: str
    label: str
    metric: str
    chart: str


@dataclass(frozen=True)
class ScoreCell:
    """A variant's score, 0 to 100, over the questions that it was asked, with its change.

    `low` and `high` bound the score's own 95 % interval.

    `cut` is the share of its answers, 0 to 1, that were cut at max_new_tokens; `fewer` says that it
    was asked fewer questions than the baseline. The baseline has neither change nor verdict.
    """

    score: float
    low: float
    high: float
    questions: int
    fewer: bool
    cut: float
    change: Change | None
    verdict: Phrase | None


@dataclass(frozen=True)
class VariantRow:
    """A variant in the table; `share` and `factor` are of the baseline's memory and speed.

    `factor` is None where no speed was measured; `outcome` says how far it may ship.
    """

    judged: JudgedVariant
    chosen: bool
    outcome: Phrase
    scores: Sequence[ScoreCell]
    share: float
    kv_bytes_per_token: float
    factor: float | None
    chats: Mapping[int, int]


@dataclass(frozen=True)
class DecisionSection:
    """What to ship and why; `cards` are those in GB whose chats could be counted.

    `fewer` says that a variant was asked fewer questions than the baseline, as it was settled.
    """

    decision: Decision
    rule: Phrase
    sure: Phrase
    benchmarks: Sequence[BenchmarkColumn]
    rows: Sequence[VariantRow]
    capacity: Capacity
    cards: Sequence[int]
    charts: Charts

    @property
    def forest(self) -> str | None:
        """Name of the chart of verdicts; None where there is nothing but the baseline."""
        return FOREST if FOREST in self.charts else None

    @property
    def fast(self) -> bool:
        """Whether the speed of every variant was measured."""
        return all(row.factor is not None for row in self.rows)

    @property
    def fewer(self) -> bool:
        """Whether a variant was asked fewer questions than the baseline."""
        return any(cell.fewer for row in self.rows for cell in row.scores)


def decision_section(
    decision: Decision, findings: Findings, capacity: Capacity, colours: Colours
) -> DecisionSection:
    """Return the section of a decision that was made from the findings."""
    columns = [
        BenchmarkColumn(name, label, findings.evaluations[name, BASELINE].metric, f"memory/{name}")
        for name, label in findings.labels.items()
    ]
    rows = [_row(one, decision, findings, capacity) for one in decision.judged]
    drawn = forest(decision, findings.labels)
    charts: Charts = {FOREST: drawn} if drawn else {}
    charts |= {
        column.chart: accuracy_against_memory(
            points(decision.judged, findings, column.name),
            decision.variant,
            decision.rule.tokens,
            colours,
        )
        for column in columns
    }
    cards = list(rows[0].chats)
    told = rule_text(decision.rule), sure_text(decision.rule)
    return DecisionSection(decision, *told, columns, rows, capacity, cards, charts)


def _row(
    judged: JudgedVariant, decision: Decision, findings: Findings, capacity: Capacity
) -> VariantRow:
    baseline = next(one for one in decision.judged if one.variant == BASELINE)
    own, others = judged.decode_tokens_per_s, baseline.decode_tokens_per_s
    efficiency = findings.efficiencies[judged.variant]
    chosen = judged.variant == decision.variant
    verdict = judged.verdict
    kind = "chosen" if chosen else "baseline" if verdict is None else verdict.outcome.value
    if kind == "within" and not judged.eligible:
        kind = "target"
    return VariantRow(
        judged=judged,
        chosen=chosen,
        outcome=phrase(f"outcome.{kind}"),
        scores=[
            score_cell(
                findings, judged.variant, name, judged.changes, judged.verdict, decision.rule
            )
            for name in findings.labels
        ],
        share=judged.memory_bytes / baseline.memory_bytes,
        kv_bytes_per_token=efficiency.values["kv_bytes_per_token"],
        factor=own.over(others).median if own and others else None,
        chats=efficiency.chats(capacity.cards, capacity.chat_tokens),
    )


def score_cell(
    findings: Findings,
    variant: str,
    benchmark: str,
    changes: Mapping[str, Change],
    verdict: VariantVerdict | None,
    rule: DecisionSettings,
) -> ScoreCell:
    """Return a variant's score on a benchmark, with what is shown of its change."""
    evaluation = findings.evaluations[benchmark, variant]
    found = verdict.benchmarks[benchmark] if verdict else None
    low, high = interval_of(evaluation.details)
    return ScoreCell(
        score=evaluation.average,
        low=low,
        high=high,
        questions=evaluation.questions,
        fewer=evaluation.questions < findings.evaluations[benchmark, BASELINE].questions,
        cut=evaluation.cut_share(),
        change=changes.get(benchmark),
        verdict=verdict_text(found, rule.max_loss) if found else None,
    )
