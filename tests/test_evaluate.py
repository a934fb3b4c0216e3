"""What evaluation asks, and what it takes for done."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from butler.benchmarks.opencompass.plan import Plan, Question, plan_ceval, plan_recipe
from butler.benchmarks.opencompass.verify import rows, to_csv, verify
from butler.errors import ButlerError
from evaluation_data import ANSWER, SYSTEM, write_ceval, write_recipes

# What is to be asked


def test_ceval_plan_keeps_subject_and_row_order(tmp_path: Path) -> None:
    folder = write_ceval(tmp_path, {"law": "ABCD", "accountant": "BA"})
    plan = plan_ceval(folder, ["law", "accountant"], "val")
    assert list(plan.questions) == ["law", "accountant"]
    assert [question.reference for question in plan.questions["law"]] == list("ABCD")
    assert plan.questions["accountant"][0].text.endswith("A. 1\nB. 2\nC. 3\nD. 4")
    assert plan.total == 6


def test_ceval_without_a_split_file_names_it(tmp_path: Path) -> None:
    folder = write_ceval(tmp_path, {"law": "A"})
    (folder / "test" / "law_test.csv").unlink()
    with pytest.raises(ButlerError, match=r"law_test\.csv is missing"):
        plan_ceval(folder, ["law"], "val")


def test_ceval_with_too_few_examples_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ButlerError, match="has 4 examples; a 5-shot prompt needs 5"):
        plan_ceval(write_ceval(tmp_path, {"law": "A"}, shots=4), ["law"], "val")


def test_ceval_test_split_without_answers_is_refused(tmp_path: Path) -> None:
    folder = write_ceval(tmp_path, {"law": "A"})
    (folder / "test" / "law_test.csv").write_text("id,question,A,B,C,D\n0,q,1,2,3,4\n")
    with pytest.raises(ButlerError, match="publishes no answers of its test split"):
        plan_ceval(folder, ["law"], "test")


def test_recipe_plan_fixes_the_prompt_with_the_system_role(tmp_path: Path) -> None:
    plan = plan_recipe(write_recipes(tmp_path / "test.jsonl", 5), 3)
    first = plan.questions["recipe"][0]
    assert plan.total == 3
    assert first.prompt == (("SYSTEM", SYSTEM), ("HUMAN", "第0道菜的做法"))
    assert first.reference == ANSWER


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"conversation": []}', "line 3 is not a sample"),
        ("{", "line 3 is not a sample"),
        ('{"conversation": [{"input": "x"}]}', "line 3 is not a sample"),
        ('{"conversation": [{"input": "x", "output": "y"}]}', "some recipes have a system prompt"),
    ],
)
def test_recipe_plan_names_the_bad_line(tmp_path: Path, line: str, message: str) -> None:
    path = write_recipes(tmp_path / "test.jsonl", 2)
    path.write_text(path.read_text(encoding="utf-8") + line + "\n", encoding="utf-8")
    with pytest.raises(ButlerError, match=message):
        plan_recipe(path, 0)


def test_more_recipes_asked_than_held_out_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ButlerError, match="holds 2 recipes, --questions asks 9"):
        plan_recipe(write_recipes(tmp_path / "test.jsonl", 2), 9)


# What counts as done

PLAN = Plan("ceval", {"law": [Question("甲?", "A"), Question("乙?", "B")]})
PROMPT = [
    {"role": "HUMAN", "prompt": "例"},
    {"role": "BOT", "prompt": "C"},
    {"role": "HUMAN", "prompt": "甲?"},
]


def write_run(folder: Path, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> Path:
    """Write what OpenCompass leaves after PLAN with one right and one wrong answer."""
    predictions: dict[str, Any] = {
        "0": {"origin_prompt": PROMPT, "prediction": "答A", "gold": "A"},
        "1": {"origin_prompt": PROMPT, "prediction": "C", "gold": "B"},
    }
    result: dict[str, Any] = {
        "accuracy": 50.0,
        "details": {"type": "GEN", "0": {"predictions": "A"}, "1": {"predictions": "C"}},
    }
    change(predictions, result)
    for kind, value in (("predictions", predictions), ("results", result)):
        path = folder / kind / "fp16" / "law.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(value), encoding="utf-8")
    return folder


def test_verified_run_gives_a_record_per_question(tmp_path: Path) -> None:
    records = verify(PLAN, "fp16", write_run(tmp_path, lambda p, r: None))
    assert [record["score"] for record in records] == [100.0, 0.0]
    assert [record["extracted"] for record in records] == ["A", "C"]
    assert {record["shots"] for record in records} == {1}


def drop(mapping: dict[str, Any], key: str) -> None:
    del mapping[key]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p, r: drop(p, "1"), "1 answers for 2 questions"),
        (lambda p, r: p.update({"2": p.pop("1")}), "question 1 has no answer"),
        (lambda p, r: p["1"].update(prediction=None), "question 1 has no answer: None"),
        (lambda p, r: p["1"].update(gold="D"), "holds 'D' for the right answer"),
        (lambda p, r: drop(r["details"], "1"), "question 1 has no detail"),
        (lambda p, r: r.update(accuracy=75.0), "average 50.00 but OpenCompass says 75.00"),
        (lambda p, r: r.update(accuracy="-"), "law has no score: '-'"),
        (lambda p, r: r.update(accuracy=float("nan")), "law has no score: nan"),
        (lambda p, r: r.update(error="lost"), "could not score law: lost"),
    ],
)
def test_incomplete_run_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any], dict[str, Any]], None], message: str
) -> None:
    with pytest.raises(ButlerError, match=message):
        verify(PLAN, "fp16", write_run(tmp_path, change))


def test_missing_result_file_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path, lambda p, r: None)
    (run / "results" / "fp16" / "law.json").unlink()
    with pytest.raises(ButlerError, match="left no results for law"):
        verify(PLAN, "fp16", run)


def test_recipe_asked_without_its_system_prompt_is_refused(tmp_path: Path) -> None:
    question = Question("菜", ANSWER, (("SYSTEM", SYSTEM), ("HUMAN", "菜")))
    answer = {
        "origin_prompt": [{"role": "HUMAN", "prompt": "菜"}],
        "prediction": ANSWER,
        "gold": ANSWER,
    }
    for kind, value in (("predictions", {"0": answer}), ("results", {})):
        path = tmp_path / kind / "fp16" / "recipe.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(value), encoding="utf-8")
    with pytest.raises(ButlerError, match="was asked as"):
        verify(Plan("recipe", {"recipe": [question]}), "fp16", tmp_path)


def test_average_row_is_the_plain_mean_over_subjects() -> None:
    plan = Plan("ceval", {"law": [Question("?", "A")] * 9, "tax": [Question("?", "A")]})
    table = rows(plan, "w4", {"law": {"accuracy": 50.0}, "tax": {"accuracy": 100.0}})
    assert to_csv(table).splitlines() == [
        "benchmark,variant,dataset,metric,score,questions",
        "ceval,w4,law,accuracy,50.00,9",
        "ceval,w4,tax,accuracy,100.00,1",
        "ceval,w4,average,accuracy,75.00,10",
    ]


@pytest.mark.parametrize("scores", [{}, {"law": {}}, {"law": {"accuracy": 101.0}}])
def test_rows_without_a_proper_score_are_refused(scores: dict[str, Any]) -> None:
    with pytest.raises(ButlerError):
        rows(PLAN, "w4", scores)
