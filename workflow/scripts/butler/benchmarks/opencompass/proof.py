"""The proof that OpenCompass asked what it was told to, and the rows it earned."""

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from butler.benchmarks.base import Benchmark, BenchmarkSettings
from butler.benchmarks.opencompass.gold import CLOSE, NOTHING, gold_text
from butler.benchmarks.question_sheet import Question, QuestionSheet
from butler.errors import ButlerError
from butler.files import spreadsheet_safe
from butler.json_files import read_object

COLUMNS = ("benchmark", "variant", "dataset", "metric", "score", "questions", "cut")
AVERAGE = "average"  # the row of a table that is no data set
MIXED = "score"  # what an average over data sets with different main metrics is called
ANSWER_ROLES = ("BOT", "assistant")
CUT = "length"  # how the API calls it that an answer ended at max_new_tokens
FINISHES = ("stop", CUT)


def verify(
    sheet: QuestionSheet,
    kind: type[Benchmark],
    settings: BenchmarkSettings,
    variant: str,
    run: Path,
    answered: Path,
) -> list[dict[str, Any]]:
    """Check the predictions and results in the OpenCompass folder `run` against the sheet.

    Args:
        answered: the answers as the model gave them (chat_models.py).

    Returns:
        One record per question, in order: dataset, index, question, reference, prediction, round,
        finish (of FINISHES), score (0 to 100, main metric) and, where they are known, extracted
        (the answer as OpenCompass scored it), metrics, shots (examples in the prompt), group and
        cluster.

    Raises:
        ButlerError: if a data set, a question or a score is missing, an answer went to another
            question, a prompt that is ours to say was another, or the questions' scores do not add
            up.
    """
    details: list[dict[str, Any]] = []
    given = _given(answered, sheet.total)
    for dataset, questions in sheet.data_sets.items():
        answers = _numbered(run / "predictions" / variant / f"{dataset}.json", dataset)
        if len(answers) != len(questions):
            raise ButlerError(f"{dataset}: {len(answers)} answers for {len(questions)} questions")
        result = _load(run / "results" / variant / f"{dataset}.json", dataset)
        records = [
            _record(question, answer, kind.own_prompts)
            for question, answer in zip(questions, answers, strict=True)
        ]
        _add_finishes(records, given[len(details) :], dataset)
        _add_scores(records, result.get("questions"), dataset)
        main, overall = next(iter(_main_first(kind, settings, result, dataset)))
        _adds_up(records, main, overall)
        details += records
    return details


