"""What evaluation takes for done: every question asked, answered and scored, and it adds up."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from butler.benchmarks.opencompass.proof import FINISHES, rows, to_csv, verify
from butler.benchmarks.question_sheet import Question, QuestionSheet, read_sheet, write_sheet
from butler.benchmarks.registry import KINDS
from butler.errors import ButlerError

EXAM = KINDS["opencompass"]
ENTRY = EXAM.Settings.check(
    {"name": "exam", "kind": "opencompass", "dataset": "ceval_gen", "path": "data"}
)
SHEET = QuestionSheet(
    "exam", {"law": [Question("law", 0, "甲?", "A", group="arts"), Question("law", 1, "乙?", "B")]}
)
PROMPT = [
    {"role": "HUMAN", "prompt": "例"},
    {"role": "BOT", "prompt": "C"},
    {"role": "HUMAN", "prompt": "甲?"},
]
SCORES = [{"score": 100.0, "extracted": "A"}, {"score": 0.0, "extracted": "C"}]


def write_run(folder: Path, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> Path:
    """Write what OpenCompass leaves after SHEET with one right and one wrong answer."""
    predictions: dict[str, Any] = {
        "0": {"origin_prompt": PROMPT, "prediction": "答A", "gold": "A"},
        "1": {"origin_prompt": PROMPT, "prediction": "C", "gold": "B"},
    }
    result: dict[str, Any] = {
        "accuracy": 50.0,
        "main_metric": "accuracy",
        "questions": [dict(one) for one in SCORES],
    }
    change(predictions, result)
    for kind, value in (("predictions", predictions), ("results", result)):
        path = folder / kind / "fp16" / "law.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(value), encoding="utf-8")
    texts = [one["prediction"] for one in predictions.values()]
    write_answers(
        folder,
        [
            {"number": number, "finish": FINISHES[number % 2], "text": text}
            for number, text in enumerate(texts)
        ],
    )
    return folder


def write_answers(folder: Path, answers: list[dict[str, Any]]) -> None:
    """Write the answers as the model gave them, the last first, as they may come."""
    lines = [json.dumps(one) + "\n" for one in reversed(answers)]
    (folder / "answered.jsonl").write_text("".join(lines), encoding="utf-8")


def verified(
    folder: Path, sheet: QuestionSheet = SHEET, kind: Any = EXAM, settings: Any = ENTRY
) -> list[dict[str, Any]]:
    """What a run is worth."""
    return verify(sheet, kind, settings, "fp16", folder, folder / "answered.jsonl")


def test_verified_run_gives_a_record_per_question(tmp_path: Path) -> None:
    first, second = verified(write_run(tmp_path, lambda p, r: None))
    assert first == {
        "dataset": "law",
        "index": 0,
        "question": "甲?",
        "reference": "A",
        "prediction": "答A",
        "finish": "stop",
        "round": 1,
        "shots": 1,
        "group": "arts",
        "extracted": "A",
        "score": 100.0,
    }
    assert (second["score"], second["extracted"], second["finish"]) == (0.0, "C", "length")
    assert "group" not in second


def drop(mapping: dict[str, Any], key: str) -> None:
    del mapping[key]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p, r: drop(p, "1"), "1 answers for 2 questions"),
        (lambda p, r: p.update({"2": p.pop("1")}), "question 1 has no answer"),
        (lambda p, r: p["1"].update(prediction=None), "question 1 has no answer: None"),
        (lambda p, r: p["1"].update(gold="D"), "holds 'D' for the right answer"),
        (lambda p, r: drop(p["1"], "gold"), "holds None for the right answer"),
        (lambda p, r: r["questions"].pop(), "law: 1 scores for 2 questions"),
        (lambda p, r: drop(r, "questions"), "law: no scores for 2 questions"),
        (lambda p, r: r["questions"][1].update(score=None), "question 1 has no score: None"),
        (lambda p, r: r.update(accuracy=75.0), "average 50.00 but OpenCompass says 75.00"),
        (lambda p, r: r.update(accuracy="-"), "law accuracy has no score: '-'"),
        (lambda p, r: r.update(accuracy=float("nan")), "law accuracy has no score: nan"),
        (lambda p, r: drop(r, "accuracy"), "law has no score of 'accuracy'"),
        (lambda p, r: r.update(error="lost"), "could not score law: lost"),
    ],
)
def test_incomplete_run_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any], dict[str, Any]], None], message: str
) -> None:
    with pytest.raises(ButlerError, match=message):
        verified(write_run(tmp_path, change))


ANSWERS = [
    {"number": 0, "finish": "stop", "text": "答A"},
    {"number": 1, "finish": "length", "text": "C"},
]


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (ANSWERS[:1], "has 1 answers for 2 questions"),
        ([ANSWERS[0], *ANSWERS], "has 3 answers for 2 questions"),
        ([ANSWERS[0], ANSWERS[1] | {"number": 0}], "has 2 answers for 2 questions"),
        ([ANSWERS[0], ANSWERS[1] | {"text": "答A"}], "question 1: .*'C', but the model gave '答A'"),
        ([ANSWERS[0], ANSWERS[1] | {"finish": None}], "question 1: the answer ended with None"),
        ([ANSWERS[0], ANSWERS[1] | {"finish": "error"}], "the answer ended with 'error'"),
    ],
)
def test_answers_that_are_not_those_of_the_questions_are_refused(
    tmp_path: Path, answers: list[dict[str, Any]], message: str
) -> None:
    folder = write_run(tmp_path, lambda p, r: None)
    write_answers(folder, answers)
    with pytest.raises(ButlerError, match=message):
        verified(folder)


def test_missing_result_file_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path, lambda p, r: None)
    (run / "results" / "fp16" / "law.json").unlink()
    with pytest.raises(ButlerError, match="left no results for law"):
        verified(run)


@pytest.mark.parametrize("gold", [0, False, [], None])
def test_a_right_answer_that_python_takes_for_nothing_is_one(tmp_path: Path, gold: Any) -> None:
    """OpenCompass leaves it out of its predictions."""
    reference = "" if gold is None else json.dumps(gold)
    sheet = QuestionSheet("exam", {"law": [Question("law", 0, "?", reference)]})

    def change(predictions: dict[str, Any], result: dict[str, Any]) -> None:
        del predictions["1"], predictions["0"]["gold"], result["questions"][1]
        result["accuracy"] = 100.0

    assert len(verified(write_run(tmp_path, change), sheet)) == 1


def test_a_question_asked_without_its_system_prompt_is_refused(tmp_path: Path) -> None:
    kind = KINDS["qa"]
    settings = kind.Settings.check({"name": "law", "kind": "qa"})
    sheet = QuestionSheet("law", {"law": [Question("law", 0, "菜", "炒", system="你是厨师")]})

    def change(predictions: dict[str, Any], result: dict[str, Any]) -> None:
        asked = [{"role": "user", "content": "菜"}]
        predictions["0"] = {"origin_prompt": asked, "prediction": "炒", "gold": "炒"}
        del predictions["1"], result["questions"][1]

    with pytest.raises(ButlerError, match="was asked as"):
        verified(write_run(tmp_path, change), sheet, kind, settings)


def sheet_of_sizes(sizes: dict[str, int]) -> QuestionSheet:
    return QuestionSheet(
        "exam",
        {name: [Question(name, n, "?", "A") for n in range(size)] for name, size in sizes.items()},
    )


def records_of(sheet: QuestionSheet, cut: int = 0) -> list[dict[str, Any]]:
    """Records of a sheet's answers, the first `cut` of each data set cut at the limit."""
    return [
        {"dataset": name, "finish": "length" if place < cut else "stop"}
        for name, questions in sheet.data_sets.items()
        for place in range(len(questions))
    ]


