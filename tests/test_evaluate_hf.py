"""A benchmark asked through the Hugging Face model: transformers answers the same questions."""

import json
import subprocess
from pathlib import Path

import pytest

from butler.manifest import write_manifest
from evaluation_data import OPENCOMPASS, read_lines, sheet_of
from real_tools import SCRIPTS, python_of, script
from test_evaluate_run import command, run
from workflow_state import ROOT

PYTHON = Path(python_of("xtuner"))
ANSWERS = SCRIPTS / "hf_answers.py"
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not PYTHON.exists(), reason=f"{PYTHON} is not built"),
]
TEXTS = ["你好", "西红柿炒鸡蛋的做法", "盐", "请写出一道用白菜、豆腐和粉条做的家常菜的做法", "问"]


def chats(*texts: str) -> list[list[dict[str, str]]]:
    return [[{"role": "user", "content": text}] for text in texts]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's base as the workflow has it: with its own code and a chat template."""
    folder = tmp_path_factory.mktemp("base") / "base"
    words = ["--model", ROOT / "data/base/tiny", "--chat-template", "internlm2_chat"]
    done = script("xtuner", "base_model.py", *words, "--remote-code", "--out", folder)
    assert done.returncode == 0, done.stderr
    return folder


def answers(model: Path, *batches: list, tokens: int = 12) -> subprocess.CompletedProcess[str]:
    """Give hf_answers.py batches of chats and close its input."""
    lines = [json.dumps({"chats": batch, "max_new_tokens": tokens}) for batch in batches]
    return subprocess.run(
        [PYTHON, ANSWERS, "--model", model, "--trust-remote-code"],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_answers_do_not_depend_on_what_is_asked_beside_them(model: Path) -> None:
    """Padding changes nothing; every answer comes once, with its place; the end of input is one."""
    together = answers(model, chats(*TEXTS))
    assert together.returncode == 0, together.stderr
    found = {one["index"]: one["text"] for one in map(json.loads, together.stdout.splitlines())}
    assert sorted(found) == list(range(len(TEXTS)))
    alone = answers(model, *(chats(text) for text in TEXTS))
    said = [json.loads(line) for line in alone.stdout.splitlines()]
    assert [one["index"] for one in said] == [0] * len(TEXTS)
    assert [one["text"] for one in said] == [found[place] for place in range(len(TEXTS))]
    assert any(found.values())


def test_answers_say_whether_they_ended_or_were_cut(model: Path) -> None:
    """A cut answer goes on where there is more room, one that ended is the same again."""
    short, long = (
        {one["index"]: one for one in map(json.loads, given.stdout.splitlines())}
        for given in (answers(model, chats(*TEXTS), tokens=n) for n in (6, 200))
    )
    assert {one["finish"] for one in short.values()} | {"stop"} == {"length", "stop"}
    assert "stop" in {one["finish"] for one in long.values()}
    for place, one in short.items():
        if one["finish"] == "stop":
            assert long[place] == one
        else:
            assert long[place]["text"] != one["text"] or long[place]["finish"] == "stop"


def test_a_folder_that_is_no_model_is_one_sentence(tmp_path: Path) -> None:
    done = answers(tmp_path, chats("?"))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"error: {tmp_path} has no manifest.json")
    write_manifest(tmp_path)
    done = answers(tmp_path, chats("?"))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"error: transformers cannot load {tmp_path}")


def evaluate(tmp_path: Path, model: Path, python: Path) -> subprocess.CompletedProcess[str]:
    data = tmp_path / "pairs.jsonl"
    lines = [json.dumps({"question": text, "answer": "好吃"}) for text in TEXTS]
    data.write_text("\n".join(lines), encoding="utf-8")
    entry = {"name": "talk", "kind": "qa", "path": str(data), "max_new_tokens": 12}
    sheet = sheet_of(entry, tmp_path)
    words = command(tmp_path, PYTHON, model, entry, sheet, transformers_python=python)
    words[words.index("--workspace")] = "--model"
    return run([*words, "--trust-remote-code"])


@pytest.mark.skipif(not OPENCOMPASS.exists(), reason=f"{OPENCOMPASS} is not built")
def test_the_model_is_asked_and_scored_as_a_workspace_is(tmp_path: Path, model: Path) -> None:
    done = evaluate(tmp_path, model, PYTHON)
    assert done.returncode == 0, done.stderr
    details = read_lines(tmp_path / "work" / "details.jsonl")
    expected = {
        one["index"]: one["text"]
        for one in map(json.loads, answers(model, chats(*TEXTS)).stdout.splitlines())
    }
    assert [one["prediction"] for one in details] == [expected[n] for n in range(len(TEXTS))]
    assert [one["question"] for one in details] == TEXTS
    assert (
        (tmp_path / "out.csv").read_text().splitlines()[-1].startswith("talk,fp16,average,rougeL")
    )
    assert json.loads((tmp_path / "check.json").read_text())["measured"]["engine"] == "transformers"
    left = {path.name for path in (tmp_path / "work").iterdir()}
    assert left == {"details.jsonl", "scores.json", "opencompass.log", "transformers.log"}


@pytest.mark.skipif(not OPENCOMPASS.exists(), reason=f"{OPENCOMPASS} is not built")
def test_the_death_of_the_model_is_told(tmp_path: Path, model: Path) -> None:
    dying = tmp_path / "python"
    dying.write_text("#!/bin/sh\necho no memory left for weights >&2\nexit 7\n")
    dying.chmod(0o755)
    done = evaluate(tmp_path, model, dying)
    assert done.returncode == 1
    said = json.loads((tmp_path / "check.json").read_text())["sentence"]
    assert "process ended with code 7" in said and "no memory left for weights" in said
    assert not (tmp_path / "out.csv").exists()
