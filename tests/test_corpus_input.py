"""Whatever the input is: formats, packed files, folders; what is bad is named, the rest kept."""

import gzip
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

from butler.corpus import reading, worker
from butler.corpus.formats import FORMATS
from butler.corpus.stage import Outputs, build_corpus
from butler.errors import ButlerError
from corpus_settings import SCRIPT, corpus_settings, stage_options
from test_corpus import distinct, json_lines, raw_lines

GOOD = raw_lines([distinct(number) for number in range(6)])


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
