"""What each model answered to a benchmark, and whether two of them can be compared."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any

import pandas as pd

from butler.benchmarks.opencompass.proof import AVERAGE, COLUMNS, FINISHES, cut_share
from butler.comparisons import Key, key_of, round_of
from butler.errors import ButlerError
from butler.results import check_of, check_written, read_check, read_table, read_text
from butler.rounds import Rounds

ROUNDED = 0.02  # points: a table's scores and the mean over them have two digits


@dataclass(frozen=True)
class Evaluation:
    """One variant on one benchmark: the CSV's rows and the record of each question.

    `planned_rounds` are the cumulative numbers of questions of the rounds that were planned, of
    which the variant was asked the first ones; none: all questions at once.
    """

    benchmark: str
    variant: str
    table: pd.DataFrame
    details: list[dict[str, Any]]
    planned_rounds: Sequence[int] = ()

    @property
    def average(self) -> float:
        """Score of the `average` row, 0 to 100."""
        return float(self.table.loc[self.table["dataset"] == AVERAGE, "score"].iloc[0])

    @property
    def mean(self) -> float:
        """Plain mean over data sets of the mean over the questions in `details`, 0 to 100."""
        return mean(map(mean, self.by_dataset.values()))

    @property
    def metric(self) -> str:
        """Metric of the `average` row."""
        return str(self.table.loc[self.table["dataset"] == AVERAGE, "metric"].iloc[0])

    @property
    def questions(self) -> int:
        """How many questions were asked."""
        return len(self.details)

    @property
    def rounds(self) -> Rounds:
        """The rounds that were planned."""
        return Rounds(self.planned_rounds or [self.questions])

    @property
    def right_or_wrong(self) -> bool:
        """Whether each question scored 0 or 100, nothing between."""
        return all(record["score"] in (0, 100) for record in self.details)

    @property
    def keys(self) -> set[Key]:
        """Which questions were asked."""
        return set(map(key_of, self.details))

    @property
    def by_dataset(self) -> dict[str, list[float]]:
        """Score of each question by data set, in the order asked."""
        scores: dict[str, list[float]] = {}
        for record in self.details:
            scores.setdefault(record["dataset"], []).append(record["score"])
        return scores

    def only(self, keys: Iterable[Key]) -> "Evaluation":
        """Return the answers to these questions alone, in this order; the table stays as it is."""
        own = {key_of(record): record for record in self.details}
        return replace(self, details=[own[key] for key in keys])

    def cut_share(self, dataset: str = AVERAGE) -> float:
        """Return the share, 0 to 1, of a data set's answers that were cut; AVERAGE: of all."""
        records = [one for one in self.details if dataset in (AVERAGE, one["dataset"])]
        return cut_share(records) / 100

    @property
    def groups(self) -> dict[str | None, list[str]]:
        """Data sets by the group that they are summed up in, None for those in no group."""
        groups: dict[str | None, list[str]] = {}
        for dataset, group in {r["dataset"]: r.get("group") for r in self.details}.items():
            groups.setdefault(group, []).append(dataset)
        return groups


def read_evaluation(results: Path, evaluations: Path, benchmark: str, variant: str) -> Evaluation:
    """Read `{benchmark}_{variant}.csv` and its details.jsonl.

    Raises:
        ButlerError: if a file, a column, the average row or a detail is missing or broken, they
            are of another evaluation, or a file was edited since.
    """
    path = results / f"{benchmark}_{variant}.csv"
    details_path = evaluations / f"{benchmark}_{variant}" / "details.jsonl"
    check = check_of(results, f"evaluation_{benchmark}_{variant}")
    check_written(check, path, details_path)
    again = f"evaluate {variant} again"
    table = read_table(path, COLUMNS)
    for column, name in (("benchmark", benchmark), ("variant", variant)):
        if others := sorted(set(table[column].astype(str)) - {name}):
            raise ButlerError(f"{path} has scores of {column} {others[0]}; {again}")
    for column, most in (("score", 100), ("questions", float("inf"))):
        table[column] = pd.to_numeric(table[column], errors="coerce")
        broken = table.loc[~table[column].between(0, most), "dataset"]
        if len(broken):
            raise ButlerError(f"{path}: {broken.iloc[0]} has no {column}; {again}")
    twice = table.loc[table.duplicated(["dataset", "metric"]), "dataset"]
    if len(twice):
        raise ButlerError(f"{path}: {twice.iloc[0]} comes twice; {again}")
    if (table["dataset"] == AVERAGE).sum() != 1:
        raise ButlerError(f"{path} has not one average row; {again}")
    details, planned = _details(details_path, again), _planned_rounds(check, again)
    evaluation = Evaluation(benchmark, variant, table, details, planned)
    if (last := max(map(round_of, details))) > len(evaluation.rounds.sizes):
        raise ButlerError(f"{details_path} has a round {last}, but {check} plans no such; {again}")
    asked = int(table.loc[table["dataset"] == AVERAGE, "questions"].iloc[0])
    if evaluation.questions != asked:
        raise ButlerError(
            f"{details_path} has {evaluation.questions} questions, {path.name} {asked}"
        )
    if abs(evaluation.mean - evaluation.average) > ROUNDED:
        raise ButlerError(
            f"{path} has an average of {evaluation.average:.2f}, but the questions in "
            f"{details_path} one of {evaluation.mean:.2f}; {again}"
        )
    return evaluation


