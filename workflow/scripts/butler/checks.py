"""The checks that stop a run: each leaves a JSON and, if it fails, one sentence.

The JSON also holds what later stages compare: the SHA-256 of the tables that were written with it,
of the manifest of each folder that it is about, and of itself.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from butler.errors import ButlerError
from butler.files import atomic_write_json
from butler.manifest import sha256_of

SEAL = "sha256"  # of all else in a check's JSON


def conclude(
    path: str | os.PathLike[str],
    name: str,
    passed: bool,
    sentence: str,
    measured: Mapping[str, Any],
    limits: Mapping[str, Any],
    wrote: Sequence[Path] = (),
    manifests: Mapping[str, str] | None = None,
) -> None:
    """Write the outcome of check `name` to `path`.

    The JSON is written in both cases, so that a failed check can be read. Snakemake removes the
    outputs of a failed rule; `sentence` reaches the log and the terminal through the exception.

    Args:
        path: of the JSON.
        name: of the check.
        passed: whether the run may go on.
        sentence: what was found.
        measured: figures.
        limits: how much is allowed of them.
        wrote: tables that belong to the outcome, as they are now.
        manifests: SHA-256 of the manifest of each folder that was loaded, as check_unchanged()
            returns it, by the folder's path.

    Raises:
        ButlerError: with `sentence`, if the check did not pass.
    """
    record = {
        "check": name,
        "passed": passed,
        "sentence": sentence,
        "measured": dict(measured),
        "limits": dict(limits),
        "wrote": {file.name: sha256_of(file) for file in wrote},
        "manifests": dict(manifests or {}),
    }
    atomic_write_json(path, record | {SEAL: seal(record)})
    if not passed:
        raise ButlerError(f"check {name}: {sentence}")


def or_infinite(error: float) -> float:
    """Return an error to find the worst by: infinite if it is no number.

    NaN compares false with everything, so that neither max() nor a sort would put it anywhere.
    """
    return error if math.isfinite(error) else math.inf


def seal(record: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a check's JSON, its own seal left out."""
    rest = {key: value for key, value in record.items() if key != SEAL}
    text = json.dumps(rest, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
