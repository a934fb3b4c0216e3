"""Compare a run's artefacts with results/provenance.json: name what changed, is missing or extra.

Each file is read anew. Exit code 0 and one line if all are as they were made, else 1 and a line for
each that is not.
"""

import argparse
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from butler.artefact_records import Roots, digests
from butler.errors import ButlerError, run_cli
from butler.manifest import files_of
from butler.rerun import KEPT_CONFIG, rerun_command
from butler.scenario_folders import run_of
from butler.yaml_files import read_yaml


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("provenance", type=Path, help="results/provenance.json of a run")
    add("only", nargs="*", help="artefacts or folders to compare, such as workspaces; default all")
    add("--inputs", action="store_true", help="compare what the run read, too: data, code, locks")
    return parser.parse_args()


def main() -> None:
    """Compare; every difference is a line."""
    arguments = parse_arguments()
    found = read(arguments.provenance)
    # It lies in results/ of the run's folder, wherever that is now.
    run = run_of(arguments.provenance)
    entries = selected(found, arguments.only, arguments.inputs)
    # The run's own files need no configuration to be found, and it may be what was damaged.
    roots = roots_of(run, found) if arguments.inputs else Roots(run, {})
    expected = {label: dict(files_in(roots.path(label), entry)) for label, entry in entries.items()}
    there = digests("verify", (path for own in expected.values() for path in own if path.is_file()))
    faults = {label: faults_of(roots.path(label), expected[label], there, run) for label in entries}
    lines = [line for own in faults.values() for line in own]
    print("".join(f"{line}\n" for line in lines), end="")
    if lines:
        told = f"{len(lines)} files are not as the run left them"
        raise ButlerError(
            f"{told}; {_way_out(own(label for label in faults if faults[label]), run)}"
        )
    files = sum(map(len, expected.values()))
    print(f"all {files} files of {len(entries)} artefacts are as they were made")


def own(labels: Iterable[str]) -> list[str]:
    """Return the labels that tell a path in the run's folder: other roots are named before it."""
    return [label for label in labels if ":" not in label]


def _way_out(damaged: list[str], run: Path) -> str:
    """Return what to do about damaged artefacts of the run."""
    there = "get them from where the run was made"
    if not damaged:
        return there
    if KEPT_CONFIG in damaged:
        return f"{there}, or give the command of the run again: {KEPT_CONFIG} no longer tells it"
    return f"{there}, or make them again: {rerun_command(damaged, run)}"


def read(path: Path) -> dict[str, Any]:
    """Return the provenance.

    Raises:
        ButlerError: if the file is not one.
    """
    if not path.is_file():
        raise ButlerError(f"{path} is missing; a run makes it last of all: give its command again")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        entries = [*found["artefacts"].values(), *found["sources"].values()]
        Path(found["configuration"])
        if not all("sha256" in entry or "files" in entry for entry in entries):
            raise KeyError("sha256")
    except (ValueError, KeyError, AttributeError, TypeError):
        raise ButlerError(
            f"{path} is not a provenance.json of this workflow; make it again"
        ) from None
    return found


def selected(found: dict[str, Any], only: list[str], inputs: bool) -> dict[str, Any]:
    """Return the entries to compare.

    Raises:
        ButlerError: if a wanted one is not on record.
    """
    entries = found["artefacts"] | found["sources"]
    if not inputs:
        # Environments elsewhere are inputs, too, also where the run itself built them.
        entries = {label: found["artefacts"][label] for label in own(found["artefacts"])}
    if not only:
        return entries
    chosen: dict[str, Any] = {}
    for wanted in map(os.path.normpath, only):
        hits = {k: v for k, v in entries.items() if k == wanted or k.startswith(f"{wanted}/")}
        if not hits:
            raise ButlerError(f"nothing on record is {wanted} or lies in it; name an artefact")
        chosen |= hits
    return chosen


def roots_of(run: Path, found: dict[str, Any]) -> Roots:
    """Return from where the paths are told, by the run's own configuration.

    Raises:
        ButlerError: if that is missing or damaged.
    """
    path = run / found["configuration"]
    if not path.is_file():
        raise ButlerError(f"{path} is missing; it says where the inputs are")
    try:
        return Roots.of(run, read_yaml(path))
    except (KeyError, TypeError):
        raise ButlerError(f"{path} was changed: it does not say where the inputs are") from None


def files_in(path: Path, entry: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    """Yield each file of an artefact and its SHA-256."""
    if "files" in entry:
        yield from ((path / name, digest) for name, digest in entry["files"].items())
    else:
        yield path, entry["sha256"]


def faults_of(
    artefact: Path, expected: dict[Path, str], there: dict[Path, str], run: Path
) -> list[str]:
    """Return what is wrong with an artefact's files: changed, missing, or put there by no rule."""
    lines = [line for path, digest in expected.items() if (line := fault(path, digest, there, run))]
    extra = [file for file in files_of(artefact) if file not in expected]
    return lines + [f"{told(file, run)} is an extra file: no rule put it there" for file in extra]


def fault(path: Path, digest: str, there: dict[Path, str], run: Path) -> str | None:
    """Return what is wrong with a file, or None."""
    if path not in there:
        return f"{told(path, run)} is missing"
    return None if there[path] == digest else f"{told(path, run)} was changed: its hash is another"


def told(path: Path, run: Path) -> str:
    """Return a path from the run's folder, if it is in it."""
    return path.relative_to(run).as_posix() if path.is_relative_to(run) else str(path)


if __name__ == "__main__":
    run_cli(main)
