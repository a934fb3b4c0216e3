"""The report of variants that were asked in rounds: what is compared, counted and refused."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from butler.checks import conclude
from butler.comparisons import change_of, common, looks_of
from butler.rounds import Rounds
from report_stages import (
    arguments_of,
    options_of,
    report,
    write_efficiency,
    write_records,
    write_rest,
)

PLANNED = [40, 80]
ASKED = {"base": 1, "fp16": 2, "w4": 1, "kv8": 2}  # rounds
Record = dict[str, Any]


def answered(variant: str, number: int) -> Record:
    """Of two data sets; every second question is of the first round. w4 loses what fp16 has."""
    right = number % 8 < 6 and not (variant == "w4" and number % 2 == 0)
    return {
        "dataset": ("law", "tax")[number // 40],
        "index": number % 40,
        "question": f"Question {number}?",
        "reference": "ABCD"[number % 4],
        "prediction": f"{variant} says {number}",
        "finish": "stop",
        "score": 100.0 * right,
        "round": 1 + number % 2,
        "cluster": f"law {number // 2}" if number < 40 else "",
    }


def asked_of(variant: str) -> list[Record]:
    records = [answered(variant, number) for number in range(80)]
    return [one for one in records if one["round"] <= ASKED[variant]]


def made(
    folder: Path,
    edit: Callable[[dict[str, list[Record]]], None] = lambda found: None,
    **planned: Any,
) -> Any:
    """Run the report on one benchmark, with records as `edit` leaves them."""
    found = {variant: asked_of(variant) for variant in ASKED}
    edit(found)
    for variant, records in found.items():
        write_records(folder, "exam", variant, records, "accuracy")
        if variant != "base":
            write_efficiency(folder, variant, (0.0, 32_000_000, 2048, 90.0))
        wrote = [folder / f"results/exam_{variant}.csv"]
        wrote += [folder / f"evaluate/exam_{variant}/details.jsonl"]
        check = folder / f"results/checks/evaluation_exam_{variant}.json"
        measured = {"planned_rounds": planned.get(variant, PLANNED)}
        conclude(check, check.stem, True, "done", measured, {}, wrote)
    for variant in set(found) - {"base"}:
        check = folder / f"results/checks/efficiency_{variant}.json"
        table = folder / f"results/efficiency_{variant}.csv"
        conclude(check, check.stem, True, "done", {}, {}, [table])
    write_rest(folder)
    own = {"variants": ["fp16", "kv8", "w4"], "benchmarks": ["exam=An exam"]}
    return report(arguments_of(options_of(folder) | own))


def test_models_are_compared_on_what_both_were_asked(tmp_path: Path) -> None:
    done = made(tmp_path)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "out" / "summary.csv").open(encoding="utf-8") as stream:
        rows = {row["variant"]: row for row in csv.DictReader(stream)}
    assert {name: row["exam_questions"] for name, row in rows.items()} == {
        "base": "40", "fp16": "80", "kv8": "80", "w4": "40"
    }  # fmt: skip
    # Of the first round fp16 has 30 of 40 right, of both 60 of 80; w4 has none.
    assert (rows["w4"]["exam_change"], rows["w4"]["exam_lost"]) == ("-75.0", "30.0")
    assert rows["w4"]["exam_verdict"] == "over" and rows["kv8"]["exam_verdict"] == "within"
    html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "40 questions</span>" in html and "A variant is asked no further once it is" in html
    # 60 of 80 questions are different: those of law come in pairs.
    assert "Of the 80 questions of An exam only 60 are different ones" in html


def test_the_looks_are_those_of_the_rounds_that_were_asked() -> None:
    pairs = common(asked_of("kv8"), asked_of("fp16"))
    looks = looks_of(pairs, Rounds(PLANNED))
    assert [sample.questions for sample in looks.samples] == PLANNED
    # law's 40 questions are 20 clusters, tax's 40 are one each
    assert change_of(pairs).questions == 80 and looks.last.clusters == pytest.approx(
        1 / (20 * (1 / 40) ** 2 + 40 * (1 / 80) ** 2)
    )
    early = looks_of(common(asked_of("w4"), asked_of("fp16")), Rounds(PLANNED))
    assert [sample.questions for sample in early.samples] == [40]


def drop(found: dict[str, list[Record]]) -> None:
    del found["w4"][3]


def reword(found: dict[str, list[Record]]) -> None:
    found["kv8"][3]["question"] = "Another?"


def invent(found: dict[str, list[Record]]) -> None:
    found["kv8"].append(found["kv8"][-1] | {"index": 40})


def reround(found: dict[str, list[Record]]) -> None:
    found["kv8"][3]["round"] = 1


def repeat(found: dict[str, list[Record]]) -> None:
    found["kv8"].append(found["kv8"][-1])


def beyond(found: dict[str, list[Record]]) -> None:
    for records in found.values():
        records[-1]["round"] = 3


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (drop, "fp16 and w4 were not asked the same questions: 1 of the 40 up to round 1 were not"),
        (reword, "fp16 and kv8 were asked different questions, number 3 of law for one"),
        (invent, "fp16 and kv8 were asked different questions, number 40 of tax for one"),
        (reround, "fp16 and kv8 were asked number 3 of law in different rounds; evaluate again"),
        (repeat, "details.jsonl has a question twice; evaluate kv8 again"),
        (beyond, "has a round 3, but"),
    ],
)
def test_other_questions_are_refused_in_a_sentence(
    tmp_path: Path, edit: Callable[[dict[str, list[Record]]], None], message: str
) -> None:
    done = made(tmp_path, edit)
    assert done.returncode == 1 and message in done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("planned", [[80, 40], ["40", 80], 80])
def test_rounds_that_were_not_planned_so_are_refused(tmp_path: Path, planned: Any) -> None:
    done = made(tmp_path, w4=planned)
    assert done.returncode == 1 and "has no rising numbers of questions" in done.stderr


def test_models_of_different_plans_are_refused(tmp_path: Path) -> None:
    done = made(tmp_path, w4=[20, 80])
    assert done.returncode == 1 and "fp16 and w4 had different rounds planned" in done.stderr


def test_a_decision_names_what_was_asked_of_both(tmp_path: Path) -> None:
    assert made(tmp_path).returncode == 0
    decision = json.loads((tmp_path / "out" / "decision.json").read_text(encoding="utf-8"))
    asked = {one["variant"]: one["benchmarks"] for one in decision["verdicts"]}
    assert asked["w4"]["exam"]["change"]["questions"] == 40
    assert asked["kv8"]["exam"]["change"]["questions"] == 80
