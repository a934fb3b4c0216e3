"""Whatever the input is: formats, packed files, folders; what is bad is named, the rest kept."""

import csv
import gzip
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import zstandard
from openpyxl import Workbook

from butler.corpus import reading, worker
from butler.corpus.formats import FORMATS
from butler.corpus.stage import Outputs, build_corpus
from butler.errors import ButlerError
from corpus_settings import SCRIPT, corpus_settings, stage_options
from test_corpus import conversations, distinct, json_lines, kept, raw_lines

GOOD = raw_lines([distinct(number) for number in range(6)])
ANSWER = "感冒时多喝温水，注意休息，饮食清淡，可以喝姜汤发汗驱寒。"
PAIR = ("风寒感冒怎么办？", ANSWER)


def build(
    path: Path, out: Path, test_size: int = 0, processes: int = 1, **changes: Any
) -> tuple[dict[str, Any], Outputs]:
    names = ("train.jsonl", "test.jsonl", "rejected.jsonl", "stats.json")
    outputs = Outputs(*(out / name for name in names))
    settings = corpus_settings(test_size, **changes)
    return build_corpus(path, outputs, settings, 7, processes=processes), outputs


def reasons(outputs: Outputs) -> list[tuple[str, int, str]]:
    found = json_lines(outputs.rejected)
    return [(entry["file"], entry["line"], entry["reason"]) for entry in found]


