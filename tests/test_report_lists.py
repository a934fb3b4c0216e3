"""The report of whatever benchmarks and variants there are: one and many, and odd names."""

import csv
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from butler.report_sections import charts
from butler.schemes import VARIANTS
from report_stages import (
    Page,
    arguments_of,
    options_of,
    report,
    write_checks,
    write_efficiency,
    write_records,
    write_rest,
)

Ask = Callable[[str, int], Mapping[str, Any]]
GROUPS = {
    "exam-physics": "exam-stem",
    "exam-sums": "exam-stem",
    "exam-law": "exam-social-science",
}
HOSTILE = ('"><img src=x onerror=alert(1)>', "</script><script>alert(1)</script>", "=1+1")


def exam(variant: str, number: int) -> dict[str, Any]:
    """Return a question of three data sets in two groups, each right or wrong."""
    dataset = list(GROUPS)[number % 3]
    right = number % 4 > 0 or variant == "fp16"
    return {
        "dataset": dataset,
        "group": GROUPS[dataset],
        "reference": "A",
        "extracted": "A" if right else "B",
        "score": 100.0 * right,
    }


def graded(variant: str, number: int) -> dict[str, Any]:
    """Return a question with a reference answer in English, and three metrics."""
    score = 60.0 + number - 40 * (variant != "fp16")
    metrics = {"rougeL": score, "chrf": score / 2, "repetition": 7.0}
    return {"dataset": "cooking", "score": score, "metrics": metrics}


def make(folder: Path, variants: list[str], **benchmarks: tuple[str, Ask]) -> dict[str, Any]:
    """Leave tables and answers of these benchmarks (metric, questions); return the options.

    The base answers as fp16 does.
    """
    for name, (metric, ask) in benchmarks.items():
        for variant in ("base", *variants):
            records = [
                {
                    "index": number,
                    "question": f"Question {number}?",
                    "reference": "Fry the rice.",
                    "prediction": f"Fry the {variant} rice.",
                    "finish": "stop",
                }
                | dict(ask("fp16" if variant == "base" else variant, number))
                for number in range(24)
            ]
            records.sort(key=lambda record: record["dataset"])
            write_records(folder, name, variant, records, metric)
    for place, variant in enumerate(variants):
        write_efficiency(folder, variant, (0.0, 2**40 >> place, 2**30 >> place, 90.0))
    write_rest(folder)
    return options_of(folder) | {
        "variants": variants,
        "benchmarks": [f"{name}={name}" for name in benchmarks],
    }


