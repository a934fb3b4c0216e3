"""Where a table, an array or a packed file breaks, and what of it is kept."""

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from openpyxl import Workbook

from butler.corpus.formats import FORMATS
from butler.corpus.reading import Source
from butler.errors import ButlerError
from test_corpus import distinct, kept, raw_lines
from test_corpus_formats import PAIR
from test_corpus_input import GOOD, build, gz, reasons, zst

HEADINGS = ("问题", "答案")
MARK = b"\xef\xbb\xbf"


def asked(number: int) -> tuple[str, str]:
    return f"第{number}种风寒感冒怎么办？", f"{PAIR[1]}第{number}种还要多休息。"


def csv_lines(*rows: Sequence[str]) -> bytes:
    return "".join(",".join(row) + "\n" for row in rows).encode()


def adds_up(stats: dict[str, Any]) -> bool:
    return stats["kept"] + stats["rejected"] == stats["read"]


def test_skippable_and_empty_frames_are_passed_over(tmp_path: Path) -> None:
    lines = GOOD.splitlines(keepends=True)
    skipped = b"\x50\x2a\x4d\x18" + (5000).to_bytes(4, "little") + b"?" * 5000
    path = tmp_path / "raw.jsonl.zst"
    frames = [skipped, zst(lines[0]), zst(b""), skipped, zst(lines[1])]
    path.write_bytes(b"".join(frames))
    assert build(path, tmp_path / "out")[0]["kept"] == 2


@pytest.mark.parametrize(("suffix", "pack"), [("", bytes), (".gz", gz), (".zst", zst)])
def test_a_byte_order_mark_is_no_part_of_an_array(
    tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / f"raw.json{suffix}"
    path.write_bytes(pack(MARK + b"[" + GOOD.splitlines()[0] + b"]"))
    stats, _ = build(path, tmp_path / "out")
    assert stats["kept"] == stats["read"] == 1


@pytest.mark.parametrize(
    ("name", "content", "format"),
    [("a.json", b"[ ]", "alpaca"), ("a.csv", b"question,answer\n", "qa_table")],
)
def test_a_file_without_entries_is_named(
    tmp_path: Path, name: str, content: bytes, format: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ButlerError, match="the file holds no entry"):
        build(tmp_path / name, tmp_path / "out", format=format)


LONG = ("胃痛怎么办？", f'"{"a" * 1_100_000}"')


@pytest.mark.parametrize(
    ("last", "why"),
    [
        (csv_lines(LONG), "row 9: field larger than field limit"),
        ('胃痛怎么办？,"多喝\n温水\n'.encode(), "row 9: a quote is opened and never closed"),
    ],
)
def test_rows_before_a_fault_of_a_table_are_kept(tmp_path: Path, last: bytes, why: str) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / "a.csv").write_bytes(csv_lines(HEADINGS, *map(asked, range(7))) + last)
    (folder / "b.csv").write_bytes(csv_lines(HEADINGS, asked(8), asked(9)))
    stats, _ = build(folder, tmp_path / "out", format="qa_table")
    assert (stats["read"], stats["kept"]) == (9, 9)
    assert set(stats["damaged"]) == {"a.csv"} and stats["damaged"]["a.csv"].startswith(why)


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gz), (".zst", zst)])
@pytest.mark.parametrize("rest", ["", "胃痛怎么办？,多喝", '胃痛怎么办？,"多喝\n温'])
def test_whole_rows_before_the_end_of_a_cut_table_are_kept(
    tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes], rest: str
) -> None:
    path = tmp_path / f"a.csv{suffix}"
    content = csv_lines(HEADINGS, *map(asked, range(7))) + rest.encode()[: len(rest.encode()) - 1]
    # What follows is cut off: a member's check, or a whole frame but for its beginning.
    path.write_bytes(pack(content)[:-6] if suffix == ".gz" else pack(content) + pack(GOOD)[:9])
    stats, outputs = build(path, tmp_path / "out", format="qa_table")
    assert stats["damaged"] == {path.name: "the packed file breaks off before its end"}
    assert stats["kept"] == stats["read"] == 7
    assert sorted(turn["input"] for turn in kept(outputs)) == [asked(n)[0] for n in range(7)]


def alpaca(number: int) -> dict[str, Any]:
    return dict(zip(("instruction", "output"), asked(number), strict=True))


