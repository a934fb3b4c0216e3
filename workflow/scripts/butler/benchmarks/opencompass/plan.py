"""What is to be asked, read from the benchmark's own files before anything is started."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from butler.ceval import read_rows
from butler.errors import ButlerError

BENCHMARKS = ("ceval", "recipe")
MAIN_METRICS = {"ceval": "accuracy", "recipe": "ingredient_f1"}
SHOTS = 5
_SPLITS = ("dev", "val", "test")
_CEVAL_COLUMNS = ("question", "A", "B", "C", "D")


@dataclass(frozen=True)
class Question:
    """One question: `text` for people, `reference` the right answer.

    `prompt` is the exact chat as (role, content) where it is ours to say, else None.
    """

    text: str
    reference: str
    prompt: tuple[tuple[str, str], ...] | None = None


@dataclass(frozen=True)
class Plan:
    """The questions of a benchmark by data set (C-Eval subject, or `recipe`), in file order."""

    benchmark: str
    questions: dict[str, list[Question]]

    @property
    def main_metric(self) -> str:
        """The metric of the `average` row."""
        return MAIN_METRICS[self.benchmark]

    @property
    def total(self) -> int:
        """How many questions there are."""
        return sum(len(questions) for questions in self.questions.values())


def plan_ceval(folder: Path, subjects: Sequence[str], split: str) -> Plan:
    """Read the chosen subjects of a C-Eval folder (dev, val, test of `{subject}_{split}.csv`).

    Raises:
        ButlerError: if a file is missing, has fewer rows than needed, or has no answers.
    """
    if not subjects:
        raise ButlerError("--subjects names no C-Eval subject")
    questions = {}
    for subject in subjects:
        # OpenCompass opens all three files of a subject whichever split is asked.
        for name in _SPLITS:
            _existing(folder / name / f"{subject}_{name}.csv")
        shots = _ceval_rows(folder / "dev" / f"{subject}_dev.csv")
        if len(shots) < SHOTS:
            raise ButlerError(
                f"{folder / 'dev' / f'{subject}_dev.csv'} has {len(shots)} examples; "
                f"a {SHOTS}-shot prompt needs {SHOTS}"
            )
        questions[subject] = _ceval_rows(folder / split / f"{subject}_{split}.csv")
    return Plan("ceval", questions)


def plan_recipe(test_file: Path, count: int) -> Plan:
    """Read the first `count` held-out recipes (all if 0) of a test.jsonl.

    Raises:
        ButlerError: if the file is missing or empty, or a line is not a training sample.
    """
    questions = []
    with _existing(test_file).open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            questions.append(_recipe(line, f"{test_file} line {number}"))
            if len(questions) == count:
                break
    if not questions:
        raise ButlerError(f"{test_file} holds no recipe to ask for")
    if count > len(questions):
        raise ButlerError(f"{test_file} holds {len(questions)} recipes, --questions asks {count}")
    if len({bool(question.prompt and len(question.prompt) == 2) for question in questions}) > 1:
        raise ButlerError(f"{test_file}: some recipes have a system prompt and some have none")
    return Plan("recipe", {"recipe": questions})


def link_ceval(folder: Path, cache: Path) -> None:
    """Lay out symbolic links to a C-Eval folder as OpenCompass wants its data, under `cache`."""
    target = cache / "data" / "ceval" / "formal_ceval"
    target.mkdir(parents=True)
    for split in _SPLITS:
        os.symlink((folder / split).resolve(), target / split, target_is_directory=True)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ButlerError(f"{path} is missing; the benchmark needs it")
    return path


def _ceval_rows(path: Path) -> list[Question]:
    rows = []
    for number, row in enumerate(read_rows(path, (*_CEVAL_COLUMNS, "answer")), 1):
        answer = row["answer"]
        if answer not in ("A", "B", "C", "D"):
            raise ButlerError(
                f"{path} question {number}: answer {answer[:80]!r} is none of A, B, C, D"
            )
        options = "\n".join(f"{name}. {row[name]}" for name in "ABCD")
        rows.append(Question(f"{row['question']}\n{options}", answer))
    if not rows:
        raise ButlerError(f"{path} has no question")
    return rows


def _recipe(line: bytes, where: str) -> Question:
    try:
        turn = json.loads(line)["conversation"][0]
        system, text, answer = turn.get("system") or "", turn["input"], turn["output"]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        why = f"{type(error).__name__}: {error}"[:200]
        raise ButlerError(f"{where} is not a sample with input and output ({why})") from error
    if not all(isinstance(part, str) for part in (system, text, answer)):
        raise ButlerError(f"{where}: system, input and output must be texts")
    prompt = (("SYSTEM", system),) if system else ()
    return Question(text, answer, (*prompt, ("HUMAN", text)))
