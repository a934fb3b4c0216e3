"""The checks that stop a run: each leaves a JSON and, if it fails, one sentence."""

import os
from collections.abc import Mapping
from typing import Any

from butler.errors import ButlerError
from butler.files import atomic_write_json


def conclude(
    path: str | os.PathLike[str],
    name: str,
    passed: bool,
    sentence: str,
    measured: Mapping[str, Any],
    limits: Mapping[str, Any],
) -> None:
    """Write the outcome of check `name` to `path`.

    The JSON is written in both cases, so that a failed check can be read. Snakemake removes the
    outputs of a failed rule; `sentence` reaches the log and the terminal through the exception.

    Raises:
        ButlerError: with `sentence`, if the check did not pass.
    """
    record = {
        "check": name,
        "passed": passed,
        "sentence": sentence,
        "measured": dict(measured),
        "limits": dict(limits),
    }
    atomic_write_json(path, record)
    if not passed:
        raise ButlerError(f"check {name}: {sentence}")
