"""Evaluation run for real: every question is asked and scored, nothing half-done leaves a CSV."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evaluation_data import (
    ANSWER,
    OPENCOMPASS,
    SYSTEM,
    read_lines,
    read_questions,
    scripts_with_scorer,
    sheet_of,
    write_ceval,
    write_cmmlu,
    write_gsm8k,
    write_recipes,
)

ROOT = Path(__file__).resolve().parents[1]
EVALUATE = ROOT / "workflow" / "scripts" / "evaluate_model.py"
needs_opencompass = pytest.mark.skipif(
    not OPENCOMPASS.exists(), reason=f"the OpenCompass environment is not built ({OPENCOMPASS})"
)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# The whole of it, with OpenCompass


RECIPE = {"name": "recipe", "kind": "recipe", "max_new_tokens": 64}
LIMITS = {"--session-len": 2048, "--threads": 2, "--max-blank-share": 0.99}


def command(
    tmp_path: Path,
    server_python: Path,
    workspace: Path,
    entry: dict,
    sheet: Path,
    **changed: object,
) -> list[str]:
    """The command line that evaluates an entry of `benchmarks`; `changed` are other options."""
    opencompass = OPENCOMPASS if OPENCOMPASS.exists() else Path(sys.executable)
    options = LIMITS | {
        "--benchmark": json.dumps(entry),
        "--questions": sheet,
        "--repository": ROOT,
        "--variant": "fp16",
        "--workspace": workspace,
        "--server-python": server_python,
        "--opencompass-python": opencompass,
        "--engine": "reference",
        "--work-dir": tmp_path / "work",
        "--out": tmp_path / "out.csv",
        "--check": tmp_path / "check.json",
    }
    options |= {f"--{name.replace('_', '-')}": value for name, value in changed.items()}
    return [
        sys.executable,
        str(EVALUATE),
        *(str(part) for pair in options.items() for part in pair),
    ]


def recipes(tmp_path: Path, count: int = 4) -> Path:
    """The question sheet of so many held-out recipes."""
    return sheet_of(RECIPE, tmp_path, write_recipes(tmp_path / "test.jsonl", count))


def requests_of(tmp_path: Path) -> list[dict]:
    """What the scripted server was asked."""
    return read_lines(tmp_path / "requests.jsonl")


def python_that(folder: Path, does: str) -> Path:
    """An interpreter in place of OpenCompass' that runs a shell script and no Python."""
    path = folder / "not_python"
    path.write_text(f"#!/bin/sh\n{does}\n")
    path.chmod(0o755)
    return path


def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, capture_output=True, text=True, timeout=300, check=False)


