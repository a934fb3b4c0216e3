"""A corpus of another format than corpus.format is told before the first job, and which it fits."""

import csv
import io
import json
import re
import time
from pathlib import Path

import pytest

from butler.corpus.format_check import check_format
from butler.corpus.formats import FORMATS
from butler.errors import ButlerError
from test_corpus_formats import ENTRIES, MARKDOWN, PAIR, table_bytes
from test_corpus_input import GOOD, build, gz, zst
from workflow_state import ROOT

FILES = {
    "xiachufang": ("a.jsonl", GOOD),
    **ENTRIES,
    "qa_table": ("a.csv", table_bytes("utf8.csv")),
    "markdown": ("a.md", MARKDOWN.encode()),
}


@pytest.fixture
def corpora(tmp_path: Path) -> dict[str, Path]:
    """A file of each format."""
    for name, (file, content) in FILES.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_bytes(content)
    return {name: tmp_path / name / file for name, (file, _) in FILES.items()}


@pytest.mark.parametrize("named", list(FORMATS))
def test_each_format_is_told_from_each_other(corpora: dict[str, Path], named: str) -> None:
    for real, path in corpora.items():
        for where in (path, path.parent):
            if real == named:
                check_format(where, named)
                continue
            with pytest.raises(ButlerError) as caught:
                check_format(where, named)
            assert re.fullmatch(
                rf"config: corpus\.format is {named}, but the first (\d+ records|record) of "
                rf"{re.escape(str(path))} fits? {real}; set corpus\.format: {real}",
                str(caught.value),
            )


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gz), (".zst", zst)])
def test_packed_files_and_arrays_are_looked_into(tmp_path: Path, suffix: str, pack) -> None:  # type: ignore[no-untyped-def]
    records = [{"instruction": f"{number}?", "output": PAIR[1] * 99} for number in range(3_000)]
    for name, text in (
        ("a.jsonl", "".join(json.dumps(record) + "\n" for record in records)),
        ("a.json", json.dumps(records)),
    ):
        for path, content in (
            (tmp_path / name, text.encode()),
            (tmp_path / f"{name}{suffix}", pack(text.encode())),
        ):
            path.write_bytes(content)
            check_format(path, "alpaca")
            sentence = f"the first 20 records of {path} fit alpaca; set corpus.format: alpaca"
            begun = time.perf_counter()
            with pytest.raises(ButlerError, match=re.escape(sentence)):
                check_format(path, "xiachufang")
            assert time.perf_counter() - begun < 1


def test_dirty_beginnings_are_of_the_format_if_one_record_is(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"broken\n\n[1]\n" * 9 + GOOD)
    check_format(path, "xiachufang")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "README.md").write_text("# About\n\nNo recipe.\n")
    (tmp_path / "notes" / "soup.md").write_text(MARKDOWN, encoding="utf-8")
    check_format(tmp_path / "notes", "markdown")
    several = {"conversations": [{"from": "human", "value": "?"}] * 4}
    path.write_text(json.dumps(several))
    check_format(path, "sharegpt")


def test_what_fits_nothing_is_told_by_what_was_found(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    for content, found in (
        ('{"foo": 1, "bar": 2}\n', "an object with foo, bar"),
        ("hello\n", "a line that is no JSON"),
        ("[1]\n", "a list"),
    ):
        path.write_text(content * 2)
        with pytest.raises(ButlerError) as caught:
            check_format(path, "alpaca")
        assert str(caught.value) == (
            f"config: corpus.format is alpaca, but the first 2 records of {path} are none of it "
            f"(the last is {found}); docs/corpus.md says what each format holds"
        )
    stream = io.StringIO()
    csv.writer(stream).writerows([("a", "b"), (1, 2)])
    path = tmp_path / "a.csv"
    path.write_text(stream.getvalue())
    with pytest.raises(ButlerError, match=r"a\.csv: the first row names no column of questions"):
        check_format(path, "qa_table")
    for name, content, sentence in (
        ("none", None, "no such corpus file"),
        ("b", b"", "empty"),
        ("c.jsonl", b"\n\n", "c.jsonl: there is no record in it; nothing could be read"),
        ("d.json", b"[]", "d.json: there is no record in it; nothing could be read"),
    ):
        other = tmp_path / name
        if content is not None:
            other.write_bytes(content)
        with pytest.raises(ButlerError, match=sentence):
            check_format(other, "alpaca")


def test_the_stage_itself_names_the_key_too(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(GOOD)
    with pytest.raises(ButlerError, match="wrong_type 6.; is corpus.format alpaca theirs"):
        build(path, tmp_path / "out", format="alpaca")
    with pytest.raises(ButlerError, match="other_language 6.; is corpus.language en theirs"):
        build(path, tmp_path / "out", language="en")
    with pytest.raises(ButlerError, match=r"too_short 6.; .* or corpus.recipes.min_steps 99 too"):
        build(path, tmp_path / "out", recipes={"min_steps": 99})


def test_the_demo_corpora_are_of_their_format() -> None:
    check_format(ROOT / "data/demo/recipes.jsonl", "xiachufang")
    check_format(ROOT / "data/demo/kitchen_qa_zh.csv", "qa_table")
    check_format(ROOT / "data/demo/kitchen_qa_en.jsonl", "alpaca")
