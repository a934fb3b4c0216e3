"""Question-answer tables: CSV (UTF-8 or GB 18030) and Excel, one pair a row below the headings."""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from python_calamine import CalamineError, CalamineWorkbook

from butler.corpus.formats.base import Pair
from butler.corpus.recipe import Rejected
from butler.errors import ButlerError

QUESTION = ("question", "问题", "提问", "input", "instruction", "title", "ask")
ANSWER = ("answer", "答案", "回答", "output", "response", "reply")
MAX_CELL = 1 << 20  # characters
_EXCEL = (".xlsx", ".xls", ".xlsb", ".ods")


def rows(name: str, content: bytes) -> Iterator[tuple[int, Any]]:
    """Row numbers from 1 with a Pair, or a Rejected that says why there is none.

    The first row that is not empty holds the headings. A workbook's sheets follow each other.

    Raises:
        ButlerError: if the table cannot be read; after all rows, if a sheet has no column of
            questions or of answers.
    """
    tables = _excel(name, content) if name.endswith(_EXCEL) else iter([(name, _csv(name, content))])
    without, table = [], ""
    for table, numbered in tables:
        filled = (
            (n, row) for n, row in enumerate(numbered, 1) if any(c not in (None, "") for c in row)
        )
        headings = [str(cell).strip().lower() for cell in next(filled, (0, []))[1]]
        asked, answered = _column(headings, QUESTION), _column(headings, ANSWER)
        if asked is None or answered is None:
            without.append(
                f"{table}: the first row names no column of questions and answers; call them "
                f"question and answer (found: {', '.join(headings)[:120] or 'nothing'})"
            )
            continue
        for number, row in filled:
            yield number, _pair(row, asked, answered)
    if without or not table:
        raise ButlerError(without[0] if without else f"{name}: its sheets hold nothing")


def _column(headings: Sequence[str], names: Sequence[str]) -> int | None:
    return next((headings.index(name) for name in names if name in headings), None)


def _pair(row: Sequence[Any], asked: int, answered: int) -> Any:
    if len(row) <= max(asked, answered):
        return Rejected("wrong_type", f"the row has {len(row)} cells only")
    question, answer = row[asked], row[answered]
    for cell in (question, answer):
        if not isinstance(cell, str):
            return Rejected("wrong_type", f"a cell is a {type(cell).__name__}, not a text")
    return Pair(question, answer)


def _csv(name: str, content: bytes) -> Iterator[Sequence[Any]]:
    text = _decoded(name, content)
    limit = csv.field_size_limit(MAX_CELL)
    try:
        yield from csv.reader(io.StringIO(text, newline=""), strict=False)
    except csv.Error as error:
        raise ButlerError(f"{name}: {error}; check its quotes") from error
    finally:
        csv.field_size_limit(limit)


def _decoded(name: str, content: bytes) -> str:
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise ButlerError(f"{name} is neither UTF-8 nor GB 18030 text; save it as UTF-8")


def _excel(name: str, content: bytes) -> Iterator[tuple[str, Iterator[Sequence[Any]]]]:
    """The sheets that hold something, with their rows from the first."""
    try:
        book = CalamineWorkbook.from_filelike(io.BytesIO(content))
        for sheet in book.sheet_names:
            found = book.get_sheet_by_name(sheet).to_python(skip_empty_area=False)
            if any(cell not in (None, "") for row in found for cell in row):
                yield f"{name}, sheet {sheet}", iter(found)
    except (CalamineError, OSError, ValueError, IndexError) as error:
        raise ButlerError(f"{name} cannot be read as a table: {error}") from error
