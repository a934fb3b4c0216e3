"""Reading what the stages left, for the report; every gap is one sentence.

evaluations.py reads what the models answered.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd

from butler.checks import SEAL, seal
from butler.divergence import ALWAYS
from butler.efficiency.figures import chats_on_card
from butler.efficiency.speed import Speed, Spread
from butler.errors import ButlerError
from butler.json_files import read_object
from butler.manifest import NAME as MANIFEST
from butler.manifest import sha256_of
from butler.rerun import rerun_command

MEMORY_METRICS = ("weight_bytes", "kv_bytes_per_token", "peak_memory_bytes")
CAPACITY_METRICS = {"fixed_memory_bytes", "buffer_bytes_per_chat"}  # of LMDeploy on a GPU


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
    def decode_tokens_per_s(self) -> Spread | None:
        """New tokens per second of one request alone, over the repeats."""
        return None if self.speed is None else self.speed.decode_tokens_per_s

    def memory_bytes(self, tokens: int) -> float:
        """Return weights plus KV cache for `tokens` tokens."""
        return self.values["weight_bytes"] + tokens * self.values["kv_bytes_per_token"]

    def chats(self, cards: Sequence[int], chat_tokens: int) -> dict[int, int]:
        """Return how many chats fit each card of so many GB; nothing if no GPU was measured."""
        if CAPACITY_METRICS - self.values.keys():
            return {}
        return {card: chats_on_card(self.values, card, chat_tokens) for card in cards}


@dataclass(frozen=True)
class Divergence:
    """How far a variant's next token is from the baseline's: butler/divergence.py's figures."""

    values: Mapping[str, float]
    engine: str


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


def read_efficiency(results: Path, variant: str) -> Efficiency:
    """Read `efficiency_{variant}.csv`.

    Raises:
        ButlerError: if the file or a metric is missing or not a number, or was edited.
    """
    path = results / f"efficiency_{variant}.csv"
    check_written(check_of(results, f"efficiency_{variant}"), path)
    table = read_table(path, ("variant", "metric", "value", "unit", "engine", "machine"))
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


def read_divergence(results: Path, variant: str) -> Divergence:
    """Read `divergence_{variant}.csv`.

    Raises:
        ButlerError: if the file or a metric is missing or not a number, or was edited.
    """
    path = results / f"divergence_{variant}.csv"
    check = check_of(results, f"divergence_{variant}")
    check_written(check, path)
    table = read_table(path, ("metric", "value", "unit"))
    found = dict(zip(table["metric"], pd.to_numeric(table["value"], errors="coerce"), strict=True))
    values = {metric: float(value) for metric, value in found.items() if math.isfinite(value)}
    if missing := [metric for metric in ALWAYS if metric not in values]:
        raise ButlerError(f"{path} has no number for {missing[0]}; measure {variant} again")
    return Divergence(values, str(read_check(check).measured["engine"]))


def read_loss(path: Path) -> pd.DataFrame:
    """Read the training log, a CSV with columns step and loss."""
    table = read_table(path, ("step", "loss"))
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
    _check_made(path)
    return read_object(path)


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


def check_same_folders(checks: Iterable[Path], listed: Mapping[str, str]) -> None:
    """Stop unless every check is of the folders that are there now.

    Args:
        checks: files of outcomes, those of evaluations and measurements among them.
        listed: SHA-256 of the run's files by path.

    Raises:
        ButlerError: naming the check and the folder.
    """
    for path in checks:
        for folder, digest in read_check(path).manifests.items():
            if listed.get(f"{folder}/{MANIFEST}", digest) != digest:
                raise ButlerError(
                    f"{path} is of another {folder} than is there now; make it again: "
                    f"{rerun_command([str(path)])}"
                )


def check_of(results: Path, name: str) -> Path:
    """Return where the outcome of a check is."""
    return results / "checks" / f"{name}.json"


def _edited(path: Path) -> ButlerError:
    return ButlerError(
        f"{path} was changed after its stage wrote it; make it again: {rerun_command([str(path)])}"
    )


def read_table(path: Path, columns: Sequence[str], **options: Any) -> pd.DataFrame:
    """Read a CSV; `options` are those of pandas.read_csv.

    Raises:
        ButlerError: if the file or one of the columns is missing, or it is no table.
    """
    _check_made(path)
    try:
        table = pd.read_csv(path, **options)
    except ValueError as error:  # empty, ragged, an open quote, not UTF-8
        raise ButlerError(
            f"{path} is not the table it should be ({error}); make it again"
        ) from error
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise ButlerError(f"{path} has no column {', '.join(missing)}")
    return table


def _check_made(path: Path) -> None:
    if not path.exists():
        raise ButlerError(f"{path} is missing; run its stage first")


def read_text(path: Path) -> str:
    """Read a file of ours.

    Raises:
        ButlerError: if it is missing or not UTF-8.
    """
    _check_made(path)
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ButlerError(f"{path} is not UTF-8 text ({error}); make it again") from error
