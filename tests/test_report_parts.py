"""The parts of the report, each on its own: figures worked out by hand."""

import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from random import Random
from time import perf_counter
from typing import Any

import pandas as pd
import pytest
from jinja2 import UndefinedError
from scipy.stats import binomtest

from butler.benchmarks.opencompass.proof import to_csv
from butler.comparisons import interval_of
from butler.errors import ButlerError
from butler.evaluations import Evaluation
from butler.files import spreadsheet_safe
from butler.report_sections import charts
from butler.report_sections import corpus_section as corpus
from butler.report_sections.accuracy_section import accuracy_section, by_group, flips, score_rows
from butler.report_sections.answers_section import answers, answers_section, differences
from butler.report_sections.findings import Findings
from butler.report_sections.html_page import both, check_name, render
from butler.texts import phrase, say

STATS: dict[str, Any] = {"read": 100, "kept": 70, "train": 60, "test": 10,
                         "reasons": {"duplicate": 20, "too_short": 10}}  # fmt: skip


def test_funnel_says_what_is_left_after_each_reason() -> None:
    steps = [(say(step.name, "en"), step.left, step.gone) for step in corpus.funnel(STATS)]
    assert steps == [("read", 100, 0), ("duplicate", 80, 20), ("too short", 70, 10),
                     ("kept", 70, 0)]  # fmt: skip


def test_statistics_that_do_not_add_up_or_lack_a_count_are_one_sentence() -> None:
    with pytest.raises(ButlerError, match="71 kept of 100, their reasons leave 70"):
        corpus.funnel(STATS | {"kept": 71})
    with pytest.raises(ButlerError, match="lack kept, reasons"):
        corpus.corpus_section({"read": 1, "train": 1, "test": 0}, {})


def test_histogram_fills_the_gaps() -> None:
    bins = corpus.histogram({"tokens": {"0": 5, "20": 1, "60": 2}}, "tokens")
    assert [(one["start"], one["end"], one["answers"]) for one in bins] == [
        (0, 20, 5), (20, 40, 1), (40, 60, 0), (60, 80, 2)
    ]  # fmt: skip
    assert corpus.histogram({"characters": {"100": 3}}, "characters")[0]["end"] == 200
    assert corpus.histogram({}, "tokens") == []


def test_what_the_corpus_stage_tells_beyond_the_counts_is_shown() -> None:
    plain = corpus.corpus_section(STATS, {})
    assert plain.histograms == [] and plain.examples == [] and plain.group_sizes == []
    assert list(plain.charts) == ["funnel"]
    example = {"duplicate": [{"name": "粥", "detail": "same as 白粥"}]}
    more = {"characters": {"0": 30, "10": 30, "20": 10}, "examples": example,
            "group_sizes": {"duplicate": {"2": 20}, "near_duplicate": {}},
            "doubt": {"all": 0.2, "sample": 0.05}}  # fmt: skip
    lengths = {"records": 60, "median": 9, "p95": 9, "max_length": 9, "cut": 0,
               "trained_share": 0.5, "tokens": {"0": 30, "20": 40}}  # fmt: skip
    full = corpus.corpus_section(STATS | more, lengths)
    assert full.histograms == ["characters"] and list(full.told) == ["tokens"]
    assert list(full.charts) == ["funnel", "lengths/characters"]
    assert plain.doubt is None and full.doubt == corpus.InDoubt(all=0.2, sample=0.05)
    assert full.group_sizes == [corpus.GroupSize("duplicate", "2", 20)]
    assert full.examples == [corpus.RejectedExample("duplicate", "粥", "same as 白粥")]


def test_pareto_front_drops_what_another_beats_in_both() -> None:
    found = [
        charts.Point(name, memory, score, None, None)
        for name, memory, score in (
            ("fp16", 80, 60),
            ("kv8", 47, 61),
            ("w4", 69, 59),
            ("w4kv8", 38, 57),
            ("twin", 47, 61),
        )  # fmt: skip
    ]
    assert [point.name for point in charts.pareto(found)] == ["w4kv8", "kv8"]