def rows(
    sheet: QuestionSheet,
    kind: type[Benchmark],
    settings: BenchmarkSettings,
    variant: str,
    scores: dict[str, dict[str, Any]],
    details: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    """Return the rows of the results CSV from the scores by data set and the records of `verify`.

    The `average` row is the plain mean of the main metric over the data sets, whatever their size,
    as C-Eval has it over its subjects. `cut` is the share of a row's answers that ended at
    max_new_tokens, 0 to 100.

    Raises:
        ButlerError: if a score is missing, not a number or outside 0 to 100.
    """
    if list(scores) != list(sheet.data_sets):
        raise ButlerError(f"scores for {', '.join(scores) or 'nothing'}: not the planned data sets")
    table, main = [], []
    for dataset, questions in sheet.data_sets.items():
        found = list(_main_first(kind, settings, scores[dataset], dataset))
        main.append(found[0])
        table += [(dataset, metric, score, len(questions)) for metric, score in found]
    names = {metric for metric, _ in main}
    metric = names.pop() if len(names) == 1 else MIXED
    table.append((AVERAGE, metric, sum(score for _, score in main) / len(main), sheet.total))
    cut = {name: cut_share(r for r in details if r["dataset"] == name) for name in sheet.data_sets}
    cut[AVERAGE] = cut_share(details)
    return [
        dict(zip(COLUMNS, (sheet.benchmark, variant, *row, f"{cut[row[0]]:.2f}"), strict=True))
        | {"score": f"{row[2]:.2f}"}
        for row in table
    ]


def cut_share(records: Iterable[dict[str, Any]]) -> float:
    """Return the share of the answers that ended at max_new_tokens, 0 to 100."""
    cut = [record["finish"] == CUT for record in records]
    return 100 * sum(cut) / len(cut)


def to_csv(table: list[dict[str, Any]]) -> str:
    """Return the rows as CSV text with a header."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in table:
        writer.writerow({name: spreadsheet_safe(value) for name, value in row.items()})
    return stream.getvalue()


def _main_first(
    kind: type[Benchmark], settings: BenchmarkSettings, result: dict[str, Any], dataset: str
) -> Iterator[tuple[str, float]]:
    """Yield the metrics of a data set and their scores, the main one first."""
    try:
        found = kind.metrics_of(settings, result)
    except KeyError as error:
        raise ButlerError(f"{dataset} has no score of {error}") from error
    for metric, score in found.items():
        yield metric, _score(score, f"{dataset} {metric}")


def _load(path: Path, dataset: str) -> dict[str, Any]:
    if not path.exists():
        raise ButlerError(f"OpenCompass left no {path.parents[1].name} for {dataset} ({path})")
    value = read_object(path)
    if "error" in value:
        raise ButlerError(f"OpenCompass could not score {dataset}: {value['error']}")
    return value


def _numbered(path: Path, dataset: str) -> list[dict[str, Any]]:
    """Return the values of {"0": …, "1": …} in order; none may be missing."""
    value = _load(path, dataset)
    keys = [str(index) for index in range(len(value))]
    absent = [key for key in keys if key not in value]
    if absent:
        raise ButlerError(f"{dataset}: question {absent[0]} has no answer in {path}")
    return [value[key] for key in keys]


def _record(question: Question, answer: dict[str, Any], own_prompt: bool) -> dict[str, Any]:
    where = f"{question.dataset} question {question.index}"
    prediction = answer.get("prediction")
    if not isinstance(prediction, str):
        raise ButlerError(f"{where} has no answer: {prediction!r}")
    gold, prompt = answer.get("gold"), answer["origin_prompt"]
    if gold_text(gold) != question.reference and (gold or question.reference not in NOTHING):
        raise ButlerError(f"{where}: OpenCompass holds {gold!r} for the right answer")
    if own_prompt and prompt != question.messages:
        raise ButlerError(f"{where} was asked as {prompt!r}, not as {question.messages!r}")
    record = {
        "dataset": question.dataset,
        "index": question.index,
        "question": question.question,
        "reference": question.reference,
        "prediction": prediction,
        "round": question.round,
    }
    if isinstance(prompt, list):
        record["shots"] = sum(turn["role"] in ANSWER_ROLES for turn in prompt)
    record |= {key: value for key in ("group", "cluster") if (value := getattr(question, key))}
    return record


def _given(path: Path, total: int) -> list[dict[str, Any]]:
    """Return the answers as the model gave them, in the order asked."""
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
    given = sorted(map(json.loads, lines), key=lambda one: one["number"])
    if [one["number"] for one in given] != list(range(total)):
        raise ButlerError(f"{path} has {len(given)} answers for {total} questions")
    return given


def _add_finishes(records: list[dict[str, Any]], given: list[dict[str, Any]], dataset: str) -> None:
    """Add to each record why its answer ended; `given` are the answers from its first on."""
    for record, one in zip(records, given, strict=False):
        where = f"{dataset} question {record['index']}"
        if one["text"] != record["prediction"]:
            raise ButlerError(
                f"{where}: OpenCompass holds the answer {record['prediction'][:80]!r}, but the "
                f"model gave {one['text'][:80]!r}"
            )
        if one["finish"] not in FINISHES:
            raise ButlerError(f"{where}: the answer ended with {one['finish']!r}, not whole or cut")
        record["finish"] = one["finish"]


def _add_scores(records: list[dict[str, Any]], scores: Any, dataset: str) -> None:
    """Add to each record what it scored."""
    if not isinstance(scores, list) or len(scores) != len(records):
        found = len(scores) if isinstance(scores, list) else "no"
        raise ButlerError(f"{dataset}: {found} scores for {len(records)} questions")
    for record, found in zip(records, scores, strict=True):
        where = f"{dataset} question {record['index']}"
        record |= found | {"score": _score(found.get("score"), where)}


def _adds_up(records: list[dict[str, Any]], metric: str, overall: float) -> None:
    mean = sum(record["score"] for record in records) / len(records)
    if abs(mean - overall) > CLOSE:
        raise ButlerError(
            f"{records[0]['dataset']}: the questions average {mean:.2f} but OpenCompass says "
            f"{overall:.2f}: its {metric} is no mean over questions, so variants cannot be "
            "compared by it; take another data set"
        )


def _score(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ButlerError(f"{name} has no score: {value!r}")
    if not -1e-6 <= value <= 100 + 1e-6:
        raise ButlerError(f"{name} scores {value}, outside 0 to 100")
    return float(value)
