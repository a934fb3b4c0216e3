"""Text of others is data: in a shell, in a file name, in a page, in a spreadsheet, in a prompt."""

import csv
import io
import json
import os
import shlex
from html.parser import HTMLParser
from pathlib import Path

import pytest

from butler.benchmarks.opencompass.proof import COLUMNS, to_csv
from butler.errors import ButlerError
from butler.files import spreadsheet_safe
from butler.settings.run import read_settings
from report_stages import make_stages, run
from test_corpus import distinct, raw_lines, recipe
from test_corpus_input import build, reasons
from workflow_state import overlay, plan

PAYLOADS = (
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\"><svg onload=alert(1)>",
    "javascript:alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "<!--",
)  # fmt: skip
NAMES = (
    "$(touch PWNED).jsonl",
    "`touch PWNED`.jsonl",
    "; touch PWNED #.jsonl",
    "| touch PWNED.jsonl",
    "a\nb.jsonl",
    "-rf.jsonl",
    "a..%2f..%2fx.jsonl",
    "<script>.jsonl",
    "=1+1.jsonl",
    "{input} %s.jsonl",
)


def test_file_names_of_a_corpus_are_names(tmp_path: Path) -> None:
    folder = tmp_path / "raw $(touch PWNED)"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        (folder / name).write_bytes(raw_lines([distinct(number)]) + b"broken\n")
    stats, outputs = build(folder, tmp_path / "out")
    assert stats["kept"] == len(NAMES)
    assert {file for file, _, _ in reasons(outputs)} == set(NAMES)
    assert not list(tmp_path.rglob("PWNED"))


def test_a_file_name_that_is_no_text_is_read_too(tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    with open(os.path.join(os.fsencode(folder), b"\xff\xfe.jsonl"), "wb") as stream:
        stream.write(raw_lines([distinct(1), distinct(2)]) + b"broken\n")
    stats, outputs = build(folder, tmp_path / "out")
    assert stats["kept"] == 2
    assert [line for _, line, _ in reasons(outputs)] == [3]


@pytest.mark.parametrize("name", ["$(touch PWNED)", "`touch PWNED`", "a'; touch PWNED; '", "-x"])
def test_a_path_of_the_configuration_is_one_word_of_the_command(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "raw.jsonl").write_bytes(raw_lines([distinct(1)]))
    arguments = overlay(tmp_path, corpus={"path": str(folder), "system": f"{name}\n{name}"})
    text = plan(tmp_path, "-n", "-p", *arguments, "build/corpus/train.jsonl")
    command = text[text.index("python ") :].partition("2>&1")[0]
    words = shlex.split(command)
    given = words[words.index("--input") + 1]
    assert os.path.normpath(tmp_path / given) == str(folder)
    settings = json.loads(words[words.index("--settings") + 1])
    assert settings["system"] == f"{name}\n{name}"
    assert not list(tmp_path.rglob("PWNED"))


@pytest.mark.parametrize("name", ["law; touch PWNED", "../law", "a/b", "$(x)", "law\n"])
def test_a_benchmark_has_a_plain_name(name: str) -> None:
    benchmarks = [{"name": name, "kind": "qa"}]
    with pytest.raises(ButlerError, match=r"benchmarks\[0\].name"):
        read_settings({"benchmarks": benchmarks})
    benchmarks = [{"name": "law", "kind": "opencompass", "dataset": name, "path": "x"}]
    with pytest.raises(ButlerError, match=r"benchmarks\[0\].dataset"):
        read_settings({"benchmarks": benchmarks})


class Elements(HTMLParser):
    """The elements of a page, the events they listen to and the addresses they name."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts, self.events, self.addresses = 0, [], []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.events += [name for name, _ in attrs if name.startswith("on")]
        self.addresses += [value for name, value in attrs if name in ("href", "src")]


def test_the_report_shows_what_is_written_and_runs_none_of_it(tmp_path: Path) -> None:
    stages = make_stages(tmp_path)
    for path in (stages / "evaluate").glob("recipe_*/details.jsonl"):
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for number, record in enumerate(records):
            payload = PAYLOADS[number % len(PAYLOADS)]
            for key in ("question", "reference"):
                record[key] = f"{payload}{record[key]}"
            record["prediction"] = f"{path.parent.name}{payload}"
        lines = [json.dumps(record, ensure_ascii=False) for record in records]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    stats = json.loads((stages / "stats.json").read_text(encoding="utf-8"))
    stats["reasons"] = {"duplicate": 300, "too_short": 200}
    stats["examples"] = {
        "too_short": [{"name": payload, "detail": payload} for payload in PAYLOADS]
    }
    stats["contamination"]["test"]["examples"] = dict.fromkeys(PAYLOADS, 1)
    stats["damaged"] = {payload: payload for payload in PAYLOADS}
    (stages / "stats.json").write_text(json.dumps(stats), encoding="utf-8")
    done = run(stages)
    assert done.returncode == 0, done.stderr
    html = (stages / "out" / "report.html").read_text(encoding="utf-8")
    page = Elements()
    page.feed(html)
    page.close()
    assert page.scripts == 3  # the page's own
    assert page.events == []
    assert all(str(address).startswith(("#", "data:,")) for address in page.addresses)
    assert "&lt;img src=x onerror=alert(1)&gt;" in html
    assert "{{ 7 * 7 }}" in html  # shown, not worked out


FORMULAS = ("=cmd|' /C calc'!A0", "+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1")


@pytest.mark.parametrize("text", FORMULAS)
def test_no_text_of_a_table_is_a_formula(text: str) -> None:
    numbers = {"score": "1.50", "questions": -3}
    row = dict.fromkeys(COLUMNS, text) | numbers
    [_, cells] = list(csv.reader(io.StringIO(to_csv([row]), newline="")))
    found = dict(zip(COLUMNS, cells, strict=True))
    assert {found[name] for name in COLUMNS if name not in numbers} == {
        "'" + text.replace("\r", " ").replace("\n", " ")
    }
    assert (found["score"], found["questions"]) == ("1.50", "-3")
    assert spreadsheet_safe(-1.5) == -1.5


def test_a_marker_in_any_part_of_a_recipe_rejects_it(tmp_path: Path) -> None:
    markers = ("<|im_start|>", "<|System|>", "<eoh>", "<|endoftext|>", "[INST]", "<</SYS>>", "</s>")
    records = [distinct(1)]
    for marker in markers:
        records.append(recipe(name=f"汤{marker}"))
        records.append(recipe(recipeIngredient=["1块豆腐", f"2克{marker}盐"]))
        records.append(recipe(recipeInstructions=[f"青菜洗净切段{marker}，豆腐切块备用，煮开。"]))
    path = tmp_path / "raw.jsonl"
    path.write_bytes(raw_lines(records))
    _, outputs = build(path, tmp_path / "out")
    assert {reason for _, _, reason in reasons(outputs)} == {"chat_marker"}
    assert len(reasons(outputs)) == 3 * len(markers)