def test_failure_leaves_a_failed_check_and_no_csv_not_even_an_old_one(
    tmp_path: Path, server_python: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUTLER_TEST_MODE", "crash")
    (tmp_path / "out.csv").write_text("old")
    words = {"opencompass_python": python_that(tmp_path, "exec sleep 60")}
    done = run(command(tmp_path, server_python, workspace, RECIPE, recipes(tmp_path), **words))
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert "weights are missing" in done.stderr
    assert not (tmp_path / "out.csv").exists()
    assert json.loads((tmp_path / "check.json").read_text())["passed"] is False


def test_a_broken_opencompass_is_told_while_the_server_still_starts(
    tmp_path: Path, server_python: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 7B takes minutes to load; nobody waits for it to hear of a missing package."""
    monkeypatch.setenv("BUTLER_TEST_MODE", "idle")
    pid = tmp_path / "requests.pid"
    does = f"until [ -s {pid} ]; do sleep 0.1; done; echo No module named mmengine >&2; exit 4"
    words = {"opencompass_python": python_that(tmp_path, does)}
    started = time.monotonic()
    done = run(command(tmp_path, server_python, workspace, RECIPE, recipes(tmp_path), **words))
    assert time.monotonic() - started < 30
    assert done.returncode == 1
    assert "OpenCompass ended with code 4" in done.stderr and "named mmengine" in done.stderr
    assert not alive(int(pid.read_text()))


@pytest.mark.parametrize("kind", ["workspace", "model"])
def test_a_folder_with_a_flipped_bit_is_not_evaluated(
    kind: str, tmp_path: Path, server_python: Path, workspace: Path
) -> None:
    # It once gave 2.00 instead of 93.00, "passed", and a report that praised the variants.
    path = workspace / "tokenizer.json"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    (tmp_path / "out.csv").write_text("old")
    words = command(tmp_path, server_python, workspace, RECIPE, recipes(tmp_path))
    if kind == "model":
        words[words.index("--workspace")] = "--model"
        words[words.index("--server-python")] = "--transformers-python"
    done = run(words)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert f"{path} is not the file that was made" in done.stderr
    assert not (tmp_path / "out.csv").exists() and not (tmp_path / "work").exists()
    assert json.loads((tmp_path / "check.json").read_text())["passed"] is False


def test_missing_environment_is_one_sentence(
    tmp_path: Path, workspace: Path, server_python: Path
) -> None:
    arguments = command(tmp_path, tmp_path / "nowhere", workspace, RECIPE, recipes(tmp_path))
    done = run(arguments)
    assert done.returncode == 1
    assert "nowhere is missing; build the tool environments first" in done.stderr


@pytest.mark.e2e
@needs_opencompass
def test_ceval_through_opencompass(
    tmp_path: Path, server_python: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that always says B earns exactly the share of B, subject by subject.

    Answers that come late, cut at their limit, are told of the questions that they answer.
    """
    monkeypatch.setenv("BUTLER_TEST_ANSWER", "B")
    monkeypatch.setenv("BUTLER_TEST_CUT", "val题1")
    data = write_ceval(tmp_path / "ceval", {"law": "ABBB", "accountant": "AB"})
    parts = ["ceval-law", "ceval-accountant"]
    entry = {"name": "exam", "kind": "opencompass", "dataset": "ceval_gen", "path": str(data)}
    entry |= {"parts": parts, "max_new_tokens": 8}
    sheet = sheet_of(entry, tmp_path)
    done = run(command(tmp_path, server_python, workspace, entry, sheet, session_len=4096))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.csv").read_text().splitlines()[1:] == [
        "exam,fp16,ceval-law,accuracy,75.00,4,25.00",
        "exam,fp16,ceval-accountant,accuracy,50.00,2,50.00",
        "exam,fp16,average,accuracy,62.50,6,33.33",
    ]
    left = {path.name: path.read_text() for path in (tmp_path / "work").iterdir()}
    assert set(left) == {"details.jsonl", "scores.json", "opencompass.log", "server.log"}
    assert not [name for name, text in left.items() if str(tmp_path / "work") in text]
    details = read_lines(tmp_path / "work" / "details.jsonl")
    assert [one["score"] for one in details] == [0, 100, 100, 100, 0, 100]
    assert {one["extracted"] for one in details} == {"B"}
    finishes = ["stop", "length", "stop", "stop", "stop", "length"]
    assert [one["finish"] for one in details] == finishes
    assert [one["group"] for one in details] == ["ceval-humanities"] * 4 + ["ceval-other"] * 2
    measured = json.loads((tmp_path / "check.json").read_text())["measured"]
    assert measured["questions"] == 6
    assert measured["cut_share"] == pytest.approx(1 / 3)
    assert measured["fewest_examples_in_a_prompt"] == 5
    requests = requests_of(tmp_path)
    assert {request["temperature"] for request in requests} == {0}
    assert {request["max_tokens"] for request in requests} == {8}
    roles = [message["role"] for message in requests[0]["messages"]]
    assert roles == ["user", "assistant"] * 5 + ["user"]
    assert not alive(int((tmp_path / "requests.pid").read_text()))


@pytest.mark.e2e
@needs_opencompass
def test_another_multiple_choice_exam_without_examples(
    tmp_path: Path, server_python: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CMMLU with its five examples taken out; the answer is found in a sentence."""
    monkeypatch.setenv("BUTLER_TEST_ANSWER", "我想应该选 C")
    data = write_cmmlu(tmp_path / "cmmlu", {"agronomy": "CCAB", "anatomy": "C"})
    entry = {"name": "cmmlu", "kind": "opencompass", "dataset": "cmmlu_gen_c13365"}
    entry |= {"path": str(data), "parts": ["cmmlu-agronomy", "cmmlu-anatomy"], "shots": 0}
    entry |= {"max_new_tokens": 16}
    sheet = sheet_of(entry, tmp_path)
    assert read_lines(sheet)[0]["question"] == "test第0题\nA. 1\nB. 2\nC. 3\nD. 4"
    done = run(command(tmp_path, server_python, workspace, entry, sheet))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.csv").read_text().splitlines()[1:] == [
        "cmmlu,fp16,cmmlu-agronomy,accuracy,50.00,4,0.00",
        "cmmlu,fp16,cmmlu-anatomy,accuracy,100.00,1,0.00",
        "cmmlu,fp16,average,accuracy,75.00,5,0.00",
    ]
    details = read_lines(tmp_path / "work" / "details.jsonl")
    assert [one["score"] for one in details] == [100, 100, 0, 0, 100]
    assert {one["shots"] for one in details} == {0}
    asked = requests_of(tmp_path)[0]["messages"]
    assert [turn["role"] for turn in asked] == ["user"]
    assert asked[0]["content"].startswith("以下是关于农学的单项选择题")


@pytest.mark.e2e
@needs_opencompass
def test_free_answers_through_opencompass(
    tmp_path: Path, server_python: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GSM8K, with the length of an answer that OpenCompass gives it, and its own scorer."""
    monkeypatch.setenv("BUTLER_TEST_ANSWER", "First 7 and 8, so the answer is 1200.")
    data = write_gsm8k(tmp_path / "gsm", [1200, 5, 7, 1200])
    entry = {"name": "sums", "kind": "opencompass", "dataset": "gsm8k_gen", "path": str(data)}
    sheet = sheet_of(entry, tmp_path)
    assert read_lines(sheet)[1] == {
        "dataset": "gsm8k",
        "index": 1,
        "question": "How much is 5?",
        "reference": "It is so.\n#### 5",
    }
    done = run(command(tmp_path, server_python, workspace, entry, sheet, session_len=8192))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.csv").read_text().splitlines()[1:] == [
        "sums,fp16,gsm8k,accuracy,50.00,4,0.00",
        "sums,fp16,average,accuracy,50.00,4,0.00",
    ]
    details = read_lines(tmp_path / "work" / "details.jsonl")
    assert [one["score"] for one in details] == [100, 0, 0, 100]
    assert {one["extracted"] for one in details} == {"1200"}
    assert {one["shots"] for one in details} == {4}, "its examples are in the prompt itself"
    assert {request["max_tokens"] for request in requests_of(tmp_path)} == {512}


@pytest.mark.e2e
@needs_opencompass
def test_recipes_through_opencompass(
    tmp_path: Path, server_python: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUTLER_TEST_ANSWER", ANSWER)
    done = run(command(tmp_path, server_python, workspace, RECIPE, recipes(tmp_path)))
    assert done.returncode == 0, done.stderr
    with (tmp_path / "out.csv").open() as stream:
        scores = {(row["dataset"], row["metric"]): row["score"] for row in csv.DictReader(stream)}
    repeated = {score for (_, metric), score in scores.items() if metric == "repetition"}
    assert repeated == {"0.00"}, "the answer says nothing twice"
    assert {score for (_, metric), score in scores.items() if metric != "repetition"} == {"100.00"}
    assert ("average", "ingredient_f1") in scores
    request = requests_of(tmp_path)[0]
    assert request["messages"][0] == {"role": "system", "content": SYSTEM}
    assert request["messages"][1]["content"].endswith("道菜的做法")


@pytest.mark.e2e
@needs_opencompass
def test_questions_of_a_file_in_two_languages(
    tmp_path: Path, server_python: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server says the question once more; texts like {reference} are no templates."""
    monkeypatch.setenv("BUTLER_TEST_ANSWER", "echo")
    pairs = [("Say {reference}, please", "say {reference} please"), ("白菜怎么炒", "大火快炒白菜")]
    lines = [json.dumps({"question": one, "answer": other}) for one, other in pairs]
    data = tmp_path / "pairs.jsonl"
    data.write_text("\n".join(lines), encoding="utf-8")
    entry = {"name": "talk", "kind": "qa", "path": str(data), "metric": "exact_match"}
    entry |= {"pattern": r"Say .*", "max_new_tokens": 32}
    done = run(command(tmp_path, server_python, workspace, entry, sheet_of(entry, tmp_path)))
    assert done.returncode == 0, done.stderr
    with (tmp_path / "out.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    scores = {row["metric"]: float(row["score"]) for row in rows if row["dataset"] == "talk"}
    assert scores["exact_match"] == scores["format"] == 50
    assert 50 < scores["rouge1"] < 100 and 0 < scores["corpus_bleu"] < 100
    assert (rows[-1]["dataset"], rows[-1]["metric"], rows[-1]["score"]) == (
        "average",
        "exact_match",
        "50.00",
    )
    first, second = read_lines(tmp_path / "work" / "details.jsonl")
    assert (first["score"], second["score"]) == (100, 0)
    assert second["metrics"]["rouge1"] < first["metrics"]["rouge1"] == 100
    asked = sorted(request["messages"][0]["content"] for request in requests_of(tmp_path))
    assert asked == sorted(question for question, _ in pairs)


@pytest.mark.e2e
@needs_opencompass
def test_a_new_scorer_through_opencompass(
    tmp_path: Path, server_python: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One new file in the package, and OpenCompass scores by it."""
    monkeypatch.setenv("BUTLER_TEST_ANSWER", "3")
    scripts = scripts_with_scorer(tmp_path / "scripts")
    data = tmp_path / "sums.csv"
    data.write_text("question,answer\n1+1?,2\n2+2?,4\n3+3?,6\n4+4?,8\n")
    entry = {"name": "sums", "kind": "number", "path": str(data), "within": 1.5}
    sheet = tmp_path / "sums.jsonl"
    assert read_questions(entry, sheet, script=scripts / "questions.py").returncode == 0
    words = command(tmp_path, server_python, workspace, entry, sheet)
    words[1] = str(scripts / "evaluate_model.py")
    done = run(words)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.csv").read_text().splitlines()[1:] == [
        "sums,fp16,sums,near,50.00,4,0.00",
        "sums,fp16,sums,digits,100.00,4,0.00",
        "sums,fp16,average,near,50.00,4,0.00",
    ]


@pytest.mark.e2e
@needs_opencompass
@pytest.mark.parametrize(
    ("environment", "session_len", "message"),
    [
        ({"BUTLER_TEST_MODE": "die"}, 2048, "ended with code 9 .*out of memory in layer 7"),
        ({"BUTLER_TEST_MODE": "fail"}, 2048, "OpenCompass ended with code 1"),
        ({"BUTLER_TEST_ANSWER": ""}, 2048, "100% of the answers are without text"),
        ({}, 70, "raise workspace.session_len"),
        ({}, 64, "64 tokens leaves no room for a prompt in a session of 64"),
    ],
)
def test_failed_questions_fail_the_evaluation(
    tmp_path: Path,
    server_python: Path,
    workspace: Path,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    session_len: int,
    message: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    sheet = recipes(tmp_path)
    arguments = command(tmp_path, server_python, workspace, RECIPE, sheet, session_len=session_len)
    done = run(arguments)
    assert done.returncode == 1
    check = json.loads((tmp_path / "check.json").read_text())
    assert check["passed"] is False
    assert re.search(message, check["sentence"]), check["sentence"]
    assert not (tmp_path / "out.csv").exists()


def test_sigterm_leaves_no_server_behind(
    tmp_path: Path, server_python: Path, workspace: Path
) -> None:
    """Stopped while OpenCompass (here: a python that only sleeps) is at work."""
    words = {"opencompass_python": python_that(tmp_path, "exec sleep 60")}
    arguments = command(tmp_path, server_python, workspace, RECIPE, recipes(tmp_path), **words)
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 30
        while not (tmp_path / "work" / "server.url").exists():
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 128 + signal.SIGTERM
    finally:
        process.kill()
    assert not alive(int((tmp_path / "requests.pid").read_text()))
    assert not (tmp_path / "out.csv").exists()
