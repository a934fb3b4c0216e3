"""Write the SHA-256 of every artefact of a run, in the form that `sha256sum --check` takes.

A folder with a manifest.json is read from it: the stage that made the folder hashed its files.
"""

import argparse
import json
from pathlib import Path

from butler.artefact_records import files_of
from butler.errors import ButlerError, run_cli
from butler.files import atomic_write_text
from butler.manifest import NAME, hashes


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("paths", nargs="+", type=Path, help="files and folders")
    return parser.parse_args()


def main() -> None:
    """Hash what has no hash yet and write the list, sorted by path."""
    arguments = parse_arguments()
    known: dict[Path, str] = {}
    unknown: list[Path] = []
    for path in arguments.paths:
        if not path.exists():
            raise ButlerError(f"{path} is missing; run its stage first")
        if (path / NAME).is_file():
            entries = json.loads((path / NAME).read_text(encoding="utf-8"))
            known |= {path / name: entry["sha256"] for name, entry in entries.items()}
            unknown.append(path / NAME)
        else:
            unknown += files_of(path)
    known |= dict(zip(unknown, hashes(unknown), strict=True))
    lines = [f"{known[path]}  {path.as_posix()}\n" for path in sorted(known)]
    atomic_write_text(arguments.out, "".join(lines))
    print(f"{len(lines)} files, {len(unknown)} of them hashed now")


if __name__ == "__main__":
    run_cli(main)
