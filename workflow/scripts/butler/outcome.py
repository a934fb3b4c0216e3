"""What to tell of a run that is done: what it decided, and where more is to be read."""

import json
from collections.abc import Collection
from pathlib import Path

from butler.scenario_folders import FOLDER

# Of all scenarios, or of a run without: beside it lies the report.
DECISIONS = (f"{FOLDER}/decision.json", "results/decision.json")


def outcome(made: Collection[str], run: Path = Path()) -> str:
    """Return what a run decided, "" if it did not come to that.

    Args:
        made: the files that it made, from its folder.
        run: that folder.
    """
    for name in DECISIONS:
        if name in made:
            decision = json.loads((run / name).read_text(encoding="utf-8"))
            return f"{decision['sentence']}\nWhy: {Path(name).with_name('report.html')}"
    return ""
