"""Reading what the stages left, for the report; every gap is one sentence."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import mean
from typing import Any

import pandas as pd

from butler.benchmarks.opencompass.proof import AVERAGE, COLUMNS, FINISHES, cut_share
from butler.checks import SEAL, seal
from butler.efficiency.figures import chats_on_card
from butler.efficiency.speed import Speed
from butler.errors import ButlerError
from butler.manifest import NAME as MANIFEST
from butler.manifest import sha256_of
from butler.rerun import rerun_command

MEMORY_METRICS = ("weight_bytes", "kv_bytes_per_token", "peak_memory_bytes")
ROUNDED = 0.02  # points: a table's scores and the mean over them have two digits
CAPACITY_METRICS = {"fixed_memory_bytes", "buffer_bytes_per_chat"}  # of TurboMind on a GPU


@dataclass(frozen=True)
class Evaluation:
    """One variant on one benchmark: the CSV's rows and the record of each question."""

    benchmark: str
    variant: str
    table: pd.DataFrame
    details: list[dict[str, Any]]

    @property
    def average(self) -> float:
        """Score of the `average` row, 0 to 100."""
        return float(self.table.loc[self.table["dataset"] == AVERAGE, "score"].iloc[0])

    @property
    def metric(self) -> str:
        """Metric of the `average` row."""
        return str(self.table.loc[self.table["dataset"] == AVERAGE, "metric"].iloc[0])

    @property
    def questions(self) -> int:
        """How many questions were asked."""
        return len(self.details)

    @property
    def right_or_wrong(self) -> bool:
        """Whether each question scored 0 or 100, nothing between."""
        return all(record["score"] in (0, 100) for record in self.details)

    @property
    def by_dataset(self) -> dict[str, list[float]]:
        """Score of each question by data set, in the order asked."""
        scores: dict[str, list[float]] = {}
        for record in self.details:
            scores.setdefault(record["dataset"], []).append(record["score"])
        return scores

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


@dataclass(frozen=True)
class Efficiency:
    """Bytes and speed of a variant, and what measured them.

    `values` has the names in MEMORY_METRICS and, from TurboMind, those of efficiency/figures.py;
    `speed` is None of the reference engine, which computes every variant in fp32.
    """

    variant: str
    engine: str
    machine: str
    values: dict[str, float]
    speed: Speed | None = None

    @property
    def decode_tokens_per_s(self) -> float | None:
        """New tokens per second of one request alone, the median of the repeats."""
        if self.speed is None:
            return self.values.get("decode_tokens_per_s")
        return self.speed.decode_tokens_per_s.median

    def memory_bytes(self, tokens: int) -> float:
        """Return weights plus KV cache for `tokens` tokens."""
        return self.values["weight_bytes"] + tokens * self.values["kv_bytes_per_token"]

    def chats(self, cards: Sequence[int], chat_tokens: int) -> dict[int, int]:
        """Return how many chats fit each card of so many GB; nothing if no GPU was measured."""
        if CAPACITY_METRICS - self.values.keys():
            return {}
        return {card: chats_on_card(self.values, card, chat_tokens) for card in cards}


@dataclass(frozen=True)
class CheckOutcome:
    """What a check found: figures in `measured`, how much is allowed in `limits`.

    `wrote` has the SHA-256 of the tables written with it by their names, `manifests` that of the
    manifest of each folder that was loaded for it, by the folder's path.
    """

    check: str
    passed: bool
    sentence: str
    measured: Mapping[str, Any]
    limits: Mapping[str, Any]
    wrote: Mapping[str, str]
    manifests: Mapping[str, str]


def read_evaluation(results: Path, evaluations: Path, benchmark: str, variant: str) -> Evaluation:
    """Read `{benchmark}_{variant}.csv` and its details.jsonl.

    Raises:
        ButlerError: if a file, a column, the average row or a detail is missing or broken, they
            are of another evaluation, or a file was edited since.
    """
    path = results / f"{benchmark}_{variant}.csv"
    details_path = evaluations / f"{benchmark}_{variant}" / "details.jsonl"
    check_written(_check_of(results, f"evaluation_{benchmark}_{variant}"), path, details_path)
    again = f"evaluate {variant} again"
    table = _csv(path, COLUMNS)
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
    evaluation = Evaluation(benchmark, variant, table, _details(details_path, again))
    asked = int(table.loc[table["dataset"] == AVERAGE, "questions"].iloc[0])
    if evaluation.questions != asked:
        raise ButlerError(
            f"{details_path} has {evaluation.questions} questions, {path.name} {asked}"
        )
    found = mean(map(mean, evaluation.by_dataset.values()))
    if abs(found - evaluation.average) > ROUNDED:
        raise ButlerError(
            f"{path} has an average of {evaluation.average:.2f}, but the questions in "
            f"{details_path} one of {found:.2f}; {again}"
        )
    return evaluation


def _details(path: Path, again: str) -> list[dict[str, Any]]:
    """Read the record of each question."""
    records = []
    for number, line in enumerate(_text(path).splitlines(), 1):
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
            right &= record["finish"] in FINISHES
        except (AttributeError, ValueError, KeyError, TypeError):
            texts, right = [], False
        if not right or not all(isinstance(text, str) for text in texts):
            raise ButlerError(f"{path}, line {number}, is no record of a question; {again}")
        records.append(record)
    if not records:
        raise ButlerError(f"{path} has no question; {again}")
    return records


