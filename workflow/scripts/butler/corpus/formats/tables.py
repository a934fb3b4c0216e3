"""Question-answer tables: CSV (UTF-8 or GB 18030) and Excel, one pair a row below the headings."""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from python_calamine import CalamineError, CalamineWorkbook, SheetTypeEnum

from butler.corpus.records import Pair, Rejected
from butler.errors import ButlerError

QUESTION = ("question", "问题", "提问", "input", "instruction", "title", "ask")
ANSWER = ("answer", "答案", "回答", "output", "response", "reply")
MAX_CELL = 1 << 20  # characters
EXCEL = (".xlsx", ".xls", ".xlsb", ".ods")
_WORKSHEET = SheetTypeEnum.WorkSheet  # the others are charts and programs
Rows = Iterator[Sequence[Any]]


def tables(suffix: str, content: bytes, cut: bool) -> Iterator[tuple[str, Rows]]:
    """The tables in a file, with the names of their sheets if there are several.

    Args:
        suffix: tells the file's kind.
        cut: whether the file breaks off, so that its last row may not be whole.

    Raises:
        ButlerError: if the file cannot be read as a table.
    """
    if suffix not in EXCEL:
        yield "", _csv(content, cut)
        return
    try:
        book = CalamineWorkbook.from_filelike(io.BytesIO(content))
    except (CalamineError, OSError, ValueError) as error:
        raise ButlerError(f"the file cannot be read as a table: {error}") from error
    names = [sheet.name for sheet in book.sheets_metadata if sheet.typ == _WORKSHEET]
    for name in names:
        yield (name if len(names) > 1 else ""), _sheet(book, name)


def asked_rows(table: Rows) -> Iterator[tuple[int, list[Any]]]:
    """Row numbers from 1 with the cells of question and answer, fewer where the row is short.

    The headings are the first row that is not blank.

    Raises:
        ButlerError: if the table breaks off, or has no column of questions or answers.
    """
    numbered = ((number, row) for number, row in enumerate(table, 1) if any(map(_filled, row)))
    first = next(numbered, None)
    if first is None:
        return
    headings = [str(cell).strip().lower() for cell in first[1]]
    asked, answered = _column(headings, QUESTION), _column(headings, ANSWER)
    if asked is None or answered is None:
        raise ButlerError(
            "the first row names no column of questions and answers; call them question and "
            f"answer (found: {', '.join(headings)[:120]})"
        )
    for number, row in numbered:
        yield number, [row[at] for at in (asked, answered) if at < len(row)]


def pair(cells: list[Any]) -> Pair:
    """The pair in the two cells of a row.

    Raises:
        Rejected: wrong_type.
    """
    if len(cells) < 2:
        raise Rejected("wrong_type", "the row has too few cells")
    for cell in cells:
        if not isinstance(cell, str):
            raise Rejected("wrong_type", f"a cell is a {type(cell).__name__}, not a text")
    return Pair(*cells)


def _filled(cell: Any) -> bool:
    return cell not in (None, "")


def _column(headings: Sequence[str], names: Sequence[str]) -> int | None:
    return next((headings.index(name) for name in names if name in headings), None)


def _sheet(book: CalamineWorkbook, name: str) -> Rows:
    try:
        yield from book.get_sheet_by_name(name).iter_rows()
    except (CalamineError, OSError, ValueError) as error:
        raise ButlerError(f"cannot be read as a table: {error}") from error


def _csv(content: bytes, cut: bool) -> Rows:
    if cut:
        content = content[: max(content.rfind(b"\n"), content.rfind(b"\r")) + 1]
    lines = _Lines(_decoded(content))
    limit, count = csv.field_size_limit(MAX_CELL), 0
    try:
        for row in csv.reader(lines, strict=False):
            if lines.ended and cut:
                return
            if lines.ended:
                raise csv.Error("a quote is opened and never closed")
            yield row
            count += 1
    except csv.Error as error:
        raise ButlerError(f"row {count + 1}: {error}; check its quotes") from error
    finally:
        csv.field_size_limit(limit)


class _Lines:
    """The lines of a text; once `ended`, a reader has looked for more of its row than there is."""

    def __init__(self, text: str) -> None:
        self._lines = io.StringIO(text, newline="")
        self.ended = False

    def __iter__(self) -> Iterator[str]:
        yield from self._lines
        self.ended = True


def _decoded(content: bytes) -> str:
    for encoding in ("utf-8", "gb18030"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise ButlerError("the file is neither UTF-8 nor GB 18030 text; save it as UTF-8")