def made(folder: Path, options: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Run the report; return the decision and the page without the charts' library."""
    write_checks(folder)
    done = report(arguments_of(options))
    assert done.returncode == 0, done.stderr
    html = (folder / "out" / "report.html").read_text(encoding="utf-8")
    decision = json.loads((folder / "out" / "decision.json").read_text(encoding="utf-8"))
    return decision, html


def drawn(html: str) -> dict[str, Any]:
    """Return the specifications of a page's charts, without those of training and corpus."""
    found = re.search(r"^const CHARTS = (\{.*\});$", html, re.MULTILINE)
    assert found is not None
    others = ("loss", "funnel", "lengths")
    charts = json.loads(found[1]).items()
    return {name: chart for name, chart in charts if name.partition("/")[0] not in others}


def test_one_graded_benchmark_and_two_variants(tmp_path: Path) -> None:
    decision, html = made(tmp_path, make(tmp_path, ["fp16", "kv4"], cooking=("rougeL", graded)))
    assert decision["variant"] == "fp16"  # it loses more than the 20 points that are allowed
    assert set(decision["verdicts"][1]["benchmarks"]) == {"cooking"}
    assert "-40.00 on cooking" in decision["verdicts"][1]["reason"]
    with (tmp_path / "out" / "summary.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["variant"] for row in rows] == ["base", "fp16", "kv4"]
    assert float(rows[2]["cooking_change"]) == -40 and "cooking_lost" not in rows[2]
    assert "fp16 weights, int4 KV cache" in html and "fp16 权重、int4 KV 缓存" in html
    assert 'id="answers"' in html and html.count('class="item"') == 20 + 3
    for text in ("ROUGE-L", "chrF", "repetition (less is better)", "reference answer"):
        assert text in html
    # English questions are not read out as Chinese; one data set has no chart of its own.
    assert '<b dir="auto" lang="">Question 0?</b>' in html
    assert list(drawn(html)) == ["forest", "memory/cooking"]


def test_three_data_sets_in_two_groups(tmp_path: Path) -> None:
    decision, html = made(tmp_path, make(tmp_path, ["fp16", "kv4"], exam=("accuracy", exam)))
    assert decision["variant"] == "fp16"
    found = drawn(html)
    assert list(found) == [
        "forest",
        "memory/exam",
        "groups/exam",
        "datasets/exam/0",
        "datasets/exam/1",
    ]
    values = found["groups/exam"]["en"]["data"]["values"]
    assert [one["row"] for one in values[::3]] == ["exam-social-science", "exam-stem"]
    assert [one["variant"] for one in values[:3]] == ["base", "fp16", "kv4"]
    scale = found["groups/exam"]["en"]["encoding"]["color"]["scale"]
    assert scale["domain"] == ["base", "fp16", "kv4"]
    assert scale["range"] == [charts.BASE_COLOUR, *charts.PALETTE[:2]]
    assert {one["row"] for one in found["datasets/exam/1"]["en"]["data"]["values"]} == {
        "exam-physics",
        "exam-sums",
    }
    assert "Questions that changed sides against fp16 (6 shown)" in html
    assert 'id="answers"' not in html  # right or wrong: nothing to lay side by side


def test_data_sets_without_groups_share_one_chart(tmp_path: Path) -> None:
    def plain(variant: str, number: int) -> dict[str, Any]:
        return exam(variant, number) | {"group": None}

    _, html = made(tmp_path, make(tmp_path, ["fp16", "w4"], exam=("accuracy", plain)))
    assert list(drawn(html)) == ["forest", "memory/exam", "datasets/exam/0"]


def test_the_baseline_alone(tmp_path: Path) -> None:
    options = make(tmp_path, ["fp16"], exam=("accuracy", exam), cooking=("rougeL", graded))
    decision, html = made(tmp_path, options)
    assert decision["sentence"] == "Ship fp16: this run has no other variant."
    assert decision["remarks"] == []
    assert "changed sides" not in html and 'data-sort=""' not in html.split("<script>")[1]
    assert "Question 0?" in html
    assert "The largest losses against" not in html


def test_all_variants_and_names_with_dots_and_dashes(tmp_path: Path) -> None:
    names = {"gsm8k-0.1": ("accuracy", exam), "qa.en": ("rougeL", graded)}
    decision, html = made(tmp_path, make(tmp_path, list(VARIANTS), **names))
    assert [verdict["variant"] for verdict in decision["verdicts"]] == list(VARIANTS)
    header = (tmp_path / "out" / "summary.csv").read_text(encoding="utf-8").splitlines()[0]
    assert (
        "gsm8k-0.1_score" in header
        and "gsm8k-0.1_verdict" in header
        and "qa.en_change_low" in header
    )
    assert {"forest", "memory/gsm8k-0.1", "memory/qa.en", "groups/gsm8k-0.1"} <= set(drawn(html))
    assert all(f'data-chart="{name}"' in html for name in drawn(html))


@pytest.mark.parametrize("name", [*HOSTILE, "a-very_long.name" * 40])
def test_hostile_names_are_shown_and_run_nothing(tmp_path: Path, name: str) -> None:
    def asked(variant: str, number: int) -> dict[str, Any]:
        own = exam(variant, number)
        return own | {"dataset": own["dataset"] + name, "group": own["group"] + name}

    def answered(variant: str, number: int) -> dict[str, Any]:
        own = graded(variant, number)
        return own | {"dataset": name, "metrics": {name: 1.0}}

    options = make(tmp_path, ["fp16", "w4kv4"], exam=(name, asked), qa=("rougeL", answered))
    options["benchmarks"] = [f"exam={name}", f"qa={name} = {name}"]
    decision, html = made(tmp_path, options)
    assert f"on {name}" in decision["verdicts"][1]["reason"]
    page = Page()
    page.feed(html)
    assert page.tags.count("script") == 3 and page.tags.count("img") == 0
    assert page.text.count(name) > 10
    tables = (tmp_path / "out" / "summary.csv").read_text(encoding="utf-8")
    assert not re.search(r"(^|,)=", tables)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"benchmarks": ["exam"]}, "--benchmarks takes NAME=LABEL, each NAME once; found 'exam'"),
        ({"benchmarks": ["exam=A", "exam=B"]}, "found 'exam=B'"),
        ({"benchmarks": ["other=A"]}, "other_base.csv is missing; run its stage first"),
        ({"variants": ["w4"]}, "--variants must name fp16"),
        ({"rule": '{"max_loss": -1}'}, "--rule: key 'max_loss' takes more than 0, found -1"),
        ({"rule": '{"maxloss": 1}'}, "--rule: unknown key 'maxloss'; did you mean 'max_loss'?"),
        ({"rule": "{"}, "--rule is not JSON"),
    ],
)
def test_wrong_lists_and_rules_are_one_sentence(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    options = make(tmp_path, ["fp16", "w4"], exam=("accuracy", exam))
    done = report(arguments_of(options | change))
    assert done.returncode == 1 and message in done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_variant_that_no_scheme_makes_is_refused(tmp_path: Path) -> None:
    options = make(tmp_path, ["fp16", "w4"], exam=("accuracy", exam))
    done = report(arguments_of(options | {"variants": ["fp16", "w3"]}))
    assert done.returncode == 2 and "invalid choice: 'w3'" in done.stderr
