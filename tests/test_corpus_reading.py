"""Files that hide or lose something: what came before is kept, what is lost is named."""

import csv
import gzip
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from openpyxl import Workbook

from butler.errors import ButlerError
from corpus_settings import SCRIPT, stage_options
from test_corpus import conversations, distinct, raw_lines
from test_corpus_formats import ANSWER
from test_corpus_input import GOOD, build, gz, reasons, zst

PAIRS = [(f"{name}菜怎么做？", f"{name}菜洗净，{ANSWER}") for name in "甲乙丙丁戊己庚"]


def table(rows: list[tuple[str, ...]]) -> bytes:
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows([("question", "answer"), *rows])
    return stream.getvalue().encode()


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_packed_line_of_400_mebibytes_is_never_held(tmp_path: Path, suffix: str) -> None:
    lines = GOOD.splitlines(keepends=True)
    path = tmp_path / f"raw.jsonl{suffix}"
    open_packed: Callable[..., Any] = {".gz": gzip.open, ".zst": zstandard.open}[suffix]
    with open_packed(path, "wb") as stream:
        stream.write(b"".join(lines[:2]) + b'{"name":"')
        for _ in range(400):
            stream.write(b"a" * (1 << 20))
        stream.write(b'"}\n' + b"".join(lines[2:]))
    command = [sys.executable, SCRIPT, *stage_options(path, tmp_path / "out", test_size=1)]
    code = (
        "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:]);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, command)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "7 read: 5 to train, 1 to test, 1 rejected {'line_too_long': 1}" in done.stdout
    assert int(done.stdout.splitlines()[-1]) < 300  # MiB


def test_rows_before_a_cell_that_is_too_long_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.csv").write_bytes(table([*PAIRS[:5], ("长", "字" * 1_100_000)]))
    (folder / "b.csv").write_bytes(table(PAIRS[5:]))
    stats, outputs = build(folder, tmp_path / "out", format="qa_table")
    assert (stats["read"], stats["kept"]) == (7, 7)
    assert list(stats["damaged"]) == ["a.csv"]
    assert len(conversations(outputs.train)) == 7


@pytest.mark.parametrize("pack", [gz, zst])
def test_rows_before_a_packed_table_breaks_off_are_kept(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    # The last row is cut and is not taken for an answer.
    rows = table(PAIRS).splitlines(keepends=True)
    content = pack(b"".join(rows[:5])) + pack(b"".join(rows[5:])[:100])
    path = tmp_path / f"a.csv.{pack.__name__}"
    path.write_bytes(content[:-6])
    stats, _ = build(path, tmp_path / "out", format="qa_table")
    assert stats["kept"] == stats["read"] == 4
    assert "breaks off" in stats["damaged"][path.name]


@pytest.mark.parametrize("pack", [gz, zst])
def test_a_byte_order_mark_in_a_packed_file_is_none_of_the_record(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / f"raw.jsonl.{pack.__name__}"
    path.write_bytes(pack(b"\xef\xbb\xbf" + GOOD))
    stats, _ = build(path, tmp_path / "out")
    assert (stats["read"], stats["kept"]) == (6, 6)


def test_all_sheets_are_read_and_rows_have_their_own_numbers(tmp_path: Path) -> None:
    book = Workbook()
    first, second, other = book.active, book.create_sheet("二"), book.create_sheet("三")
    for row in ([], ["question", "answer"], list(PAIRS[0]), ["问", 5]):
        first.append(row)
    for row in (["问题", "答案"], list(PAIRS[1])):
        second.append(row)
    other.append(["说明", "没有列"])
    book.create_sheet("空")
    path = tmp_path / "a.xlsx"
    book.save(path)
    stats, outputs = build(path, tmp_path / "out", format="qa_table")
    assert stats["kept"] == 2
    assert reasons(outputs) == [("a.xlsx, sheet Sheet", 4, "wrong_type")]
    assert "sheet 三: the first row names no column" in stats["damaged"]["a.xlsx"]


def test_an_array_whose_first_line_ends_in_a_bracket_is_one(tmp_path: Path) -> None:
    one, two = (
        json.dumps({"instruction": asked, "output": said, "tags": ["a"]}, ensure_ascii=False)
        for asked, said in PAIRS[:2]
    )
    path = tmp_path / "a.json"
    path.write_text(f"[{one[:-1]}\n}},{two}]", encoding="utf-8")
    stats, _ = build(path, tmp_path / "out", format="alpaca")
    assert stats["kept"] == 2


def test_a_name_that_is_no_text_is_told_in_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "good.csv").write_bytes(table(PAIRS))
    (folder / b"\xff.csv".decode("utf-8", "surrogateescape")).write_bytes(b"a,b\n1,2\n")
    stats, _ = build(folder, tmp_path / "out", format="qa_table")
    assert stats["kept"] == 7 and "names no column" in stats["damaged"]["\\udcff.csv"]


@pytest.mark.parametrize("pack", [gz, zst])
def test_a_packed_file_of_nothing_is_empty(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    name = f"none.jsonl.{pack.__name__}"
    (folder / name).write_bytes(pack(b""))
    with pytest.raises(ButlerError, match="the file is empty"):
        build(folder, tmp_path / "out")
    (folder / "good.jsonl").write_bytes(raw_lines([distinct(1)]))
    stats, _ = build(folder, tmp_path / "out")
    assert stats["damaged"] == {name: "the file is empty"}
