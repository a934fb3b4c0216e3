"""Write down, for every artefact of a run, what made it, from which inputs, with which versions.

Follows Snakemake's records from the targets back to what no rule made. Each SHA-256 stands once:
those of the list of hashes are taken over, the others made here. `verify.py` compares.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from butler.artefact_records import Roots, digests, read_records, script_of, trace
from butler.errors import run_cli
from butler.files import atomic_write_json
from butler.manifest import files_of, hashes
from butler.report_sections import run_section as run
from butler.yaml_files import read_yaml

FORMAT = 1


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--targets", nargs="+", required=True, help="the outputs to follow back")
    add("--records", type=Path, default=Path(".snakemake/metadata"), help="Snakemake's")
    add("--hashes", type=Path, required=True, help="SHA-256 of artefacts, as sha256sum has them")
    add("--config", type=Path, required=True, help="YAML of the run's configuration")
    add("--locks", nargs="*", type=Path, default=[], help="lock files of the tools")
    add("--out", type=Path, required=True)
    return parser.parse_args()


def main() -> None:
    """Trace, hash and write."""
    arguments = parse_arguments()
    config = read_yaml(arguments.config)
    roots = Roots.of(Path(), config)
    records = read_records(arguments.records)
    outputs, sources = trace([*arguments.targets, str(arguments.hashes)], records, Path())
    files = {name: files_of(Path(name)) for name in [*outputs, *sources]}
    listed = {Path(one.path): one.sha256 for one in run.read_hashes(arguments.hashes)}
    known = digests("provenance", (one for found in files.values() for one in found), listed)
    artefacts = {
        roots.label(name): artefact(name, records[name], files[name], known, roots)
        for name in outputs
    }
    found = {
        "format": FORMAT,
        "workflow": {"commit": run.commit()},
        "configuration": roots.label(str(arguments.config)),
        # Not the name that remote_code consents to: it may be a path of this machine.
        "base": {
            "revision": config["base"]["revision"],
            "remote_code": bool(config["base"]["remote_code"]),
        },
        "environments": environments(arguments.locks),
        "artefacts": artefacts,
        "sources": {roots.label(name): contents(name, files[name], known) for name in sources},
    }
    atomic_write_json(arguments.out, found)
    print(f"{len(artefacts)} artefacts from {len(sources)} inputs, {len(known)} files")


def artefact(
    name: str, record: dict[str, Any], files: list[Path], known: dict[Path, str], roots: Roots
) -> dict[str, Any]:
    """Return what is told of one output: rule, script, inputs by name, and its files' hashes."""
    script = script_of(record)
    return {
        "rule": record["rule"],
        "script": script and roots.label(script),
        "inputs": [roots.label(path) for path in record["input"]],
        **contents(name, files, known),
    }


def contents(name: str, files: list[Path], known: dict[Path, str]) -> dict[str, Any]:
    """Return the hash of a file, or those of a folder's files by their names in it."""
    path = Path(name)
    if not path.is_dir():
        return {"sha256": known[path]}
    return {"files": {file.relative_to(path).as_posix(): known[file] for file in files}}


def environments(locks: Sequence[Path]) -> list[dict[str, Any]]:
    """Return the versions that each environment has, and the SHA-256 of each of its locks."""
    found: list[dict[str, Any]] = [asdict(one) for one in run.versions(locks)]
    hashed = list(zip(locks, hashes(locks), strict=True))
    for item in found:
        name = item["environment"]
        if own := {k.name: sha for k, sha in hashed if run.environment_of(k) == name}:
            item["lock_sha256"] = own
    return found


if __name__ == "__main__":
    run_cli(main)
