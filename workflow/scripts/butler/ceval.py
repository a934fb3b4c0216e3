"""C-Eval's subjects: the category of each and its Chinese name."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path

import yaml

SUBJECTS = Path(__file__).resolve().parents[2] / "report" / "ceval_subjects.yaml"
UNLISTED = "unlisted"


@cache
def _listed() -> dict[str, dict[str, str]]:
    return dict(yaml.safe_load(SUBJECTS.read_text(encoding="utf-8")))


def categories(subjects: Iterable[str]) -> dict[str, list[str]]:
    """Return the subjects by category, in C-Eval's order; those that C-Eval lacks come last."""
    given = list(subjects)
    found = {
        category: [subject for subject in given if subject in members]
        for category, members in _listed().items()
    }
    known = {subject for members in found.values() for subject in members}
    found[UNLISTED] = [subject for subject in given if subject not in known]
    return {category: members for category, members in found.items() if members}


def subject_name(subject: str, language: str) -> str:
    """Return a subject's name for a reader: `高中物理`, or `high school physics`."""
    if language == "zh":
        for members in _listed().values():
            if subject in members:
                return members[subject]
    return subject.replace("_", " ")
