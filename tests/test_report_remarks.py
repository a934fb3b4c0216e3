"""What the report says of questions, models and answers before one trusts the verdicts."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from butler.guessing import chance, options
from butler.report_sections.accuracy_section import score_rows
from butler.report_sections.remarks import remarks
from butler.settings.judging_stage import DecisionSettings
from butler.texts import say
from report_stages import make_stages, run
from test_report_parts import evaluation, findings

RULE = DecisionSettings(max_loss=20.0)
LETTERS = "ABCD"


def said(*models: Any, rule: DecisionSettings = RULE) -> list[str]:
    """What is said of these evaluations in English; every text is there in Chinese too."""
    found = remarks(findings(*models), rule)
    assert all(say(one, "zh") for one in found)
    return [say(one, "en") for one in found]


def choice(
    variant: str, scores: Sequence[float], extracted: Sequence[str] | None = None, cut: Any = ()
) -> Any:
    """An evaluation of questions of four options, the right answers A to D in turn."""
    made = evaluation(variant, scores, cut=cut)
    for place, record in enumerate(made.details):
        record["reference"] = LETTERS[place % 4]
        record["extracted"] = extracted[place] if extracted else record["reference"]
    return made


def test_chance_is_known_where_the_right_answers_are_letters() -> None:
    assert options(choice("fp16", [0, 100] * 4).details) == "ABCD"
    assert chance(choice("fp16", [0, 100] * 4).details) == 25
    # D is right nowhere in these, and C is: at least three options
    assert chance(choice("fp16", [0, 100, 0]).details) == pytest.approx(100 / 3)
    assert chance(choice("fp16", [0, 50, 100, 0]).details) is None, "graded"
    assert chance(evaluation("fp16", [0, 100]).details) is None, "one letter is no choice"
    spoken = choice("fp16", [0, 100])
    spoken.details[0]["reference"] = "four"
    assert chance(spoken.details) is None


def test_a_baseline_that_guesses_is_said_first() -> None:
    guessing = [100.0, 0.0, 0.0, 0.0] * 25
    [remark] = said(choice("fp16", guessing), choice("w4", guessing))
    assert "scores 25.0 on An exam, which cannot be told from guessing (25.0)" in remark
    knowing = [100.0, 100.0, 100.0, 0.0] * 25
    assert said(choice("fp16", knowing), choice("w4", knowing)) == []
    [remark] = said(evaluation("fp16", [0.0] * 9), evaluation("w4", [0.0] * 9))
    assert remark.startswith("fp16 itself scores 0 on An exam")


def test_fine_tuning_that_cost_or_gained_is_told_in_points() -> None:
    low, high = [100.0, 0.0, 0.0, 0.0] * 25, [100.0, 100.0, 0.0, 0.0] * 25
    [remark] = said(evaluation("base", high), evaluation("fp16", low))
    assert remark.startswith("Fine-tuning cost 25.0 points on An exam against the base model (95 %")
    [remark] = said(evaluation("base", low), evaluation("fp16", high))
    assert remark.startswith("Fine-tuning gained 25.0 points on An exam")
    one = [100.0, *low[1:]]
    assert said(evaluation("base", low), evaluation("fp16", one)) == []


def test_questions_that_repeat_are_counted() -> None:
    own = evaluation("fp16", [50.0] * 40)
    assert said(own) == []
    for place, record in enumerate(own.details):
        record["cluster"] = f"dish {place % 30}"
    [remark] = said(own)
    assert remark.startswith("Of the 40 questions of An exam only 30 are different ones")


def test_cut_answers_that_change_no_verdict_are_not_remarked() -> None:
    assert said(evaluation("fp16", [50.0] * 40), evaluation("w4", [50.0] * 40)) == []
    cut = evaluation("w4", [50.0] * 40, cut=[1, 2])
    assert said(evaluation("fp16", [50.0] * 40, cut=[1]), cut) == []


def test_cut_answers_that_decide_are_told_with_both_verdicts() -> None:
    """w4 loses 40 points on average, all of them where it was cut."""
    w4 = evaluation("w4", [0.0] * 80 + [80.0] * 80, cut=range(80))
    remark = said(evaluation("fp16", [80.0] * 160), w4)[-1]
    assert "Cut answers decide on w4 on An exam: over all 160 questions (-40.00 points)" in remark
    assert "it is shown over the limit; over the 80 that" in remark
    assert "(+0.00), shown within the limit" in remark


def test_cut_answers_may_also_hide_a_loss() -> None:
    w4 = evaluation("w4", [100.0] * 80 + [0.0] * 80, cut=range(80))
    remark = said(evaluation("fp16", [0.0] * 80 + [60.0] * 80), w4)[-1]
    assert "(+20.00 points) it is shown within the limit" in remark
    assert "(-60.00), shown over the limit" in remark


def test_a_score_of_beginnings_is_called_one() -> None:
    [remark] = said(
        evaluation("fp16", [50.0] * 10, cut=range(5)), evaluation("w4", [50.0] * 10, cut=range(4))
    )
    assert "At least half of the answers to An exam are cut" in remark and "(fp16 50%)" in remark


def test_where_the_baseline_is_mostly_cut_the_few_whole_answers_are_no_evidence() -> None:
    w4 = evaluation("w4", [0.0] * 80 + [80.0] * 80, cut=range(80))
    found = said(evaluation("fp16", [80.0] * 160, cut=range(120)), w4)
    assert "At least half of the answers" in found[-1] and "(fp16 75%, w4 50%)" in found[-1]


def test_answers_without_an_option_are_the_formats_loss() -> None:
    """Of 160 questions w4 has 80 wrong, all of them as it named no option."""
    fp16 = choice("fp16", [100.0] * 160)
    read = [LETTERS[place % 4] if place >= 80 else "" for place in range(160)]
    w4 = choice("w4", [0.0] * 80 + [100.0] * 80, read)
    many, decides = said(fp16, w4)
    assert "From many answers to An exam no option could be extracted (fp16 0%, w4 50%)" in many
    assert "Answers without an option decide on w4" in decides
    assert "(-50.00 points) it is shown over the limit; over the 80 for which" in decides


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
