"""Write the SHA-256 of every artefact of a run, in the form that `sha256sum --check` takes.

Every file is read. A folder with a manifest.json must hold just the files that its stage made.
"""

import argparse
from pathlib import Path

from butler.artefact_records import digests
from butler.errors import ButlerError, run_cli
from butler.files import atomic_write_text
from butler.manifest import NAME, compare, files_of


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("paths", nargs="+", type=Path, help="files and folders")
    return parser.parse_args()


def main() -> None:
    """Hash all files, compare them with the manifests and write the list, sorted by path."""
    arguments = parse_arguments()
    files: dict[Path, list[Path]] = {}
    for path in arguments.paths:
        if not path.exists():
            raise ButlerError(f"{path} is missing; run its stage first")
        files[path] = files_of(path)
    found = digests("hashes", (file for own in files.values() for file in own))
    for path, own in files.items():
        if (path / NAME).is_file():
            compare(path, {file: found[file] for file in own})
    lines = [f"{found[path]}  {path.as_posix()}\n" for path in sorted(found)]
    atomic_write_text(arguments.out, "".join(lines))
    print(f"{len(lines)} files")


if __name__ == "__main__":
    run_cli(main)
