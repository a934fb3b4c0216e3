"""Answers cut at their limit: counted beside the scores, and told of where they decide."""

import json
from pathlib import Path
from typing import Any

import pytest

from butler.report_sections.accuracy_section import score_rows
from butler.report_sections.cut_answers import change, cut_remarks
from butler.texts import say
from test_report import make_stages, run
from test_report_parts import evaluation, findings

TEN = range(10)


def remarks(**variants: tuple[list[float], Any]) -> list[str]:
    """What is said of variants with these scores and places of cut answers, 2 points allowed."""
    made = [evaluation(name, scores, cut=cut) for name, (scores, cut) in variants.items()]
    return [say(one, "en") for one in cut_remarks(findings(*made), max_loss=2.0)]


def test_nothing_is_said_of_cut_answers_that_change_nothing() -> None:
    assert remarks(fp16=([50] * 10, ()), w4=([50] * 10, ())) == []
    assert remarks(fp16=([50] * 10, [1]), w4=([50] * 10, [1, 2])) == []


def test_cut_answers_that_decide_are_told_with_both_figures() -> None:
    """w4 loses 4 points of 10 answers, all of them where two were cut."""
    [said] = remarks(fp16=([50] * 10, ()), w4=([30, 30, *[50] * 8], [0, 1]))
    assert "Cut answers decide on w4" in said
    assert "-4.00 points over all" in said and "+0.00 over the 8 that" in said
    assert "limit of -2" in said


def test_cut_answers_may_also_hide_a_loss() -> None:
    """Both cut where fp16 would have said more: over the whole answers w4 loses 5."""
    scores = [80, 80, 80, 80, 45, 45, 45, 45, 45, 45]
    [said] = remarks(fp16=([50] * 10, ()), w4=(scores, [0, 1, 2, 3]))
    assert "+9.00 points over all" in said and "-5.00 over the 6 that" in said


def test_a_score_of_beginnings_is_called_one() -> None:
    [said] = remarks(fp16=([50] * 10, range(5)), w4=([50] * 10, range(4)))
    assert "At least half of the answers to An exam are cut" in said and "(fp16 50%)" in said
    assert len(remarks(fp16=([50] * 10, TEN), w4=([9] * 10, TEN))) == 1


def test_the_change_over_whole_answers_is_a_mean_over_data_sets() -> None:
    datasets = ("law", "tax")
    fp16 = evaluation("fp16", [10, 20, 30, 40], datasets, cut=[3])
    w4 = evaluation("w4", [20, 40, 0, 0], datasets, cut=[0])
    found = change(w4, fp16, whole_only=True)
    assert found and (found.points, found.count) == ((20 - 30) / 2, 2)
    every = change(w4, fp16)
    assert every and (every.points, every.count) == pytest.approx(((15 - 35) / 2, 4))
    assert change(evaluation("w4", [1, 2], cut=[0, 1]), evaluation("fp16", [1, 2]), True) is None


def test_shares_stand_once_beside_the_score_of_a_data_set() -> None:
    models = [
        evaluation("fp16", [0, 100, 0, 100], ("law", "tax"), cut=[0, 1, 2]),
        evaluation("w4", [0, 100, 0, 100], ("law", "tax")),
    ]
    shown = {row.dataset: list(row.cut) for row in score_rows(models)}
    assert shown == {"law": [1.0, 0.0], "tax": [0.5, 0.0], None: [0.75, 0.0]}


def test_the_page_says_how_many_were_cut(tmp_path: Path) -> None:
    folder = make_stages(tmp_path)
    path = folder / "evaluate" / "ceval_w4" / "details.jsonl"
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for record in records[:13]:
        record["finish"] = "length"
    path.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    done = run(folder)
    assert done.returncode == 0, done.stderr
    html = (folder / "out" / "report.html").read_text(encoding="utf-8")
    assert html.count("26.0% cut") == 2, "in the decision's table and in the average"
    assert "52.0% cut" in html and "ended at max_new_tokens" in html