def gz(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


def zst(content: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(content)


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gz), (".zst", zst)])
def test_packed_files_read_as_plain_ones(
    tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes]
) -> None:
    lines = GOOD.splitlines(keepends=True)
    (tmp_path / "a.jsonl").write_bytes(GOOD)
    packed = tmp_path / f"b.jsonl{suffix}"
    packed.write_bytes(pack(b"".join(lines[:2])) + pack(b"".join(lines[2:])))
    plain = build(tmp_path / "a.jsonl", tmp_path / "plain")[1]
    same = build(packed, tmp_path / "packed")[1]
    assert same.train.read_bytes() == plain.train.read_bytes()


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gz), (".zst", zst)])
def test_a_packed_file_that_breaks_off_is_named_and_its_beginning_kept(
    tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes]
) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    whole = pack(b"".join(raw_lines([distinct(n)]) + b" " * 900 * n for n in range(10, 400)))
    (folder / f"cut.jsonl{suffix}").write_bytes(pack(GOOD) + whole[: len(whole) // 2])
    (folder / f"none.jsonl{suffix}").write_bytes(b"this is not packed")
    stats, outputs = build(folder, tmp_path / "out")
    assert set(stats["damaged"]) == {f"cut.jsonl{suffix}", f"none.jsonl{suffix}"}
    assert "breaks off" in stats["damaged"][f"cut.jsonl{suffix}"]
    assert stats["kept"] >= 6
    assert stats["kept"] + stats["rejected"] == stats["read"]


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    folder = tmp_path / "资料 夹[1]%s"
    (folder / "子 目录").mkdir(parents=True)
    lines = GOOD.splitlines(keepends=True)
    (folder / "b'\" $x.jsonl").write_bytes(b"\xef\xbb\xbf" + lines[0] + b"broken\n")
    (folder / "子 目录" / "a.jsonl").write_bytes(lines[1].replace(b"\n", b"\r\n") + lines[2])
    (folder / "empty.jsonl").write_bytes(b"")
    (folder / "notes.txt").write_bytes(b"not a corpus")
    stats, outputs = build(folder, tmp_path / "out")
    assert (stats["read"], stats["kept"]) == (4, 3)
    assert reasons(outputs) == [("b'\" $x.jsonl", 2, "broken_json")]
    assert stats["damaged"] == {"empty.jsonl": "the file is empty"}


def test_a_line_of_100_mb_is_named(tmp_path: Path) -> None:
    lines = GOOD.splitlines(keepends=True)
    path = tmp_path / "raw.jsonl"
    with path.open("wb") as stream:
        stream.write(lines[0] + b'{"name": "')
        for _ in range(100):
            stream.write(b"x" * (1 << 20))
        stream.write(b'"}\n' + lines[1])
    stats, outputs = build(path, tmp_path / "out")
    assert reasons(outputs) == [("raw.jsonl", 2, "line_too_long")]
    assert (stats["read"], stats["kept"]) == (3, 2)
    packed = tmp_path / "raw.jsonl.gz"
    packed.write_bytes(gz(lines[0] + b"x" * (5 << 20) + b"\n" + lines[1]))
    _, outputs = build(packed, tmp_path / "again")
    assert reasons(outputs) == [("raw.jsonl.gz", 2, "line_too_long")]


@pytest.mark.parametrize("chunk", [64, 500, 1 << 21])
def test_lines_are_numbered_alike_however_the_file_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    path = tmp_path / "raw.jsonl"
    path.write_bytes(b"x\n" + GOOD + b"\n\nlast")
    monkeypatch.setattr(reading, "BLOCK_BYTES", chunk)
    stats, outputs = build(path, tmp_path / "out")
    assert [line for _, line, _ in reasons(outputs)] == [1, 8, 9, 10]
    assert stats["read"] == 10


def test_colons_and_quotes_in_texts_are_no_keys(tmp_path: Path) -> None:
    record = distinct(1) | {"description": '他说":好吃" : 吗'}
    (tmp_path / "raw.jsonl").write_bytes(raw_lines([record]))
    assert build(tmp_path / "raw.jsonl", tmp_path / "out")[0]["kept"] == 1


@pytest.mark.parametrize("processes", [2, 3])
def test_the_number_of_processes_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    path = tmp_path / "raw.jsonl"
    records = [distinct(number) for number in range(200)]
    path.write_bytes(raw_lines(records + records[::2]) + b"broken\n")
    monkeypatch.setattr(reading, "BLOCK_BYTES", 10_000)
    results = []
    for count in (1, processes):
        _, outputs = build(path, tmp_path / str(count), test_size=20, sample=150, processes=count)
        results.append([output.read_bytes() for output in vars(outputs).values()])
    assert results[0] == results[1]
    assert not list(tmp_path.glob(".corpus*"))


ENTRIES: dict[str, tuple[str, bytes]] = {
    "alpaca": (
        "a.json",
        json.dumps(
            [
                {"instruction": PAIR[0], "input": "", "output": PAIR[1]},
                {"instruction": "写一首诗", "output": 3},
            ],
            indent=1,
        ).encode(),
    ),
    "sharegpt": (
        "a.jsonl",
        raw_lines(
            [
                {
                    "conversations": [
                        {"from": "system", "value": "x"},
                        {"from": "human", "value": PAIR[0]},
                        {"from": "gpt", "value": PAIR[1]},
                    ]
                },
                {"conversations": [{"from": "gpt", "value": "好"}]},
            ]
        ),
    ),
    "xtuner": (
        "a.jsonl",
        raw_lines(
            [
                {"conversation": [{"system": "x", "input": PAIR[0], "output": PAIR[1]}]},
                {"conversation": [{}, {}]},
            ]
        ),
    ),
}


@pytest.mark.parametrize("name", list(ENTRIES))
def test_conversation_files(tmp_path: Path, name: str) -> None:
    file, content = ENTRIES[name]
    (tmp_path / file).write_bytes(content)
    stats, outputs = build(tmp_path / file, tmp_path / "out", format=name)
    assert [(turn["input"], turn["output"]) for turn in kept(outputs)] == [PAIR]
    assert conversations(outputs.train)[0]["system"] == "你是厨师"
    assert [line for _, line, _ in reasons(outputs)] == [2]
    assert stats["read"] == 2


def table_bytes(kind: str) -> bytes:
    rows = [("编号", "问题", "答案"), (1, *PAIR), (2, "胃痛怎么办", 5), (), (3, "", ANSWER)]
    if kind == "xlsx":
        book, stream = Workbook(), io.BytesIO()
        for row in rows:
            book.active.append(row)
        book.save(stream)
        return stream.getvalue()
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode("gb18030" if kind == "csv" else "utf-8-sig")


@pytest.mark.parametrize("kind", ["csv", "xlsx", "utf8.csv"])
def test_tables_of_questions_and_answers(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"medical.{kind}"
    path.write_bytes(table_bytes(kind))
    stats, outputs = build(path, tmp_path / "out", format="qa_table", min_chars=2)
    assert [(turn["input"], turn["output"]) for turn in kept(outputs)] == [PAIR]
    assert [line for _, line, _ in reasons(outputs)] == [3, 5]
    assert stats["read"] == 3


MARKDOWN = """# 豆腐汤的做法

![成品](a.jpg) 一道好汤。

## 必备原料和工具

- **豆腐** 一块
- [青菜](https://example.com/1)

### 调料

* 盐 2 g

## 操作

1. 豆腐切成小块，青菜洗净切段备用。
2. 水开后放入，煮五分钟，加盐出锅。

## 附加内容

如果有问题请提 Issue。
"""


def test_a_folder_of_markdown_recipes(tmp_path: Path) -> None:
    folder = tmp_path / "dishes"
    (folder / "soup").mkdir(parents=True)
    (folder / "soup" / "豆腐汤.md").write_text(MARKDOWN, encoding="utf-8")
    (folder / "说明.md").write_text("# 说明\n\n没有做法。\n", encoding="utf-8")
    _, outputs = build(folder, tmp_path / "out", format="markdown", forms={"的做法": 1.0})
    (turn,) = kept(outputs)
    assert turn["input"] == "豆腐汤的做法"
    assert turn["output"] == (
        "您需要准备以下食材:\n豆腐 一块\n青菜\n调料：\n盐 2g\n按以下方法制作:\n"
        "豆腐切成小块，青菜洗净切段备用。\n水开后放入，煮五分钟，加盐出锅。"
    )
    assert reasons(outputs) == [("说明.md", 1, "no_ingredients")]


@pytest.mark.parametrize(
    ("name", "content", "chosen", "sentence"),
    [
        ("a.jsonl.gz", b"not packed", "xiachufang", "nothing could be read"),
        ("a.csv", b"a,b\n1,2\n", "qa_table", "call them question and answer"),
        ("a.xlsx", b"no table", "qa_table", "cannot be read as a table"),
        ("a.json", b'[{"instruction": \n', "alpaca", "the JSON array is broken"),
    ],
)
def test_a_wholly_unreadable_input_fails_before_anything_is_written(
    tmp_path: Path, name: str, content: bytes, chosen: str, sentence: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ButlerError, match=sentence):
        build(tmp_path / name, tmp_path / "out", format=chosen)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def _begun(folder: Path, pattern: str) -> bool:
    """Whether there is a file or folder of this pattern with something in it."""
    with suppress(FileNotFoundError):  # gone since it was listed
        return any(path.stat().st_size for path in folder.glob(pattern))
    return False


@pytest.mark.parametrize("indent", [None, 2])
def test_what_is_no_record_in_an_array_is_named_by_its_place(
    tmp_path: Path, indent: int | None
) -> None:
    good = json.loads(GOOD.splitlines()[0])
    path = tmp_path / "a.json"
    path.write_text(json.dumps([None, good, 7, ["x"], "text"], indent=indent), encoding="utf-8")
    stats, outputs = build(path, tmp_path / "out")
    assert reasons(outputs) == [("a.json", place, "wrong_type") for place in (1, 3, 4, 5)]
    assert (stats["read"], stats["kept"]) == (5, 1)


def test_a_killed_run_leaves_nothing_that_passes_for_its_outputs(tmp_path: Path) -> None:
    """Killed while it reads, while it compares and while it writes, then left alone."""
    source, out = tmp_path / "raw.jsonl", tmp_path / "out"
    source.write_bytes(raw_lines([distinct(number) for number in range(6_000)]))
    names = ("train", "test", "rejected", "stats")
    command = [sys.executable, str(SCRIPT)]
    command += stage_options(source, out, "--processes=2", test_size=5)
    left: list[tuple[str, bytes]] = []
    for begun in ("out/.corpus.*", "out/.corpus.*/samples", "out/.stats.*"):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
        while process.poll() is None and not _begun(tmp_path, begun):
            time.sleep(0.002)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        # The last moment is short, and may have passed.
        assert process.wait() == -signal.SIGKILL or begun == "out/.stats.*"
        there = [name for name in names if (out / name).exists()]
        assert "stats" not in there or len(there) == 4, "stats.json tells a finished corpus"
        left += [(name, (out / name).read_bytes()) for name in there]
    assert subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode == 0
    assert all(content == (out / name).read_bytes() for name, content in left)
    assert not [path.name for path in tmp_path.rglob(".*")], "the next run clears what was left"
    stats = json.loads((out / "stats").read_text())
    lines = {name: len(json_lines(out / name)) for name in names[:3]}
    assert lines == {name: stats[name] for name in names[:3]}
    assert stats["read"] == 6_000 == sum(lines.values())


@pytest.mark.parametrize("name", list(FORMATS))
def test_a_folder_without_files_of_the_format_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ButlerError, match="holds no"):
        build(tmp_path, tmp_path / "out", format=name)


def _append(path: Path) -> None:
    with path.open("ab") as stream:
        stream.write(GOOD)


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _overwrite(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.write(b"x")


@pytest.mark.parametrize("change", [_append, _cut, _overwrite, Path.unlink])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_file_that_changes_while_it_is_read_stops_the_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None], suffix: str
) -> None:
    path = tmp_path / f"raw.jsonl{suffix}"
    path.write_bytes(gz(GOOD) if suffix else GOOD)
    run = worker.Worker.run

    def meanwhile(self: worker.Worker, block: reading.Block) -> worker.Outcome:
        change(path)
        return run(self, block)

    monkeypatch.setattr(worker.Worker, "run", meanwhile)
    with pytest.raises(ButlerError, match="while it was read"):
        build(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_question_answer_sets_keep_short_answers_and_mend_broken_ones(tmp_path: Path) -> None:
    pairs = [
        ("发烧多少度算高烧？", "39度以上"),
        ("怎样熬姜汤？", "['姜切片\\n下锅', '煮十分钟']"),
        ("头疼怎么办？", "多休息，少看屏幕。\\n多喝水。\n\n注意事项："),
        ("失眠怎么办？", "睡前不喝咖啡和浓茶。睡前不喝咖啡和浓茶。"),
        ("怎么换行？", '在程序里用 printf("a\\n") 换行。'),
    ]
    data = raw_lines([{"instruction": asked, "output": said} for asked, said in pairs])
    (tmp_path / "raw.jsonl").write_bytes(data)
    settings = corpus_settings(0, format="alpaca", language=None)
    assert (settings.least_chars, settings.like_from) == (1, 0.0)
    _, outputs = build(tmp_path / "raw.jsonl", tmp_path / "out", format="alpaca", language=None)
    told = {turn["input"]: turn["output"] for turn in kept(outputs)}
    assert told == {
        pairs[0][0]: "39度以上",
        pairs[1][0]: "姜切片\n下锅\n煮十分钟",
        pairs[2][0]: "多休息，少看屏幕。\n多喝水。",
        pairs[3][0]: "睡前不喝咖啡和浓茶。",
        pairs[4][0]: pairs[4][1].replace("printf(", "printf("),
    }


COOK = """# 豆腐汤的做法

预估烹饪难度：★★

## 必备原料和工具

- 豆腐
- 青菜
- 汤锅

## 计算

每份：

- 豆腐 一块
- 青菜 = 份数 * 200 g
- 盐 2 g

## 操作

- 豆腐切成小块，青菜洗净切段备用。
- 水开后放入，煮五分钟，加盐出锅。

## 附加内容

如果您遵循本指南的制作流程而发现有问题，请提出 Issue 。
"""


def test_markdown_lists_each_ingredient_once_without_tools_and_arithmetic(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "豆腐汤.md").write_text(COOK, encoding="utf-8")
    _, outputs = build(tmp_path / "raw", tmp_path / "out", format="markdown")
    (turn,) = kept(outputs)
    assert turn["output"].split("\n")[1:4] == ["豆腐 一块", "青菜", "盐 2g"]
    assert "锅铲" not in turn["output"] and "Issue" not in turn["output"]
