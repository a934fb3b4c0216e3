"""The tables of accuracy, memory and speed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from butler.ceval import categories
from butler.decision import BASELINE, Change, Decision
from butler.efficiency.figures import GB, RESERVE_BYTES
from butler.results import Efficiency, Evaluation

Evaluations = Mapping[tuple[str, str], Evaluation]  # by (benchmark, variant)


@dataclass(frozen=True)
class Capacity:
    """What is asked of cards: chats of `chat_tokens` tokens on each of `cards` GB."""

    cards: Sequence[int]
    chat_tokens: int

    @property
    def reserve_gb(self) -> float:
        """GB of each card that the count leaves free."""
        return RESERVE_BYTES / GB


def summary(
    decision: Decision,
    evaluations: Evaluations,
    efficiencies: Mapping[str, Efficiency],
    capacity: Capacity,
) -> pd.DataFrame:
    """Return the rows of summary.csv: one per variant, base included if it was evaluated.

    Scores are 0 to 100, changes points against fp16 with the bounds of the 95 % interval of the
    paired difference; lost and gained count questions that changed sides, p is McNemar's. Memory
    is in bytes, speeds in tokens per second, time to first token in s; chats_N_gb is how many
    chats fit a card of N GB.
    """
    benchmarks = list(dict.fromkeys(benchmark for benchmark, _ in evaluations))
    changes = {verdict.variant: verdict.changes for verdict in decision.verdicts}
    records = []
    for variant in dict.fromkeys(variant for _, variant in evaluations):
        record: dict[str, Any] = {"variant": variant, "chosen": variant == decision.variant}
        for benchmark in benchmarks:
            evaluation = evaluations.get((benchmark, variant))
            change = changes.get(variant, {}).get(benchmark) if variant != BASELINE else None
            record |= _scores(benchmark, evaluation, change)
        if variant in efficiencies:
            efficiency = efficiencies[variant]
            memory = efficiency.memory_bytes(decision.rule.tokens)
            record |= efficiency.values | {"memory_bytes": memory, "engine": efficiency.engine}
            chats = efficiency.chats(capacity.cards, capacity.chat_tokens)
            record |= {f"chats_{card}_gb": count for card, count in chats.items()}
        records.append(record)
    return pd.DataFrame(records)


def _scores(benchmark: str, evaluation: Evaluation | None, change: Change | None) -> dict[str, Any]:
    def rounded(value: float | None, digits: int = 2) -> float | None:
        return None if value is None else round(value, digits)

    shown: dict[str, Any] = {
        f"{benchmark}_score": evaluation.average if evaluation else None,
        f"{benchmark}_questions": evaluation.questions if evaluation else None,
        f"{benchmark}_change": rounded(change.points) if change else None,
        f"{benchmark}_change_low": rounded(change.low) if change else None,
        f"{benchmark}_change_high": rounded(change.high) if change else None,
    }
    if evaluation and evaluation.right_or_wrong:
        shown |= {
            f"{benchmark}_lost": change.lost if change else None,
            f"{benchmark}_gained": change.gained if change else None,
            f"{benchmark}_p": rounded(change.p, 4) if change else None,
        }
    return shown


def by_dataset(evaluations: Evaluations, benchmark: str) -> dict[str, Any]:
    """Return a table of scores for one benchmark: data set and metric by variant."""
    chosen = {v: e for (b, v), e in evaluations.items() if b == benchmark}
    first = next(iter(chosen.values())).table
    keys = list(zip(first["dataset"], first["metric"], first["questions"], strict=True))
    scores = {
        variant: evaluation.table.set_index(["dataset", "metric"])["score"]
        for variant, evaluation in chosen.items()
    }
    rows = [
        {
            "dataset": dataset,
            "metric": metric,
            "questions": questions,
            "scores": [float(table[(dataset, metric)]) for table in scores.values()],
        }
        for dataset, metric, questions in keys
    ]
    return {"variants": list(chosen), "rows": rows}


def by_category(table: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Return C-Eval's categories with the subjects in each, from the table of `by_dataset`.

    A category's score is the plain mean over its subjects, as C-Eval has it.
    """
    if table is None:
        return []
    rows = {row["dataset"]: row for row in table["rows"] if row["dataset"] != "average"}
    found = []
    for category, subjects in categories(rows).items():
        chosen = [rows[subject] for subject in subjects]
        columns = zip(*(row["scores"] for row in chosen), strict=True)
        means = [sum(column) / len(chosen) for column in columns]
        questions = sum(row["questions"] for row in chosen)
        record = {"category": category, "scores": means, "questions": questions, "rows": chosen}
        found.append(record)
    return found
