"""The kinds of benchmark: what is checked before the first job, read, scored, and rerun."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from butler.benchmarks.registry import KINDS, read_benchmark
from butler.errors import ButlerError
from evaluation_data import (
    ANSWER,
    SYSTEM,
    read_lines,
    read_questions,
    scripts_with_scorer,
    write_recipes,
)
from workflow_state import ROOT

EXAM = {"name": "exam", "kind": "opencompass", "dataset": "ceval_gen", "path": "data"}
TALK = {"name": "talk", "kind": "qa"}
RECIPE = {"name": "recipe", "kind": "recipe"}


def check(entry: dict, repository: Path, test_size: int = 60) -> None:
    kind, settings = read_benchmark(json.dumps(entry))
    kind.check(settings, repository, test_size)


# Before the first job


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (EXAM, "benchmark exam: path data is missing"),
        (EXAM | {"path": "empty"}, "benchmark exam: path empty is an empty folder"),
        (TALK | {"path": "no.csv"}, "benchmark talk: path no.csv is missing"),
        (TALK | {"path": "empty"}, "benchmark talk: path empty is a folder; name a file"),
        (TALK | {"path": "none.csv"}, "benchmark talk: path none.csv is an empty file"),
        (TALK | {"questions": 61}, "benchmark talk asks 61 questions, but corpus.test_size .* 60"),
        (RECIPE | {"questions": 200}, "benchmark recipe asks 200 questions"),
        (TALK | {"pattern": "("}, "pattern '.' is no regular expression"),
        (TALK | {"metric": "format"}, "benchmark talk: metric format needs pattern"),
        (TALK | {"metric": "bleurt"}, "key 'metric' takes one of rougeL, "),
        (TALK | {"kind": "exam"}, "takes a JSON object with a kind .opencompass, qa, recipe"),
    ],
)
def test_settings_that_cannot_work_are_refused(tmp_path: Path, entry: dict, message: str) -> None:
    (tmp_path / "empty" / "below").mkdir(parents=True)
    (tmp_path / "none.csv").touch()
    with pytest.raises(ButlerError, match=message) as caught:
        check(entry, tmp_path)
    assert "\n" not in str(caught.value)


def test_settings_that_can_work_are_taken(tmp_path: Path) -> None:
    (tmp_path / "data" / "val").mkdir(parents=True)
    table = tmp_path / "data" / "val" / "a.csv"
    table.write_text("question,answer\na,b\n")
    check(EXAM, tmp_path)
    check(TALK | {"questions": 60, "metric": "format", "pattern": r"\d+"}, tmp_path)
    check(TALK | {"path": str(table), "questions": 1000}, tmp_path)
    kind, settings = read_benchmark(json.dumps(EXAM))
    assert kind.files(settings, tmp_path) == [table]
    assert (kind.tool, kind.asks_held_out(settings)) == ("opencompass", False)
    kind, settings = read_benchmark(json.dumps(TALK))
    assert (kind.tool, kind.asks_held_out(settings)) == (None, True)
    assert kind.files(settings, tmp_path) == []


# What is asked


def test_held_out_questions_bring_their_system_prompt(tmp_path: Path) -> None:
    held_out = write_recipes(tmp_path / "test.jsonl", 5)
    done = read_questions(RECIPE | {"questions": 3}, tmp_path / "out.jsonl", held_out)
    assert done.returncode == 0, done.stderr
    records = read_lines(tmp_path / "out.jsonl")
    assert len(records) == 3
    assert records[0] == {
        "dataset": "recipe",
        "index": 0,
        "question": "第0道菜的做法",
        "reference": ANSWER,
        "system": SYSTEM,
        "cluster": "第0道菜",
    }


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", '{"question": "1+1?", "answer": "2"}\n\n{"question": "2?", "answer": "3"}\n'),
        (
            "a.jsonl",
            '{"input": "1+1?", "output": "2"}\n{"system": "", "input": "2?", "output": "3"}',
        ),
        ("a.csv", "\ufeffanswer,note,question\n2,x,1+1?\n3,,2?\n"),
    ],
)
def test_every_form_of_a_file_gives_the_same_questions(
    tmp_path: Path, name: str, content: str
) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    entry = TALK | {"path": str(tmp_path / name)}
    kind, settings = read_benchmark(json.dumps(entry))
    found = kind.read(settings, tmp_path, None)
    assert [(one.index, one.question, one.reference, one.system) for one in found] == [
        (0, "1+1?", "2", ""),
        (1, "2?", "3", ""),
    ]


BROKEN = [
    ("a.jsonl", b'{"conversation": []}', "a.jsonl line 2 is no question"),
    ("a.jsonl", b"{", "a.jsonl line 2 is no question"),
    ("a.jsonl", b"null", "a.jsonl line 2 is no question"),
    ("a.jsonl", b"[" * 100_000, "a.jsonl line 2 is no question"),
    ("a.jsonl", b'{"question": "x"}', "a.jsonl line 2 is no question"),
    ("a.jsonl", b'{"question": 1, "answer": []}', "a.jsonl line 2: .* must be texts"),
    ("a.jsonl", b'{"question": " ", "answer": "x"}', "a.jsonl line 2: the question is empty"),
    (
        "a.jsonl",
        rb'{"question": "a \ud83d?", "answer": "b"}',
        r"a.jsonl line 2 holds half a character \(\\ud83d\)",
    ),
    ("a.jsonl", b"\xff\xfe", "a.jsonl is not UTF-8"),
    ("a.csv", b"x,", "a.csv line 2: the answer is empty"),
    ("a.csv", b"x", "a.csv line 2: the answer is empty"),
    ("a.csv", "问题,答".encode("gb18030"), "a.csv is not UTF-8"),
    ("a.csv", b'x,"' + b"x" * 200_000, "a.csv is no CSV table"),
]


@pytest.mark.parametrize(("name", "line", "message"), BROKEN)
def test_a_broken_file_is_one_sentence(
    tmp_path: Path, name: str, line: bytes, message: str
) -> None:
    first = b"question,answer" if name.endswith("csv") else b'{"question": "x", "answer": "y"}'
    (tmp_path / name).write_bytes(first + b"\n" + line + b"\n")
    kind, settings = read_benchmark(json.dumps(TALK | {"path": name}))
    with pytest.raises(ButlerError, match=f"^benchmark talk: .*{message}") as caught:
        kind.read(settings, tmp_path, None)
    assert len(str(caught.value)) < 700 and "\n" not in str(caught.value)


def test_a_table_without_the_columns_names_them(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("frage,answer\n1,2\n")
    kind, settings = read_benchmark(json.dumps(TALK | {"path": "a.csv"}))
    with pytest.raises(ButlerError, match="a.csv has no column question"):
        kind.read(settings, tmp_path, None)


def test_more_questions_than_a_file_holds_are_refused(tmp_path: Path) -> None:
    held_out = write_recipes(tmp_path / "test.jsonl", 2)
    kind, settings = read_benchmark(json.dumps(RECIPE | {"questions": 9}))
    with pytest.raises(ButlerError, match="asks 9 questions, but .*test.jsonl holds 2"):
        kind.read(settings, tmp_path, held_out)


@pytest.mark.parametrize(
    ("output", "missing"),
    [("二加二得四。", "ingredients"), ("您需要准备以下食材:\n盐", "steps")],
)
def test_a_corpus_that_is_no_recipes_ends_before_the_training(
    tmp_path: Path, output: str, missing: str
) -> None:
    path = write_recipes(tmp_path / "test.jsonl", 1)
    line = json.dumps({"conversation": [{"input": "2+2?", "output": output}]}, ensure_ascii=False)
    path.write_text(path.read_text(encoding="utf-8") + line + "\n", encoding="utf-8")
    done = read_questions(RECIPE, tmp_path / "out.jsonl", path)
    assert done.returncode == 1
    assert done.stderr == (
        f"error: benchmark recipe: {path} line 2: the reference answer lists no {missing}; kind "
        "recipe judges no such answers, kind qa takes any\n"
    )
    assert not (tmp_path / "out.jsonl").exists()
    assert read_questions(TALK, tmp_path / "out.jsonl", path).returncode == 0


def test_an_answer_as_long_as_a_session_ends_before_the_training(tmp_path: Path) -> None:
    held_out = write_recipes(tmp_path / "test.jsonl", 1)
    entry = RECIPE | {"max_new_tokens": 64}
    done = read_questions(entry, tmp_path / "out.jsonl", held_out, session_len=64)
    assert done.stderr.startswith("error: benchmark recipe: an answer of 64 tokens leaves no room")
    assert not (tmp_path / "out.jsonl").exists()
    assert read_questions(entry, tmp_path / "out.jsonl", held_out, session_len=65).returncode == 0


# What reruns an evaluation


def test_code_is_all_that_an_evaluation_loads_by_name() -> None:
    scripts = ROOT / "workflow" / "scripts"
    for name, kind in KINDS.items():
        code = kind.code()
        assert all((scripts / path).is_file() for path in code)
        assert "butler/benchmarks/opencompass/run_config.py" in code
        assert "butler/benchmarks/opencompass/chat_models.py" in code
        assert "butler/benchmarks/text_metrics.py" in kind.reading_code() or name == "opencompass"
    assert "butler/benchmarks/recipe/steps.py" in KINDS["recipe"].code()
    assert "butler/benchmarks/recipe/steps.py" not in KINDS["qa"].code()
    assert "butler/benchmarks/opencompass/reading.py" in KINDS["opencompass"].reading_code()
    assert "butler/benchmarks/opencompass/build.py" not in KINDS["opencompass"].reading_code()


def test_a_scorer_for_another_domain_is_one_new_file(tmp_path: Path) -> None:
    """Dropped into a copy of the package: its settings, its questions and its scores are there."""
    scripts = scripts_with_scorer(tmp_path / "scripts")
    (tmp_path / "sums.csv").write_text("question,answer\n1+1?,2\n2+2?,4\n")
    entry = {"name": "sums", "kind": "number", "path": "sums.csv", "within": 1.5}
    script, out = scripts / "questions.py", tmp_path / "sums.jsonl"
    done = read_questions(entry, out, script=script, repository=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [one["reference"] for one in read_lines(out)] == ["2", "4"]
    program = (
        "import json, sys\n"
        "from butler.benchmarks.registry import read_benchmark\n"
        "from butler.settings.run import Settings\n"
        "kind, settings = read_benchmark(sys.argv[1])\n"
        "Settings.check({'benchmarks': [json.loads(sys.argv[1])]})\n"
        "print(json.dumps([*kind.score(settings, ['3', 'x'], ['2', '4']), kind.code()]))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, json.dumps(entry)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(scripts)},
    )
    assert ran.returncode == 0, ran.stderr
    overall, questions, code = json.loads(ran.stdout)
    assert overall == {"near": 50.0, "digits": 50.0}
    assert questions == [{"near": 100.0, "digits": 100.0}, {"near": 0.0, "digits": 0.0}]
    assert code[0] == "butler/benchmarks/number.py"
    (tmp_path / "sums.csv").write_text("question,answer\n1+1?,two\n")
    done = read_questions(entry, out, script=script, repository=tmp_path)
    assert "sums.csv line 2: the reference answer is no number; kind number" in done.stderr
