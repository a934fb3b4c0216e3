"""The table of scores, memory and speed: a row per variant."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from butler.decision import Decision, JudgedVariant
from butler.efficiency.figures import GB, RESERVE_BYTES
from butler.evaluations import Evaluation
from butler.report_sections.findings import Findings


@dataclass(frozen=True)
class Capacity:
    """What is asked of cards: chats of `chat_tokens` tokens on each of `cards` GB."""

    cards: Sequence[int]
    chat_tokens: int

    @property
    def reserve_gb(self) -> float:
        """GB of each card that the count leaves free."""
        return RESERVE_BYTES / GB


def summary(decision: Decision, findings: Findings, capacity: Capacity) -> pd.DataFrame:
    """Return the rows of summary.csv: the base and each variant.

    Scores are 0 to 100, over the questions that the variant was asked; changes are points against
    the baseline over those asked of both, with the bounds of the 95 % interval; `verdict` is what
    is shown (verdicts.py), `least` and `most` the bounds of the change that decide it, `needed`
    about how many questions would settle what is not; lost and gained count questions that changed
    sides where each is right or wrong. Memory is in bytes, speeds, of a GPU alone, in tokens per
    second, time to first token in s; chats_N_gb is how many chats fit a card of N GB.
    """
    judged = {one.variant: one for one in decision.judged}
    records = []
    for model in findings.models:
        record: dict[str, Any] = {"variant": model, "chosen": model == decision.variant}
        for benchmark in findings.labels:
            evaluation = findings.evaluations[benchmark, model]
            sides = findings.right_or_wrong(benchmark)
            record |= _scores(evaluation, judged.get(model), sides)
        if model in findings.efficiencies:
            efficiency = findings.efficiencies[model]
            memory = efficiency.memory_bytes(decision.rule.tokens)
            record |= efficiency.values | {"memory_bytes": memory, "engine": efficiency.engine}
            chats = efficiency.chats(capacity.cards, capacity.chat_tokens)
            record |= {f"chats_{card}_gb": count for card, count in chats.items()}
        records.append(record)
    return pd.DataFrame(records)


def _scores(
    evaluation: Evaluation, judged: JudgedVariant | None, right_or_wrong: bool
) -> dict[str, Any]:
    benchmark = evaluation.benchmark
    found: dict[str, Any] = {"score": evaluation.average, "questions": evaluation.questions}
    names = ("change", "change_low", "change_high", "verdict", "least", "most", "needed")
    found |= dict.fromkeys((*names, *(("lost", "gained") if right_or_wrong else ())))
    if judged is not None and judged.verdict is not None:
        change, verdict = judged.changes[benchmark], judged.verdict.benchmarks[benchmark]
        values = (change.points, change.low, change.high, verdict.low, verdict.high)
        named = ("change", "change_low", "change_high", "least", "most")
        found |= {name: round(value, 2) for name, value in zip(named, values, strict=True)}
        found |= {"verdict": verdict.outcome.value, "needed": verdict.needed}
        found |= {"lost": change.lost, "gained": change.gained} if right_or_wrong else {}
    return {f"{benchmark}_{name}": value for name, value in found.items()}