@pytest.mark.parametrize("rest", [b', {"instruction": "x', b" {}]", b",]", b"", b"] {}"])
def test_a_broken_array_is_named_and_the_other_files_are_read(tmp_path: Path, rest: bytes) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / "a.json").write_bytes(json.dumps([alpaca(0), alpaca(1)]).encode()[:-1] + rest)
    (folder / "b.json").write_bytes(json.dumps([alpaca(2), alpaca(3)]).encode())
    stats, _ = build(folder, tmp_path / "out", format="alpaca")
    assert stats["damaged"]["a.json"].startswith("the JSON array is broken")
    assert (stats["read"], stats["kept"]) == (2, 2)


def test_a_cut_text_is_no_recipe(tmp_path: Path) -> None:
    text = "# 豆腐汤\n\n## 原料\n\n- 豆腐 一块\n- 青菜\n\n## 步骤\n\n"
    text += "1. 豆腐切成小块，青菜洗净切段备用，水开后放入，加盐出锅。\n"
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.md").write_text(text, encoding="utf-8")
    (tmp_path / "raw" / "b.md.gz").write_bytes(gz(text.replace("豆腐", "冬瓜").encode())[:-6])
    stats, _ = build(tmp_path / "raw", tmp_path / "out", format="markdown")
    assert stats["read"] == 1
    assert stats["damaged"] == {"b.md.gz": "the packed file breaks off before its end"}


def test_an_array_may_break_its_lines_after_a_list(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for end in ("\n}", '\n, "x": 1}', "\r\n\n}"):
        first = json.dumps(alpaca(0) | {"tags": ["a"]}).removesuffix("}") + end
        path.write_text(f"[{first},{json.dumps(alpaca(1))}]", encoding="utf-8")
        stats, _ = build(path, tmp_path / "out", format="alpaca")
        assert (stats["read"], stats["kept"], stats["damaged"]) == (2, 2, {})


@pytest.mark.parametrize("first", [b"[1, 2]", b"[broken]"])
def test_a_list_on_the_first_of_many_lines_is_a_line(tmp_path: Path, first: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(first + b"\n" + GOOD)
    stats, outputs = build(path, tmp_path / "out")
    assert [line for _, line, _ in reasons(outputs)] == [1]
    assert stats["kept"] == 6


def workbook(path: Path, sheets: dict[str, list[Sequence[Any]]]) -> None:
    book = Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for number, row in enumerate(rows, 1):
            for column, cell in enumerate(row, 2):
                sheet.cell(number, column, cell)
    stream = io.BytesIO()
    book.save(stream)
    path.write_bytes(stream.getvalue())


def test_all_sheets_are_read_and_lines_are_those_of_the_sheet(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    first = [(), HEADINGS, asked(1), ("胃痛怎么办？", 5)]
    second = [("答案", "来源", "问题"), (asked(2)[1], "书", asked(2)[0]), (7, "书", asked(3)[0])]
    notes = [("说明",), ("来自网络",)]
    workbook(path, {"一": first, "空": [], "二": second, "备注": notes})
    stats, outputs = build(path, tmp_path / "out", format="qa_table")
    assert {turn["input"] for turn in kept(outputs)} == {asked(1)[0], asked(2)[0]}
    assert reasons(outputs) == [
        ("a.xlsx, sheet 一", 4, "wrong_type"),
        ("a.xlsx, sheet 二", 3, "wrong_type"),
    ]
    assert adds_up(stats) and stats["read"] == 4
    assert list(stats["damaged"]) == ["a.xlsx"]
    assert stats["damaged"]["a.xlsx"].startswith("sheet 备注: the first row names no column")


def test_an_only_sheet_needs_no_name(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    workbook(path, {"一": [(), (), HEADINGS, asked(1), (), ("胃痛怎么办？", 5)]})
    stats, outputs = build(path, tmp_path / "out", format="qa_table")
    assert reasons(outputs) == [("a.xlsx", 6, "wrong_type")]
    assert stats["damaged"] == {}


def test_blank_lines_before_the_headings_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"\n,\n" + csv_lines(HEADINGS, asked(1), ("胃痛怎么办？",)))
    _, outputs = build(path, tmp_path / "out", format="qa_table")
    assert reasons(outputs) == [("a.csv", 5, "wrong_type")]


def test_large_arrays_are_read_in_blocks(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    records = raw_lines([distinct(number) for number in range(2_500)]).splitlines()
    path.write_bytes(b"[" + b",\n".join(records) + b"]")
    source = Source(FORMATS["xiachufang"], path, [path])
    assert [block.numbers[0] for block in source.blocks()] == [1, 1001, 2001]
