"""Questions with reference answers from a file of the user's: JSON lines, or a table."""

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from butler.errors import ButlerError

FORMS = (
    '{"question": …, "answer": …}, {"system": …, "input": …, "output": …} or {"conversation": [it]}'
)
TABLE = ".csv"
HALF = re.compile("[\ud800-\udfff]")  # of a pair, which JSON may name and no file can hold


@dataclass(frozen=True)
class QuestionRecord:
    """A question as it stands in a file; `where` names the file and the line."""

    where: str
    system: str
    question: str
    answer: str


def read_questions(path: Path) -> Iterator[QuestionRecord]:
    """Yield the questions of a CSV table with columns question and answer, or of JSON lines.

    Of a conversation of several turns the first is asked.

    Raises:
        ButlerError: one sentence that names the file and the line.
    """
    read = _table if path.suffix.lower() == TABLE else _lines
    try:
        for where, system, question, answer in read(path):
            for name, text in (("question", question), ("answer", answer)):
                if not text.strip():
                    raise ButlerError(f"{where}: the {name} is empty")
            if half := HALF.search(system + question + answer):
                raise ButlerError(
                    f"{where} holds half a character (\\u{ord(half[0]):x}); mend or remove it"
                )
            yield QuestionRecord(where, system, question, answer)
    except UnicodeDecodeError as error:
        raise ButlerError(f"{path} is not UTF-8 ({error.reason}); save it as UTF-8") from error


def _table(path: Path) -> Iterator[tuple[str, str, str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            missing = [
                name for name in ("question", "answer") if name not in (reader.fieldnames or ())
            ]
            if missing:
                raise ButlerError(f"{path} has no column {' and no column '.join(missing)}")
            for row in reader:
                where = f"{path} line {reader.line_num}"
                yield where, row.get("system") or "", row["question"] or "", row["answer"] or ""
    except csv.Error as error:
        raise ButlerError(f"{path} is no CSV table: {error}; check its quotes") from error


def _lines(path: Path) -> Iterator[tuple[str, str, str, str]]:
    with path.open(encoding="utf-8-sig") as stream:
        for number, line in enumerate(stream, start=1):
            where = f"{path} line {number}"
            if line.strip():
                yield where, *_of_line(line, where)


def _of_line(line: str, where: str) -> tuple[str, str, str]:
    """Return system prompt, question and answer of a JSON object."""
    try:
        record: Any = json.loads(line)
        if "conversation" in record:
            record = record["conversation"][0]
        if "instruction" in record:  # whose input, if any, is half of a question
            raise LookupError("an instruction, as Alpaca's files have it")
        names = ("question", "answer") if "question" in record else ("input", "output")
        texts = (record.get("system") or "", *(record[name] for name in names))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        why = f"{type(error).__name__}: {error}"[:200]
        raise ButlerError(
            f"{where} is no question with an answer ({why}); write {FORMS}"
        ) from error
    if not all(isinstance(text, str) for text in texts):
        raise ButlerError(f"{where}: the question and the answer must be texts")
    return texts
