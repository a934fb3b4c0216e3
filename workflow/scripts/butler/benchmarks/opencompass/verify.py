"""The proof that OpenCompass asked what it was told to, and the rows it earned."""

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

from butler.benchmarks.opencompass.plan import Plan, Question
from butler.benchmarks.recipe import metrics
from butler.errors import ButlerError
from butler.files import spreadsheet_safe

COLUMNS = ("benchmark", "variant", "dataset", "metric", "score", "questions")
METRICS = {"ceval": ("accuracy",), "recipe": metrics.METRICS}


def verify(plan: Plan, variant: str, run: Path) -> list[dict[str, Any]]:
    """Check the predictions and results in the OpenCompass folder `run` against the plan.

    Returns:
        One record per question, in order: dataset, index, question, reference, prediction,
        extracted (the letter, C-Eval only), score (0 to 100, main metric), shots, and for recipes
        `metrics`.

    Raises:
        ButlerError: if a data set, a question or a score is missing, an answer went to another
            question, or a prompt is not the planned one.
    """
    details = []
    for dataset, questions in plan.questions.items():
        answers = _numbered(run / "predictions" / variant / f"{dataset}.json", dataset)
        if len(answers) != len(questions):
            raise ButlerError(f"{dataset}: {len(answers)} answers for {len(questions)} questions")
        result = _load(run / "results" / variant / f"{dataset}.json", dataset)
        records = [
            _record(dataset, index, question, answer)
            for index, (question, answer) in enumerate(zip(questions, answers, strict=True))
        ]
        {"ceval": _score_ceval, "recipe": _score_recipe}[plan.benchmark](records, result)
        details += records
    return details


def rows(plan: Plan, variant: str, scores: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of the results CSV from the scores by data set.

    The `average` row is C-Eval's own: the plain mean over subjects, whatever their size. For the
    recipes, one data set, it is the main metric.

    Raises:
        ButlerError: if a score is missing, not a number or outside 0 to 100.
    """
    if list(scores) != list(plan.questions):
        raise ButlerError(f"scores for {', '.join(scores) or 'nothing'}: not the planned data sets")
    table, main = [], []
    for dataset, questions in plan.questions.items():
        for metric in METRICS[plan.benchmark]:
            score = _score(scores[dataset].get(metric), f"{dataset} {metric}")
            table.append((dataset, metric, score, len(questions)))
            if metric == plan.main_metric:
                main.append(score)
    table.append(("average", plan.main_metric, sum(main) / len(main), plan.total))
    return [
        dict(zip(COLUMNS, (plan.benchmark, variant, *row), strict=True))
        | {"score": f"{row[2]:.2f}"}
        for row in table
    ]


def to_csv(table: list[dict[str, Any]]) -> str:
    """Return the rows as CSV text with a header."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in table:
        writer.writerow({name: spreadsheet_safe(value) for name, value in row.items()})
    return stream.getvalue()


def _load(path: Path, dataset: str) -> dict[str, Any]:
    if not path.exists():
        raise ButlerError(f"OpenCompass left no {path.parents[1].name} for {dataset} ({path})")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ButlerError(f"{path} is not JSON: {error}") from error
    if "error" in value:
        raise ButlerError(f"OpenCompass could not score {dataset}: {value['error']}")
    return dict(value)


def _numbered(path: Path, dataset: str) -> list[dict[str, Any]]:
    """Return the values of {"0": …, "1": …} in order; none may be missing."""
    value = _load(path, dataset)
    keys = [str(index) for index in range(len(value))]
    absent = [key for key in keys if key not in value]
    if absent:
        raise ButlerError(f"{dataset}: question {absent[0]} has no answer in {path}")
    return [value[key] for key in keys]


def _record(dataset: str, index: int, question: Question, answer: dict[str, Any]) -> dict[str, Any]:
    where = f"{dataset} question {index}"
    prediction = answer.get("prediction")
    if not isinstance(prediction, str):
        raise ButlerError(f"{where} has no answer: {prediction!r}")
    if answer.get("gold") != question.reference:
        raise ButlerError(f"{where}: OpenCompass holds {answer.get('gold')!r} for the right answer")
    prompt = tuple((turn["role"], turn["prompt"]) for turn in answer["origin_prompt"])
    if question.prompt is not None and prompt != question.prompt:
        raise ButlerError(f"{where} was asked as {prompt!r}, not as {question.prompt!r}")
    return {
        "dataset": dataset,
        "index": index,
        "question": question.text,
        "reference": question.reference,
        "prediction": prediction,
        "shots": sum(role == "BOT" for role, _ in prompt),
    }


def _score_ceval(records: list[dict[str, Any]], result: dict[str, Any]) -> None:
    """Add OpenCompass' letter and right or wrong to each record; they must add up."""
    for index, record in enumerate(records):
        detail = result["details"].get(str(index)) if "details" in result else None
        if detail is None:
            raise ButlerError(f"{record['dataset']} question {index} has no detail")
        record["extracted"] = detail["predictions"]
        record["score"] = 100.0 * (detail["predictions"] == record["reference"])
    _adds_up(records, result.get("accuracy"))


def _score_recipe(records: list[dict[str, Any]], result: dict[str, Any]) -> None:
    """Add the metrics of each question; they must add up to the overall score."""
    details = result.get("details") or []
    if len(details) != len(records):
        raise ButlerError(f"recipe: {len(details)} scores for {len(records)} questions")
    for record, detail in zip(records, details, strict=True):
        # OpenCompass wraps each value in a list, one item per run of the data set.
        record["metrics"] = {
            metric: detail[metric][0] for metric in METRICS["recipe"] if metric in detail
        }
        record["score"] = record["metrics"]["ingredient_f1"]
    _adds_up(records, result.get("ingredient_f1"))


def _adds_up(records: list[dict[str, Any]], overall: Any) -> None:
    dataset = records[0]["dataset"]
    mean = sum(record["score"] for record in records) / len(records)
    if abs(mean - _score(overall, dataset)) > 0.01:
        raise ButlerError(
            f"{dataset}: the questions average {mean:.2f} but OpenCompass says {overall:.2f}"
        )


def _score(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ButlerError(f"{name} has no score: {value!r}")
    if not -1e-6 <= value <= 100 + 1e-6:
        raise ButlerError(f"{name} scores {value}, outside 0 to 100")
    return float(value)