def check_same_questions(evaluations: Sequence[Evaluation]) -> None:
    """Raise ButlerError unless all were asked the same questions in the same order."""
    first = evaluations[0]
    for other in evaluations[1:]:
        rows = [set(one.table.set_index(["dataset", "metric"]).index) for one in (first, other)]
        if differing := sorted(rows[0] ^ rows[1]):
            dataset, metric = differing[0]
            raise ButlerError(
                f"{first.benchmark}: {metric} of {dataset} is in the table of {first.variant} or "
                f"of {other.variant} alone; evaluate again"
            )
        for one, two in zip(first.details, other.details, strict=False):
            if (one["dataset"], one["question"]) != (two["dataset"], two["question"]):
                raise ButlerError(
                    f"{first.benchmark}: {first.variant} and {other.variant} were asked different "
                    f"questions from number {one['index']} of {one['dataset']} on; evaluate again"
                )
        if len(first.details) != len(other.details):
            raise ButlerError(
                f"{first.benchmark}: {first.variant} was asked {len(first.details)} questions and "
                f"{other.variant} {len(other.details)}; evaluate again"
            )


def read_efficiency(results: Path, variant: str) -> Efficiency:
    """Read `efficiency_{variant}.csv`.

    Raises:
        ButlerError: if the file or a metric is missing or not a number, or was edited.
    """
    path = results / f"efficiency_{variant}.csv"
    check_written(_check_of(results, f"efficiency_{variant}"), path)
    table = _csv(path, ("variant", "metric", "value", "unit", "engine", "machine"))
    found = dict(zip(table["metric"], pd.to_numeric(table["value"], errors="coerce"), strict=True))
    if others := sorted(set(table["variant"].astype(str)) - {variant}):
        raise ButlerError(f"{path} has figures of {others[0]}; measure {variant} again")
    values = {metric: float(value) for metric, value in found.items() if 0 < value < float("inf")}
    engine, machine = (str(table[name].iloc[0]) for name in ("engine", "machine"))
    try:
        for metric in MEMORY_METRICS:
            values[metric]
        speed = None if engine == "reference" else Speed.read(values)
    except KeyError as error:
        raise ButlerError(
            f"{path} has no number for {error.args[0]}; measure {variant} again"
        ) from None
    return Efficiency(variant, engine, machine, values, speed)


def read_loss(path: Path) -> pd.DataFrame:
    """Read the training log, a CSV with columns step and loss."""
    table = _csv(path, ("step", "loss"))
    if table.empty:
        raise ButlerError(f"{path} has no step")
    try:
        return table.astype({"step": int, "loss": float})
    except ValueError as error:
        raise ButlerError(f"{path} has a step or loss that is no number: {error}") from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ButlerError: if the file is missing or holds none.
    """
    try:
        found = json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise ButlerError(f"{path} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ButlerError(f"{path} is not a JSON object; make it again")
    return found


def read_check(path: Path) -> CheckOutcome:
    """Read the outcome of a check, as butler/checks.py writes it.

    Raises:
        ButlerError: if the file is missing, is none or was edited.
    """
    found = read_json(path)
    keys = [field.name for field in fields(CheckOutcome)]
    if missing := [key for key in (*keys, SEAL) if key not in found]:
        raise ButlerError(
            f"{path} is no outcome of a check, it lacks {missing[0]}; make it again: "
            f"{rerun_command([str(path)])}"
        )
    if found[SEAL] != seal(found):
        raise _edited(path)
    return CheckOutcome(**{key: found[key] for key in keys})


def check_written(check: Path, *files: Path) -> None:
    """Stop unless files are as the stage left them that wrote them with `check`.

    Raises:
        ButlerError: naming the first that is not, or the check itself.
    """
    if missing := [file for file in files if not file.exists()]:
        raise ButlerError(f"{missing[0]} is missing; run its stage first")
    wrote = read_check(check).wrote
    for file in files:
        if wrote.get(file.name) != sha256_of(file):
            raise _edited(file)


def check_same_folders(checks: Iterable[CheckOutcome], listed: Mapping[str, str]) -> None:
    """Stop unless every check is of the folders that are there now.

    Args:
        checks: outcomes, those of evaluations and measurements among them.
        listed: SHA-256 of the run's files by path.

    Raises:
        ButlerError: naming the check and the folder.
    """
    for check in checks:
        for folder, digest in check.manifests.items():
            if listed.get(f"{folder}/{MANIFEST}", digest) != digest:
                path = f"results/checks/{check.check}.json"
                raise ButlerError(
                    f"{path} is of another {folder} than is there now; make it again: "
                    f"{rerun_command([path])}"
                )


def _check_of(results: Path, name: str) -> Path:
    return results / "checks" / f"{name}.json"


def _edited(path: Path) -> ButlerError:
    return ButlerError(
        f"{path} was changed after its stage wrote it; make it again: {rerun_command([str(path)])}"
    )


def _csv(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    if not path.exists():
        raise ButlerError(f"{path} is missing; run its stage first")
    try:
        table = pd.read_csv(path)
    except ValueError as error:  # empty, ragged, an open quote, not UTF-8
        raise ButlerError(
            f"{path} is not the table it should be ({error}); make it again"
        ) from error
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise ButlerError(f"{path} has no column {', '.join(missing)}")
    return table


def _text(path: Path) -> str:
    if not path.exists():
        raise ButlerError(f"{path} is missing; run its stage first")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ButlerError(f"{path} is not UTF-8 text ({error}); make it again") from error