def test_charts_say_their_axes_in_both_languages_and_mark_the_chosen() -> None:
    found = [
        charts.Point("fp16", 80 * 2**20, 60.0, None, None),
        charts.Point("w4", 40 * 2**20, 59.0, 57.5, 60.5),
    ]
    drawn = charts.accuracy_against_memory(found, "w4", 16384, {"fp16": "#111", "w4": "#222"})
    values = {value["variant"]: value for value in drawn["en"]["data"]["values"]}
    assert values["w4"]["chosen"] and not values["fp16"]["chosen"]
    assert (values["w4"]["memory"], values["w4"]["low"], values["w4"]["high"]) == (40, 57.5, 60.5)
    assert "16,384 tokens" in json.dumps(drawn["en"])
    stairs = [(one["memory"], one["score"]) for one in drawn["en"]["layer"][0]["data"]["values"]]
    assert stairs == [(40, 56.5), (40, 59.0), (80, 60.0), (80, 60.0)]
    best = [charts.Point("fp16", 80 * 2**20, 60.0, None, None), found[1]]
    best[1] = charts.Point("w4", 40 * 2**20, 61.0, 61.0, 61.0)
    alone = charts.accuracy_against_memory(best, "w4", 1, {"fp16": "#111", "w4": "#222"})
    corners = [(one["memory"], one["score"]) for one in alone["en"]["layer"][0]["data"]["values"]]
    assert corners == [(40, 59.0), (40, 61.0), (80, 61.0)], "a single best variant has a line, too"
    marks = [layer["mark"].get("size") for layer in alone["en"]["layer"] if "size" in layer["mark"]]
    dot, *ends = marks
    assert all(end > dot**0.5 for end in ends), "a short interval is not hidden by its dot"
    assert "16,384 个 token" in json.dumps(drawn["zh"], ensure_ascii=False)


def test_differences_by_hand() -> None:
    assert differences("2克盐\n炒匀", "12克盐\n炒熟").parts == [
        ("removed", "2"), ("added", "12"), ("same", "克盐\n炒"), ("removed", "匀"), ("added", "熟")
    ]  # fmt: skip
    assert differences("盐", "盐").parts == [("same", "盐")]
    assert differences("", "盐").parts == [("added", "盐")]
    assert differences("盐", "").parts == [("removed", "盐")]


def test_long_answers_are_compared_in_no_time_and_lose_nothing() -> None:
    draw = Random(0)
    few = ["".join(draw.choices("盐糖", k=12_000)) for _ in range(2)]
    looping = ["盐\n" * 6000, "盐\n" * 5000 + "糖\n" * 900]
    sentences = ["".join(draw.choices("盐糖油米面", k=9)) + "。" for _ in range(1200)]
    edited = [*sentences[:600], "加一勺盐。", *sentences[601:]]
    for before, after in (few, looping, ("".join(sentences), "".join(edited))):
        began = perf_counter()
        parts = differences(before, after).parts
        assert perf_counter() - began < 2
        assert "".join(text for kind, text in parts if kind != "added") == before
        assert "".join(text for kind, text in parts if kind != "removed") == after
    # of the last pair all but the one sentence is the same
    changed = "".join(text for kind, text in parts if kind != "same")
    assert 0 < len(changed) <= 16


def evaluation(
    variant: str,
    scores: Sequence[float],
    datasets: Sequence[str] = ("law",),
    groups: Mapping[str, str] | None = None,
    metric: str = "accuracy",
    cut: Container[int] = (),
) -> Evaluation:
    """Return an evaluation of as many questions in each data set, with these scores.

    The answers at the places in `cut` are cut at their limit.
    """
    each = len(scores) // len(datasets)
    names = [name for name in datasets for _ in range(each)]
    own = {name: scores[place * each :][:each] for place, name in enumerate(datasets)}
    rows = [(name, sum(some) / each, each) for name, some in own.items()]
    rows.append(("average", sum(mean for _, mean, _ in rows) / len(rows), len(scores)))
    table = pd.DataFrame(
        [["exam", variant, name, metric, mean, count] for name, mean, count in rows],
        columns=["benchmark", "variant", "dataset", "metric", "score", "questions"],
    )
    details = [
        {
            "dataset": name,
            "index": n,
            "question": f"题{n}",
            "reference": "A",
            "score": score,
            "prediction": f"{variant}{score}",
            "finish": "length" if n in cut else "stop",
        }
        | ({"group": groups[name]} if groups and name in groups else {})
        for n, (name, score) in enumerate(zip(names, scores, strict=True))
    ]
    return Evaluation("exam", variant, table, details)


def findings(*evaluations: Evaluation) -> Findings:
    """Return what was found of these models; the base answers as the first, unless it is given."""
    models = {"base": replace(evaluations[0], variant="base")}
    models |= {one.variant: one for one in evaluations}
    found = {("exam", name): one for name, one in models.items()}
    return Findings({"exam": "An exam"}, [name for name in models if name != "base"], found, {})


