"""What made each artefact of a run, from what: read from Snakemake's records, told without paths of
this machine.

A path is told from the run's folder, or as `ROOT:path` from the repository (`repository:`) or from
a folder or file that the configuration names (`corpus.path:`). No other path can be told.
"""

import json
import os
from base64 import urlsafe_b64decode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from butler.errors import ButlerError
from butler.manifest import hashes_told
from butler.rerun import REPOSITORY, rerun_command
from butler.scenario_folders import STAGE_FOLDER

MADE = ("build/", "results/", "workspaces/", STAGE_FOLDER)  # where a run's own outputs lie
CLOCK = 0.01  # s between a file's time and the record of it; more is a later change


@dataclass(frozen=True)
class Roots:
    """The folders from which paths are told: the run's first, then the named ones."""

    run: Path
    named: Mapping[str, Path]

    @classmethod
    def of(cls, run: Path, config: Mapping[str, Any], repository: Path = REPOSITORY) -> "Roots":
        """Return a run's roots: environments start at the run, other inputs at the repository.

        Raises:
            KeyError, TypeError: if `config` is no whole configuration.
        """
        run = run.resolve()
        named = {
            "repository": repository,
            "environments": run / config["environments"],
            "corpus.path": repository / config["corpus"]["path"],
            "base.model": repository / config["base"]["model"],
        }
        for entry in config["benchmarks"]:
            # Some benchmarks ask what the run itself held out.
            name, path = entry["name"], entry.get("path")
            if path:
                named[f"benchmarks.{name}.path"] = repository / path
        return cls(run, named)

    def label(self, path: str) -> str:
        """Return how a path, absolute or from the run's folder, is told.

        Raises:
            ButlerError: if it is below none of the roots.
        """
        # No symbolic link is followed but the run's own: what is told is what was named.
        full = Path(os.path.normpath(self.run / path))
        for name, root in [("", self.run), *self.named.items()]:
            root = Path(os.path.normpath(root))
            if full.is_relative_to(root):
                rest = full.relative_to(root).as_posix()
                return f"{name}:{rest}" if name else rest
        raise ButlerError(f"{path} is no path of the run, the repository or the configuration")

    def path(self, label: str) -> Path:
        """Return the path that a label tells."""
        name, colon, rest = label.partition(":")
        if colon and name in self.named:
            return self.named[name] / rest if rest != "." else self.named[name]
        return self.run / label


def read_records(folder: Path) -> dict[str, dict[str, Any]]:
    """Return Snakemake's record of each output by its path.

    The file's name is the path in base64, in pieces of `@` folders where it is long (Snakemake
    9.27, snakemake/persistence/file.py).

    Raises:
        ButlerError: if there are none.
    """
    found = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            pieces = [part.removeprefix("@") for part in file.relative_to(folder).parts]
            name = urlsafe_b64decode("".join(pieces)).decode("utf-8")
            found[name] = json.loads(file.read_text(encoding="utf-8"))
    if not found:
        raise ButlerError(f"{folder} holds no records; provenance is read where Snakemake ran")
    return found


def trace(
    targets: Iterable[str], records: Mapping[str, dict[str, Any]], run: Path
) -> tuple[list[str], list[str]]:
    """Return the outputs behind `targets`, themselves among them, and the inputs none of us made.

    Raises:
        ButlerError: if an output has no record, is missing, or was changed after it was made.
    """
    outputs: set[str] = set()
    sources: set[str] = set()
    waiting = list(targets)
    while waiting:
        path = waiting.pop()
        if path in outputs or path in sources:
            continue
        if path in records:
            _as_left(path, records[path], run)
            outputs.add(path)
            waiting += records[path]["input"]
        elif path.startswith(MADE):
            raise ButlerError(
                f"Snakemake has no record of how {path} was made; make it again: "
                f"{rerun_command([path], run)}"
            )
        else:
            sources.add(path)
    return sorted(outputs), sorted(sources)


def _as_left(name: str, record: Mapping[str, Any], run: Path) -> None:
    """Raise ButlerError if an output is gone or, a file, was written to after its rule."""
    path = run / name
    if not path.exists():
        raise ButlerError(f"{name} is missing; run its stage first")
    # A folder's record has the time of Snakemake's mark in it; verify.py compares its files.
    if path.is_file() and path.stat().st_mtime - record["endtime"] > CLOCK:
        raise ButlerError(
            f"{name} was changed after rule {record['rule']} made it; make it again: "
            f"{rerun_command([name], run)}"
        )


def digests(
    stage: str, files: Iterable[Path], known: Mapping[Path, str] | None = None
) -> dict[Path, str]:
    """Return the SHA-256 of each file; hard links of one file are read once, `known` ones never.

    `stage` begins the lines that say how far it is.
    """
    files = list(files)
    identity = {file: (file.stat().st_dev, file.stat().st_ino) for file in files}
    done = {identity[file]: digest for file, digest in (known or {}).items() if file in identity}
    first = {key: file for file, key in identity.items() if key not in done}
    done |= dict(zip(first, hashes_told(stage, list(first.values())), strict=True))
    return {file: done[key] for file, key in identity.items()}


def script_of(record: Mapping[str, Any]) -> str | None:
    """Return which of a rule's inputs its command runs; None for a command of the shell's own."""
    command = record["shellcmd"]
    programs = [path for path in record["input"] if path.endswith(".py") and path in command]
    # A later one is data: XTuner's configuration is a Python file, too.
    return min(programs, key=command.index, default=None)
