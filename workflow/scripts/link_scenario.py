"""Show what the stages of a scenario made as a run's folder, by symbolic links.

Links may lead to what is still to be made. Snakemake knows none of them.
"""

import argparse
import os
from pathlib import Path

from butler.errors import run_cli
from butler.files import atomic_write_text
from butler.scenario_folders import STAGE_FOLDER


def main() -> None:
    """Take away the old links, then put the new ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="of the scenario")
    parser.add_argument("--made", nargs="+", required=True, help="what its stages make")
    parser.add_argument("--out", type=Path, required=True, help="what is shown, a line each")
    arguments = parser.parse_args()
    for old in [path for path in arguments.folder.rglob("*") if path.is_symlink()]:
        old.unlink()
    for made in arguments.made:
        _, _, in_stage = made.partition(STAGE_FOLDER)
        link = arguments.folder / in_stage.split("/", 1)[1]
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(made, link.parent))
    atomic_write_text(arguments.out, "".join(f"{made}\n" for made in arguments.made))


if __name__ == "__main__":
    run_cli(main)