def test_answers_come_worst_first_with_the_change_of_each_variant() -> None:
    made = {"base": [0, 0, 0], "fp16": [80, 50, 60], "kv8": [80, 55, 60], "w4": [70, 10, 60]}
    found = answers(findings(*(evaluation(*one) for one in made.items())), "exam", most=2)
    assert [item.question for item in found] == ["题1", "题0"]
    assert found[0].changes == {"kv8": 5, "w4": -40}
    assert [one.model for one in found[0].answers] == ["base", "fp16", "kv8", "w4"]
    # base is another model: nothing in its answer is marked as changed
    assert found[0].answers[0].parts == [("same", "base0")]


def test_the_metrics_beside_the_main_one_are_told_of_each_model() -> None:
    pair = [evaluation(name, [80.0, 50.0], metric="rougeL") for name in ("fp16", "kv4")]
    pair[0].details[0]["metrics"] = {"rougeL": 80.0, "repetition": 3.0}
    (asked, other) = answers(findings(*pair), "exam", most=2)
    assert [(one.metric, one.values) for one in asked.others] == [("repetition", [3.0, 3.0, None])]
    assert other.others == []


def test_right_or_wrong_goes_by_the_scores_and_not_by_the_metric() -> None:
    sides = findings(evaluation("fp16", [100, 0], metric="exact_match"))
    graded = findings(evaluation("fp16", [100, 0.5], metric="accuracy"))
    # every model counts: one without a half does not make a graded benchmark one of sides
    mixed = findings(evaluation("fp16", [100, 0.5]), evaluation("w4", [0, 0]))
    assert sides.right_or_wrong("exam") and answers_section(sides, 5, 1e9) is None
    for one in (graded, mixed):
        assert not one.right_or_wrong("exam")
        assert accuracy_section(one, charts.colours(one)).benchmarks[0].flips == []
        shown = answers_section(one, 5, 1e9)
        assert shown is not None and shown.benchmarks[0].label == "An exam"


def test_flips_are_the_questions_that_changed_sides_most_lost_first() -> None:
    made = {"fp16": [100, 100, 0, 100], "kv8": [100, 100, 100, 0], "w4": [100, 0, 0, 0]}
    found = flips(
        findings(*(evaluation(*one) for one in made.items())), "exam", ["fp16", "kv8", "w4"]
    )
    assert [flip.question for flip in found] == ["题3", "题1", "题2"]
    assert [(one.text, one.right) for one in found[0].said] == [
        ("fp16100", True), ("kv80", False), ("w40", False)
    ]  # fmt: skip


def test_groups_are_plain_means_over_their_data_sets_and_the_others_come_last() -> None:
    groups = {"exam-physics": "exam-stem", "exam-sums": "exam-stem", "exam-law": "exam-law_all"}
    names = ["exam-cooking", *groups]
    one = evaluation("fp16", [0, 100, 0, 0, 100, 100, 0, 100], names, groups)
    found = by_group([one])
    assert [say(group.name, "en") for group in found] == [
        "exam-stem",
        "exam-law_all",
        "in no group",
    ]
    assert [part.name for part in found[0].datasets] == ["exam-physics", "exam-sums"]
    assert found[0].total.scores == [50.0] and found[0].total.questions == 4
    (ungrouped,) = by_group([evaluation("fp16", [0, 100, 0, 0], ["a", "b"])])
    assert ungrouped.name is None and [part.scores for part in ungrouped.datasets] == [[50], [0]]


def test_one_data_set_has_no_chart_and_no_average() -> None:
    one = findings(evaluation("fp16", [10.0, 60.0], ["only"], metric="rougeL"))
    (shown,) = accuracy_section(one, charts.colours(one)).benchmarks
    assert not shown.several and shown.dataset_charts == [] and shown.group_chart is None
    assert [(row.dataset, row.main) for row in shown.rows] == [("only", True)]
    several = score_rows([evaluation("fp16", [0, 100, 0, 0], ["a", "b"])])
    assert [(row.dataset, row.main) for row in several] == [
        ("a", False), ("b", False), (None, True)
    ]  # fmt: skip


def test_every_variant_has_a_colour_of_its_own_and_the_base_is_grey() -> None:
    names = ["fp16", "kv8", "kv4", "w4", "w4kv8", "w4kv4"]
    found = charts.colours(findings(*(evaluation(name, [0.0]) for name in names)))
    assert list(found) == ["base", *names] and found["base"] == charts.BASE_COLOUR
    assert len(set(found.values())) == 7


def test_scores_that_are_all_the_same_still_have_a_scale() -> None:
    for score in (0.0, 50.0, 100.0):
        rows = [charts.Dots("a", 1, [score], [(score, score)])]
        drawn = charts.dots(rows, {"fp16": "#111"}, charts.range_of(rows))
        low, high = drawn["en"]["encoding"]["x"]["scale"]["domain"]
        assert 0 <= low <= score <= high <= 100 and high - low >= 10