def _details(path: Path, again: str) -> list[dict[str, Any]]:
    """Read the record of each question."""
    records = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            texts = [record[name] for name in ("dataset", "question", "reference", "prediction")]
            texts += [record["group"]] if record.get("group") is not None else []
            others = record.get("metrics", {}).values()
            # A product of roots may end a hair above 100.
            right = all(-ROUNDED <= other <= 100 + ROUNDED for other in others)
            right &= 0 <= record["score"] <= 100 and record["index"] >= 0
            right &= record["finish"] in FINISHES and round_of(record) >= 1
            texts += [record.get("cluster", "")]
        except (AttributeError, ValueError, KeyError, TypeError):
            texts, right = [], False
        if not right or not all(isinstance(text, str) for text in texts):
            raise ButlerError(f"{path}, line {number}, is no record of a question; {again}")
        records.append(record)
    if not records:
        raise ButlerError(f"{path} has no question; {again}")
    if len(set(map(key_of, records))) < len(records):
        raise ButlerError(f"{path} has a question twice; {again}")
    return records


def _planned_rounds(check: Path, again: str) -> list[int]:
    """Return the cumulative numbers of questions that the evaluation's check says were planned."""
    found = read_check(check).measured.get("planned_rounds", [])
    whole = isinstance(found, list) and all(type(size) is int and size > 0 for size in found)
    if not whole or any(after <= before for before, after in pairwise(found)):
        raise ButlerError(f"{check} has no rising numbers of questions in planned_rounds; {again}")
    return found


def check_same_questions(baseline: Evaluation, others: Iterable[Evaluation]) -> None:
    """Stop unless every other model was asked the baseline's questions, whole rounds of them.

    Raises:
        ButlerError: naming the benchmark, the model and what differs.
    """
    asked = {key_of(record): record for record in baseline.details}
    for other in others:
        pair = f"{baseline.benchmark}: {baseline.variant} and {other.variant}"
        for record in other.details:
            own = asked.get(key_of(record))
            if own is None or own["question"] != record["question"]:
                raise ButlerError(
                    f"{pair} were asked different questions, number {record['index']} of "
                    f"{record['dataset']} for one; evaluate again"
                )
            if round_of(own) != round_of(record):
                raise ButlerError(
                    f"{pair} were asked number {record['index']} of {record['dataset']} in "
                    "different rounds; evaluate again"
                )
        if list(baseline.planned_rounds) != list(other.planned_rounds):
            raise ButlerError(f"{pair} had different rounds planned; evaluate again")
        last = max(map(round_of, other.details))
        due = {key for key, record in asked.items() if round_of(record) <= last}
        if missing := len(due - other.keys):
            raise ButlerError(
                f"{pair} were not asked the same questions: {missing} of the {len(due)} up to "
                f"round {last} were not asked of {other.variant}; evaluate again"
            )
        _check_same_rows(baseline, other)


def _check_same_rows(baseline: Evaluation, other: Evaluation) -> None:
    """Stop unless both tables have the same metrics of each data set that both were asked."""
    asked = {AVERAGE, *other.by_dataset}
    rows = [
        {row for row in one.table.set_index(["dataset", "metric"]).index if row[0] in asked}
        for one in (baseline, other)
    ]
    if differing := sorted(rows[0] ^ rows[1]):
        dataset, metric = differing[0]
        raise ButlerError(
            f"{baseline.benchmark}: {metric} of {dataset} is in the table of {baseline.variant} or "
            f"of {other.variant} alone; evaluate again"
        )
