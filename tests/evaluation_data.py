"""Small benchmarks on disk for the tests of evaluation, each in the layout of its own."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from workflow_state import ROOT

SYSTEM = "你是厨师"
ANSWER = "您需要准备以下食材:\n盐\n白菜\n按以下方法制作:\n拌匀"
QUESTIONS = ROOT / "workflow" / "scripts" / "questions.py"
OPENCOMPASS = (
    Path(os.environ.get("BUTLER_ENVIRONMENTS", ROOT / ".envs")) / "opencompass" / "bin" / "python"
)


SCORER = '''
"""Answers that are a number."""

from typing import Literal

from butler.benchmarks.reference_answers import ReferenceBenchmark, ReferenceSettings


class NumberSettings(ReferenceSettings):
    """Sums."""

    kind: Literal["number"]
    within: float = 0.5
    """how far off is right"""


class Number(ReferenceBenchmark):
    """`number`."""

    kind = "number"
    Settings = NumberSettings
    metrics = ("near", "digits")

    @classmethod
    def score_answer(cls, settings, prediction, reference):
        near = prediction.isdigit() and abs(int(prediction) - int(reference)) <= settings.within
        return {"near": 100.0 * near, "digits": 100.0 * prediction.isdigit()}

    @classmethod
    def check_reference(cls, settings, reference):
        return None if reference.isdigit() else "the reference answer is no number"
'''


def read_questions(
    entry: dict,
    out: Path,
    held_out: Path | None = None,
    script: Path = QUESTIONS,
    repository: Path = ROOT,
    session_len: int = 100_000,
    rounds: tuple[str, ...] = (),
) -> subprocess.CompletedProcess[str]:
    """Run questions.py for an entry of `benchmarks`; OpenCompass' data sets need its python.

    `rounds`: options that say what is asked in which rounds.
    """
    python = OPENCOMPASS if entry["kind"] == "opencompass" else Path(sys.executable)
    command = [python, script, "--benchmark", json.dumps(entry), "--repository", repository]
    command += ["--out", out, *(["--held-out", held_out] if held_out else [])]
    command += ["--session-len", session_len, *rounds]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True)


def sheet_of(
    entry: dict, folder: Path, held_out: Path | None = None, rounds: tuple[str, ...] = ()
) -> Path:
    """Return the question sheet of an entry."""
    out = folder / f"{entry['name']}.jsonl"
    done = read_questions(entry, out, held_out, rounds=rounds)
    assert done.returncode == 0, done.stderr
    return out


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _table(path: Path, rows: list[list]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows(rows)


def write_ceval(folder: Path, subjects: dict[str, str], shots: int = 5) -> Path:
    """Write a C-Eval folder; `subjects` maps a name to the right answers of its val rows."""
    header = ["id", "question", "A", "B", "C", "D", "answer", "explanation"]
    for subject, answers in subjects.items():
        for split, letters in (("dev", "B" * shots), ("val", answers), ("test", "A")):
            rows = [
                [number, f"{split}题{number}____,\n“引号”", 1, 2, 3, 4, letter, "因为"]
                for number, letter in enumerate(letters)
            ]
            _table(folder / split / f"{subject}_{split}.csv", [header, *rows])
    return folder


def write_cmmlu(folder: Path, subjects: dict[str, str]) -> Path:
    """Write a CMMLU folder; `subjects` maps a name to the right answers of its test rows."""
    header = ["", "Question", "A", "B", "C", "D", "Answer"]
    for subject, answers in subjects.items():
        for split, letters in (("dev", "ABCDA"), ("test", answers)):
            rows = [[n, f"{split}第{n}题", 1, 2, 3, 4, letter] for n, letter in enumerate(letters)]
            _table(folder / split / f"{subject}.csv", [header, *rows])
    return folder


def write_gsm8k(folder: Path, answers: list[int]) -> Path:
    """Write a GSM8K folder; the questions have these answers."""
    folder.mkdir(parents=True)
    for split in ("train", "test"):
        lines = [
            json.dumps({"question": f"How much is {n}?", "answer": f"It is so.\n#### {n:,}"})
            for n in answers
        ]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def write_recipes(path: Path, count: int, system: str = SYSTEM) -> Path:
    turns = [
        {"system": system, "input": f"第{number}道菜的做法", "output": ANSWER}
        for number in range(count)
    ]
    lines = [json.dumps({"conversation": [turn]}, ensure_ascii=False) for turn in turns]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def scripts_with_scorer(folder: Path) -> Path:
    """Return a copy of the scripts with a new kind of benchmark, `number`, in one new file."""
    shutil.copytree(QUESTIONS.parent, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "butler" / "benchmarks" / "number.py").write_text(SCORER)
    return folder