def test_charts_of_data_sets_share_one_axis_and_show_intervals() -> None:
    groups = {"a": "one", "b": "two", "c": "two"}
    scores = [100.0, 100, 100, 100, 0, 100, 0, 0, 0, 100, 0, 0]
    both_models = findings(*(evaluation(name, scores, list(groups), groups)
                             for name in ("fp16", "w4")))  # fmt: skip
    section = accuracy_section(both_models, charts.colours(both_models))
    drawn = [section.charts[name]["en"] for name in section.charts]
    assert len(drawn) == 3
    assert len({str(one["encoding"]["x"]["scale"]["domain"]) for one in drawn}) == 1
    values = [value for one in drawn for value in one["data"]["values"]]
    assert all(0 <= value["low"] <= value["score"] <= value["high"] <= 100 for value in values)
    assert all(value["low"] < value["high"] for value in values)
    assert {layer["mark"]["type"] for one in drawn for layer in one["layer"]} == {"rule", "circle"}
    table = section.benchmarks[0].rows
    assert all(low < score < high or score in (low, high, 100) for row in table
               for score, (low, high) in zip(row.scores, row.bounds, strict=True))  # fmt: skip


def test_the_interval_of_a_score_is_close_to_wilsons() -> None:
    for right, count in ((0, 40), (12, 40), (500, 1000)):
        scores = [100.0] * right + [0.0] * (count - right)
        low, high = interval_of(evaluation("fp16", scores).details)
        wilson = proportion_confint(right, count)
        assert low <= wilson[0] + 0.05 and high >= wilson[1] - 0.05
        assert (low, high) == pytest.approx(wilson, abs=150 / count)


def proportion_confint(right: int, count: int) -> tuple[float, float]:
    """Wilson's interval in percent, by scipy."""
    found = binomtest(right, count).proportion_ci(method="wilson")
    return 100 * found.low, 100 * found.high


def test_the_check_of_a_cache_is_told_by_its_scheme() -> None:
    assert "the int4 KV cache hardly changes likelihoods" in check_name("w4kv4")
    assert "int8 KV 缓存几乎不改变似然" in check_name("kv8")
    assert "every question was asked" in check_name("evaluation_any.name_kv8")
    assert check_name("<b>") == "&lt;b&gt;"


def test_metrics_that_are_equal_in_every_model_are_named_and_not_listed() -> None:
    pair = [evaluation(name, [80.0, score], metric="f1") for name, score in
            (("fp16", 50.0), ("w4", 40.0))]  # fmt: skip
    for one in pair:
        rows = [["exam", one.variant, "law", "order", 100.0, 2]]
        more = pd.DataFrame(rows, columns=one.table.columns)
        object.__setattr__(one, "table", pd.concat([one.table, more], ignore_index=True))
        for record in one.details:
            record["metrics"] = {"f1": record["score"], "order": 100.0}
    both_models = findings(*pair)
    (shown,) = accuracy_section(both_models, charts.colours(both_models)).benchmarks
    assert [row.metric for row in shown.rows] == ["f1"]
    assert [say(one, "en") for one in shown.equal] == ["order 100.00"]
    asked = answers(both_models, "exam", most=1)[0]
    assert asked.others == [] and [say(one, "en") for one in asked.equal] == ["order 100.00"]


def test_too_few_bins_for_a_chart_are_told_in_words() -> None:
    found = corpus.corpus_section(STATS | {"characters": {"0": 20, "100": 50}}, {})
    assert found.histograms == [] and list(found.charts) == ["funnel"]
    assert say(found.told["characters"], "en") == "20 from 0 to below 100, 50 from 100 to below 200"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1"])
def test_no_cell_is_taken_for_a_formula(text: str) -> None:
    assert spreadsheet_safe(text) == f"'{text}"
    row = {"benchmark": "ceval", "variant": "w4", "dataset": text, "metric": "accuracy",
           "score": "1.00", "questions": 3}  # fmt: skip
    assert f"'{text}" in to_csv([row])


def test_numbers_and_plain_text_stay_as_they_are() -> None:
    assert [spreadsheet_safe(value) for value in (-1.5, None, True, "law")] == [
        -1.5,
        None,
        True,
        "law",
    ]


def test_values_in_texts_are_escaped() -> None:
    said = both(phrase("word.same", baseline="<script>"))
    assert "<script>" not in said and said.count("&lt;script&gt;") == 2


def test_a_value_that_the_page_lacks_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="no attribute 'title'"):
        render({})  # type: ignore[arg-type]