def test_average_row_is_the_plain_mean_over_data_sets() -> None:
    scores = {
        "law": {"main_metric": "accuracy", "accuracy": 50.0},
        "tax": {"main_metric": "accuracy", "accuracy": 100.0},
    }
    sheet = sheet_of_sizes({"law": 9, "tax": 1})
    table = rows(sheet, EXAM, ENTRY, "w4", scores, records_of(sheet, cut=1))
    assert to_csv(table).splitlines() == [
        "benchmark,variant,dataset,metric,score,questions,cut",
        "exam,w4,law,accuracy,50.00,9,11.11",
        "exam,w4,tax,accuracy,100.00,1,100.00",
        "exam,w4,average,accuracy,75.00,10,20.00",
    ]


def test_an_average_over_several_metrics_is_called_score() -> None:
    scores = {
        "law": {"main_metric": "accuracy", "accuracy": 50.0},
        "tax": {"main_metric": "rouge1", "rouge1": 20.0, "rouge2": 1.0},
    }
    sheet = sheet_of_sizes({"law": 1, "tax": 1})
    table = rows(sheet, EXAM, ENTRY, "w4", scores, records_of(sheet))
    assert [(row["dataset"], row["metric"], row["score"]) for row in table] == [
        ("law", "accuracy", "50.00"),
        ("tax", "rouge1", "20.00"),
        ("average", "score", "35.00"),
    ]


@pytest.mark.parametrize("scores", [{}, {"law": {}}, {"law": {"accuracy": 101.0}}])
def test_rows_without_a_proper_score_are_refused(scores: dict[str, Any]) -> None:
    full = {name: one | {"main_metric": "accuracy"} for name, one in scores.items()}
    with pytest.raises(ButlerError):
        rows(SHEET, EXAM, ENTRY, "w4", full, records_of(SHEET))


# The question sheet


def test_a_sheet_is_read_as_it_was_written(tmp_path: Path) -> None:
    questions = [
        Question("a", 0, "两行\n\u2028问题", "答", system="你是厨师"),
        Question("b", 0, "?", "", group="arts"),
        Question("b", 4, "烧肉的做法", "", cluster="烧肉", round=3),
    ]
    write_sheet(tmp_path / "x.jsonl", questions)
    assert (tmp_path / "x.jsonl").read_text(encoding="utf-8").count("\n") == 3
    sheet = read_sheet(tmp_path / "x.jsonl", "x")
    assert [one for part in sheet.data_sets.values() for one in part] == questions
    assert sheet.total == 3


@pytest.mark.parametrize("line", ["", "{", "[1]", '{"dataset": "a"}'])
def test_a_broken_sheet_is_one_sentence(tmp_path: Path, line: str) -> None:
    (tmp_path / "x.jsonl").write_text(line + "\n")
    with pytest.raises(ButlerError, match="make the file again"):
        read_sheet(tmp_path / "x.jsonl", "x")
    with pytest.raises(ButlerError, match="is missing"):
        read_sheet(tmp_path / "y.jsonl", "y")
