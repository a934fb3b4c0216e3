"""What the files of a benchmark ask: texts that must not be trained on, the answers left out.

Reads whatever the folder of a data set holds, by the content of its files: tables with headings
(C-Eval, CMMLU) and without (MMLU), JSON objects, arrays and lines (GSM8K, BBH, GaokaoBench,
HumanEval), and plain text. A row or an object is one text, made of all its strings but those of
fields whose name says that they hold the answer, and but numbers and single letters, which may be
one. So a changed answer leaves the texts as they are, and a changed question does not.
"""

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from butler.corpus.unpack import PACKED, suffix_of, whole
from butler.errors import ButlerError

MAX_CELL = 1 << 24  # characters
# Names of fields without case, spaces and marks. What checks an answer (HumanEval's `test`) tells
# it, and a label, a target or a reference is one.
_ANSWER = re.compile(
    r"(?:.*(?:answers?|solutions?|labels?|explanations?|rationales?|analysis|responses?|outputs?"
    r"|completions?|答案|回答|解析|解答|解释|标签)|(?:answer|gold|correct).*"
    r"|cot.*|targets?|targetscores|references?|chosen|rejected|tests?|testlist|challengetestlist"
    r"|testsetupcode)"
)
_QUESTION = re.compile(
    r"questions?|prompts?|query|queries|problems?|inputs?|instructions?|stem|turns"
    r"|问题|提问|题目|题干"
)
_INSTRUCTION = "system"  # what stands before every question is none, and would hide a short one
# Of a table without a question by that name: an option may be called like other words for answers.
_ANSWER_HEADINGS = frozenset(
    ("answer", "answers", "label", "labels", "target", "output", "response", "答案", "回答", "标签")
)
_MARKS = re.compile(r"[\W_]+")
_OPTION = re.compile("[A-Z]|option[a-z0-9]", re.IGNORECASE)
_NO_QUESTION = re.compile(r"\s*(?:[A-Za-z]|[-+]?[\d.,]+)?\s*")  # a number, a letter, or nothing
_HEADING_LENGTH = 40  # characters; a question is longer, or stands beside others as long
_LINES = (".jsonl", ".ndjson")
_DELIMITERS = {".csv": ",", ".tsv": "\t"}


@dataclass
class ProtectedTexts:
    """`texts` are (name, text), named by file and row; `unread` says why a file was not read."""

    texts: list[tuple[str, str]] = field(default_factory=list)
    unread: dict[str, str] = field(default_factory=dict)


def question_digest(paths: Iterable[Path]) -> str:
    """Return a digest of what is asked, in whatever order, and of which files cannot be read.

    It stays when answers change, or when files are touched.

    Raises:
        ButlerError: as read_protected() does.
    """
    found = read_protected(paths)
    texts = sorted({text for _, text in found.texts})
    names = sorted(Path(path).name for path in found.unread)
    return hashlib.sha256(json.dumps([texts, names]).encode()).hexdigest()


def read_protected(paths: Iterable[Path]) -> ProtectedTexts:
    """Return what the files and folders ask, and which files could not be read.

    Raises:
        ButlerError: if a path is not there, or a table or JSON file is broken.
    """
    found = ProtectedTexts()
    for path in _files(paths):
        content, broken = _content(path)
        text = _decoded(content)
        if broken or text is None:
            found.unread[_utf8(str(path))] = broken or "neither a table, nor JSON, nor text"
            continue
        name = Path(path.stem).stem if path.suffix in PACKED else path.stem
        for number, (own, asked) in enumerate(_asked(path, text), 1):
            found.texts.append((_utf8(f"{name} {own or number}"), _utf8(asked)))
    return found


def _utf8(text: str) -> str:
    """Return a text that can be written: JSON may hold half a character, a file's name any byte."""
    return text.encode("utf-8", "backslashreplace").decode()


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            for file in sorted(path.rglob("*")):
                below = file.relative_to(path).parts
                if file.is_file() and not any(part.startswith(".") for part in below):
                    yield file
        elif path.is_file():
            yield path
        else:
            raise ButlerError(f"{path}: no such file or folder of a benchmark's questions")


def _content(path: Path) -> tuple[bytes, str]:
    """Return a file's content, unpacked, and what is wrong with it ("" if nothing)."""
    if not path.stat().st_size:
        return b"", ""
    try:
        return whole(path)
    except ButlerError as error:
        return b"", str(error)


def _decoded(content: bytes) -> str | None:
    """Return a file's text, None where it is none."""
    if b"\0" in content:
        return None
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    return None


Asked = Iterator[tuple[str | None, str]]  # its own number, if the file gives one, and the text


def _asked(path: Path, text: str) -> Asked:
    suffix = suffix_of(path).lower()
    if suffix in _DELIMITERS:
        return _table(path, text, _DELIMITERS[suffix])
    if suffix in _LINES:
        return _json_lines(path, text)
    if suffix == ".json":
        return _json(path, text)
    return ((None, line) for line in map(str.strip, text.splitlines()) if not _is_no_question(line))


