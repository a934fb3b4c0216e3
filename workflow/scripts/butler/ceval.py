"""C-Eval: the rows of its tables; its subjects, the category of each and its Chinese name."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

import yaml

from butler.errors import ButlerError

SUBJECTS = Path(__file__).resolve().parents[2] / "report" / "ceval_subjects.yaml"
UNLISTED = "unlisted"


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    """Yield the rows of a C-Eval table (UTF-8, with or without a byte order mark) as texts.

    Raises:
        ButlerError: if it is no such table, lacks one of `columns`, or a row lacks a cell of them.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream)
            names = next(reader, [])
            missing = [name for name in columns if name not in names]
            if missing:
                tests = ": C-Eval publishes no answers of its test split"
                why = tests if "answer" in missing else ""
                raise ButlerError(f"{path} has no column {', '.join(missing)}{why}")
            for cells in reader:
                row = dict(zip(names, cells, strict=False))
                empty = [name for name in columns if name not in row]
                if empty and cells:
                    raise ButlerError(f"{path} line {reader.line_num} has no cell {empty[0]}")
                if cells:
                    yield row
    except UnicodeDecodeError as error:
        raise ButlerError(f"{path} is not UTF-8 ({error.reason}); save it as UTF-8") from error
    except csv.Error as error:
        raise ButlerError(f"{path} is no CSV table: {error}; check its quotes") from error


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
