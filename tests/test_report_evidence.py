"""Finer evidence in the report: the next token against fp16's, and the form of the answers."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from butler.answer_form import form_of, repeated_share
from butler.checks import conclude
from butler.divergence import AnswerDivergence, figures, unit
from butler.evaluations import Evaluation
from butler.report_sections.accuracy_section import ScoreRow, without_twins
from butler.report_sections.evidence_section import evidence_remarks, evidence_section
from butler.texts import say
from report_stages import run, write_csv
from test_report_parts import evaluation, findings

# mean divergence and share of tokens that stay the likeliest
MADE = {"kv8": (0.001, 1.0), "w4": (0.02, 0.95), "w4kv8": (0.4, 0.8)}


def diverged(stages: Path) -> None:
    """Write what the stage `divergence` leaves of each variant: 10 answers of 20 tokens."""
    for variant, (kl, same) in MADE.items():
        one = AnswerDivergence(
            [kl] * 20, [0.5] * 20, [0.5 + kl] * 20, [n < 20 * same for n in range(20)]
        )
        measured = figures([one] * 10)
        path = stages / f"results/divergence_{variant}.csv"
        lines = [[name, value, unit(name)] for name, value in measured.items()]
        write_csv(path, ["metric", "value", "unit"], lines)
        name = f"divergence_{variant}"
        check = stages / f"results/checks/{name}.json"
        conclude(check, name, True, "done", measured | {"engine": "reference"}, {}, [path])


def test_the_page_says_how_often_the_next_word_is_the_same(stages: Path) -> None:
    diverged(stages)
    done = run(stages, diverged=list(MADE))
    assert done.returncode == 0, done.stderr
    page = (stages / "out/report.html").read_text(encoding="utf-8")
    shown = page.split('<section id="evidence">')[1].split("</section>")[0]
    assert "w4: its next token is the same as fp16&#39;s in 95.0 % of 200 places." in shown
    assert "w4：在 200 个位置中，下一个 token 有 95.0% 与 fp16 相同。" in shown
    row = re.search(r"<th>w4</th>(.*?)</tr>", shown, re.DOTALL)[1]
    cells = [
        re.sub(r"\s+", " ", cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)
    ]
    assert cells[0].startswith("0.0200<") and cells[5].startswith("95.00 %<")
    assert cells[6].startswith("0.5200<") and "0.5000" in cells[6]  # w4's NLL and fp16's
    assert cells[7].startswith("+0.0200<")
    # made_right says 0.8 of fp16's questions and 0.78 of w4's are right, the easier ones of both.
    flips = re.search(r"<th>w4</th>(.*?)</tr>", shown.split('class="flips"')[1], re.DOTALL)[1]
    assert re.search(r"−\d+ · \+0<", flips) and "of 50" in flips
    remarks = json.loads((stages / "out/decision.json").read_text(encoding="utf-8"))["remarks"]
    [remark] = [one for one in remarks if "will often answer otherwise" in one]
    assert remark.startswith("w4kv8 will") and "same in 80.0 % of places" in remark
    assert "(80% of fp16's own NLL)" in remark


def test_without_workspaces_the_page_says_that_nothing_was_compared(stages: Path) -> None:
    done = run(stages)
    assert done.returncode == 0, done.stderr
    page = (stages / "out/report.html").read_text(encoding="utf-8")
    assert "Probabilities of the next token were not compared" in page


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("kl_mean,", "kl,"), "divergence_w4.csv has no number for kl_mean; measure w4 again"),
        (("0.02", "nan"), "divergence_w4.csv has no number for kl_mean"),
        (("value", "number"), "divergence_w4.csv has no column value"),
    ],
)
def test_a_broken_table_is_one_sentence(
    stages: Path, change: tuple[str, str], message: str
) -> None:
    diverged(stages)
    path = stages / "results/divergence_w4.csv"
    path.write_text(path.read_text(encoding="utf-8").replace(*change), encoding="utf-8")
    check = stages / "results/checks/divergence_w4.json"
    conclude(check, "divergence_w4", True, "done", {"engine": "reference"}, {}, [path])
    done = run(stages, diverged=list(MADE))
    assert done.returncode == 1 and message in done.stderr and done.stderr.count("\n") == 1


def test_an_edited_table_is_told(stages: Path) -> None:
    diverged(stages)
    path = stages / "results/divergence_w4.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("0.02", "0.01"), encoding="utf-8")
    done = run(stages, diverged=list(MADE))
    assert "divergence_w4.csv was changed after its stage wrote it" in done.stderr


def test_what_repeats_is_counted_in_characters_or_words() -> None:
    # 盐少许加 盐少许加 盐: 6 pieces of four, 4 different.
    assert repeated_share("盐少许加 盐少许加 盐") == pytest.approx(100 * 2 / 6)
    assert repeated_share("add salt, add salt, add salt") == pytest.approx(100 * 1 / 3)
    assert repeated_share("add salt") == 0


def answers(variant: str, texts: Sequence[str], cut: Sequence[int] = ()) -> Evaluation:
    """An evaluation with these answers, the first two of one cluster."""
    made = evaluation(variant, [100.0] * len(texts), cut=cut)
    for record, text in zip(made.details, texts, strict=True):
        record["prediction"] = text
    made.details[1]["cluster"] = made.details[0]["question"]
    return made


def test_the_form_of_answers_by_hand() -> None:
    before = ["x" * 100] * 9
    after = ["x" * 110, "x" * 130, *["x" * 100] * 7]
    found = findings(answers("fp16", before), answers("w4", after, cut=[0]))
    form = form_of(found.pairs("exam", "w4"))
    assert form.characters.mean == pytest.approx(940 / 9)
    assert form.characters.change == pytest.approx(40 / 9)
    # Eight clusters: one of two answers changed by 20 in the mean, seven unchanged. With m = 40/9:
    # √(((2·(20 − m))² + 7·m²) · 8/7) / 9, and Student's t of 7 degrees is 2.365.
    mean = 40 / 9
    error = (((2 * (20 - mean)) ** 2 + 7 * mean**2) * 8 / 7) ** 0.5 / 9
    bounds = form.characters.low, form.characters.high
    reach = 2.365 * error
    assert bounds == pytest.approx((mean - reach, mean + reach), rel=0.01)
    assert form.cut.change == pytest.approx(100 / 9)
    # One cut answer in nine does not show that the variant cuts more.
    assert form.cut.low < 0 < form.cut.change < form.cut.high
    few = findings(answers("fp16", before[:4]), answers("w4", after[:4]))
    assert form_of(few.pairs("exam", "w4")).characters.low is None


def test_a_variant_that_goes_round_in_circles_is_named() -> None:
    said = [f"fry number {n} and then serve it with a little rice and one egg" for n in range(30)]
    loops = ["fry it well and fry it well and fry it well and fry it well"] * 30
    found = findings(answers("fp16", said), answers("w4", loops), answers("kv8", said))
    [remark] = evidence_remarks(found, {})
    assert say(remark, "en").startswith("w4 repeats itself in its answers to An exam: ")
    assert "w4 在 An exam 的回答中反复" in say(remark, "zh")
    [table] = evidence_section(found, {}).forms
    assert list(table.forms) == ["fp16", "w4", "kv8"]
    assert table.forms["kv8"].repeated.change == 0


def test_answers_of_a_letter_have_no_form() -> None:
    found = findings(answers("fp16", ["A"] * 6), answers("w4", ["B"] * 6))
    assert evidence_section(found, {}).forms == []
    assert evidence_section(findings(answers("fp16", ["A"] * 6)), {}) is None


def test_a_metric_that_is_another_everywhere_is_told_and_not_listed() -> None:
    def row(dataset: str, metric: str, *scores: float) -> ScoreRow:
        return ScoreRow(dataset, metric, [9, 9], scores, [None, None], metric == "f1", [0, 0])

    rows = [
        row("law", "f1", 50.0, 40.0), row("law", "step_coverage", 50.0, 40.0),
        row("law", "step_order", 50.0, 40.0), row("tax", "step_coverage", 30.0, 20.0),
        row("tax", "step_order", 30.0, 20.0),
    ]  # fmt: skip
    kept, twins = without_twins(rows, "f1")
    assert [one.metric for one in kept] == ["f1", "step_coverage", "step_coverage"]
    assert [say(one, "en") for one in twins] == ["step order (as step coverage)"]
    rows[-1] = row("tax", "step_order", 30.0, 19.0)
    assert without_twins(rows, "f1") == (rows, [])
