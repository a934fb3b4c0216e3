"""Settings of the corpus stage as its tests want them: everything that could be kept, is."""

import json
from pathlib import Path
from typing import Any

from butler.settings.corpus_stage import CorpusSettings

SCRIPT = Path(__file__).parents[1] / "workflow" / "scripts" / "corpus.py"
KEEP_ALL = {
    "system": "你是厨师",
    "max_chars": 1500,
    "near_duplicates": {"threshold": 0.0},
    "decontaminate": {"share": 0.0},
}


def corpus_settings(
    test_size: int = 2, forms: dict[str, float] | None = None, **changes: Any
) -> CorpusSettings:
    """Settings that differ from KEEP_ALL by `changes`, `forms` being the forms of a question.

    With a `test_size` of 0, which no configuration may have, all that is kept is in train.
    """
    recipes = {"min_steps": 1} | ({"question_forms": forms} if forms else {})
    made = CorpusSettings.check(KEEP_ALL | {"recipes": recipes} | changes)
    return made.model_copy(update={"test_size": test_size})


def stage_options(source: Path, out: Path, *more: str, **changes: Any) -> list[str]:
    """What corpus.py is given: its input, its outputs in `out`, settings by `changes`, and more."""
    given = json.dumps(KEEP_ALL | changes)
    options = ["--input", str(source), "--seed", "7", "--settings", given, *more]
    for name in ("train", "test", "rejected", "stats"):
        options += [f"--{name}", str(out / name)]
    return options