def _table(path: Path, text: str, delimiter: str) -> Asked:
    first = text.lstrip("\n").partition("\n")[0]
    if "\t" in first:
        delimiter = "\t"  # as of NQ's and TriviaQA's tables, whatever their files are called
    limit = csv.field_size_limit(MAX_CELL)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        rows = [row for row in reader if any(row)]
    except csv.Error as error:
        raise ButlerError(
            f"{path} line {reader.line_num} is no row of a table: {error}; check its quotes"
        ) from error
    finally:
        csv.field_size_limit(limit)
    if not rows:
        return iter(())
    keys = [_key(cell) for cell in rows[0]]
    if not _are_headings(rows[0], keys):
        whole_rows = ((None, _joined(row)) for row in rows)
        return (pair for pair in whole_rows if pair[1])
    options = [bool(_OPTION.fullmatch(cell.strip())) for cell in rows[0]]
    told = [at for at, name in enumerate(rows[0]) if not _is_answer(name)]
    number = keys.index("id") if "id" in keys else None
    return _rows(rows[1:], told, options, number)


def _are_headings(row: Sequence[str], keys: Sequence[str]) -> bool:
    """Whether the first row of a table names its columns, one of them a question or an answer."""
    known = any(_QUESTION.fullmatch(key) or key in _ANSWER_HEADINGS for key in keys)
    named = [cell for cell in row if cell]
    return known and max(map(len, row)) <= _HEADING_LENGTH and len(set(named)) == len(named)


def _rows(
    rows: Sequence[Sequence[str]], told: Sequence[int], options: Sequence[bool], number: int | None
) -> Asked:
    for row in rows:
        # An option may be a number; elsewhere a number is no question.
        cells = [
            row[at]
            for at in told
            if at < len(row) and (options[at] or not _is_no_question(row[at]))
        ]
        own = row[number] if number is not None and number < len(row) else None
        if not all(map(_is_no_question, cells)):
            yield own, "\n".join(cells)


def _json(path: Path, text: str) -> Asked:
    try:
        value = json.loads(text, parse_int=_integer) if text.strip() else []
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            return _json_lines(path, text)
        raise ButlerError(f"{path} is no JSON: {error}") from error
    except RecursionError:
        raise ButlerError(f"{path} is nested too deep to be read") from None
    return _texts_of(value)


def _integer(digits: str) -> int | str:
    """Return a number that can be an id; Python makes no integer of thousands of digits."""
    return int(digits) if len(digits) < 20 else digits


def _json_lines(path: Path, text: str) -> Asked:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line, parse_int=_integer)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ButlerError(f"{path} line {number} is no JSON: {error}") from error
        yield from _texts_of(value)


def _texts_of(value: Any) -> Asked:
    """Yield the texts of a JSON value: of a list each value's, of an object its own strings'.

    An object within it is part of its text, unless it asks itself: the questions on a passage.
    """
    if isinstance(value, list):
        for one in value:
            yield from _texts_of(one)
    elif isinstance(value, Mapping):
        told = {name: held for name, held in value.items() if not _is_answer(name)}
        within = [name for name, held in told.items() if _asks_itself(name, held)]
        parts = [
            text
            for name in told
            if name not in within
            for text in _strings(told[name])
            if _OPTION.fullmatch(name) or not _is_no_question(text)
        ]
        if not all(map(_is_no_question, parts)):
            yield _own_number(value), "\n".join(parts)
        for name in within:
            yield from _texts_of(told[name])
    elif isinstance(value, str) and not _is_no_question(value):
        yield None, value


def _is_answer(name: str) -> bool:
    """Whether a field holds no question: the answer, its number, or what is said before it."""
    key = _key(name)
    return key in ("id", "taskid", _INSTRUCTION) or _ANSWER.fullmatch(key) is not None


def _own_number(value: Mapping[str, Any]) -> str | None:
    own = value.get("id", value.get("task_id"))
    return str(own) if isinstance(own, str | int) else None


def _asks_itself(name: str, held: Any) -> bool:
    """Whether what an object holds are texts of their own: questions on it, or many in a list."""
    question = _QUESTION.fullmatch(_key(name)) is not None
    if isinstance(held, list):
        return _asks(held) or question and all(isinstance(one, str) for one in held)
    return not question and _asks(held)


def _asks(value: Any) -> bool:
    """Whether a JSON value holds an object with a question, at whatever depth."""
    if isinstance(value, list):
        return any(map(_asks, value))
    if not isinstance(value, Mapping):
        return False
    return any(
        isinstance(held, str) and _QUESTION.fullmatch(_key(name)) or _asks(held)
        for name, held in value.items()
    )


def _strings(value: Any) -> list[str]:
    """Return all strings of a JSON value but those of answers."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [text for one in value for text in _strings(one)]
    if isinstance(value, Mapping):
        told = (held for name, held in value.items() if not _is_answer(name))
        return [text for held in told for text in _strings(held)]
    return []


def _joined(parts: Iterable[str]) -> str:
    return "\n".join(part for part in parts if not _is_no_question(part))


def _is_no_question(text: str) -> bool:
    return _NO_QUESTION.fullmatch(text) is not None


def _key(name: str) -> str:
    return _MARKS.sub("", name.casefold())
