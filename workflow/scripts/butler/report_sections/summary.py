"""The table of scores, memory and speed: a row per variant."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from butler.decision import Change, Decision
from butler.efficiency.figures import GB, RESERVE_BYTES
from butler.report_sections.findings import Findings
from butler.results import Evaluation
from butler.schemes import BASELINE


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
    """Return the rows of summary.csv: one per variant, base included if it was evaluated.

    Scores are 0 to 100, changes points against the baseline with the bounds of the 95 % interval of
    the paired difference; lost and gained count questions that changed sides, p is McNemar's, all
    three of benchmarks whose questions are right or wrong alone. Memory is in bytes, speeds in
    tokens per second, time to first token in s; chats_N_gb is how many chats fit a card of N GB.
    """
    changes = {verdict.variant: verdict.changes for verdict in decision.verdicts}
    records = []
    for model in findings.models:
        record: dict[str, Any] = {"variant": model, "chosen": model == decision.variant}
        for benchmark in findings.labels:
            change = changes.get(model, {}).get(benchmark) if model != BASELINE else None
            evaluation = findings.evaluations[benchmark, model]
            record |= _scores(evaluation, change, findings.right_or_wrong(benchmark))
        if model in findings.efficiencies:
            efficiency = findings.efficiencies[model]
            memory = efficiency.memory_bytes(decision.rule.tokens)
            record |= efficiency.values | {"memory_bytes": memory, "engine": efficiency.engine}
            chats = efficiency.chats(capacity.cards, capacity.chat_tokens)
            record |= {f"chats_{card}_gb": count for card, count in chats.items()}
        records.append(record)
    return pd.DataFrame(records)


def _scores(evaluation: Evaluation, change: Change | None, right_or_wrong: bool) -> dict[str, Any]:
    def rounded(value: float | None, digits: int = 2) -> float | None:
        return None if value is None else round(value, digits)

    benchmark = evaluation.benchmark
    shown: dict[str, Any] = {
        f"{benchmark}_score": evaluation.average,
        f"{benchmark}_questions": evaluation.questions,
        f"{benchmark}_change": rounded(change.points) if change else None,
        f"{benchmark}_change_low": rounded(change.low) if change else None,
        f"{benchmark}_change_high": rounded(change.high) if change else None,
    }
    if right_or_wrong:
        shown |= {
            f"{benchmark}_lost": change.lost if change else None,
            f"{benchmark}_gained": change.gained if change else None,
            f"{benchmark}_p": rounded(change.p, 4) if change else None,
        }
    return shown
