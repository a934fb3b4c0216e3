"""The parts of the report, each on its own: figures worked out by hand."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from butler.benchmarks.opencompass.verify import to_csv
from butler.ceval import UNLISTED, categories, subject_name
from butler.errors import ButlerError
from butler.files import spreadsheet_safe
from butler.report import charts
from butler.report import corpus_section as corpus
from butler.report import provenance_section as run
from butler.report.page import both, render
from butler.report.side_by_side import answers, differences, flips
from butler.report.summary import by_category
from butler.results import Evaluation
from butler.texts import phrase

STATS: dict[str, Any] = {"read": 100, "kept": 70, "train": 60, "test": 10,
                         "reasons": {"duplicate": 20, "too_short": 10}}  # fmt: skip


def test_funnel_says_what_is_left_after_each_reason() -> None:
    steps = [(step["step"], step["left"], step["gone"]) for step in corpus.funnel(STATS)]
    assert steps == [("read", 100, 0), ("duplicate", 80, 20), ("too_short", 70, 10),
                     ("kept", 70, 0)]  # fmt: skip


def test_statistics_that_do_not_add_up_or_lack_a_count_are_one_sentence() -> None:
    with pytest.raises(ButlerError, match="71 kept of 100, their reasons leave 70"):
        corpus.funnel(STATS | {"kept": 71})
    with pytest.raises(ButlerError, match="lack kept, reasons"):
        corpus.section({"read": 1, "train": 1, "test": 0}, {})


def test_histogram_fills_the_gaps() -> None:
    bins = corpus.histogram({"tokens": {"0": 5, "20": 1, "60": 2}}, "tokens")
    assert [(one["start"], one["end"], one["answers"]) for one in bins] == [
        (0, 20, 5), (20, 40, 1), (40, 60, 0), (60, 80, 2)
    ]  # fmt: skip
    assert corpus.histogram({"characters": {"100": 3}}, "characters")[0]["end"] == 200
    assert corpus.histogram({}, "tokens") == []


def test_what_the_corpus_stage_tells_beyond_the_counts_is_shown() -> None:
    plain = corpus.section(STATS, {})
    assert plain["histograms"] == {} and plain["examples"] == {} and not plain["group_sizes"]
    example = {"duplicate": [{"name": "粥", "detail": "same as 白粥"}]}
    more = {"characters": {"0": 70}, "examples": example,
            "group_sizes": {"duplicate": {"2": 20}, "near_duplicate": {}}}  # fmt: skip
    full = corpus.section(STATS | more, {"tokens": {"0": 70}})
    assert list(full["histograms"]) == ["characters", "tokens"]
    assert full["group_sizes"] == {"duplicate": {"2": 20}}
    assert full["examples"] == example


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
    drawn = charts.accuracy_against_memory(found, "w4", 16384)
    values = {value["variant"]: value for value in drawn["en"]["data"]["values"]}
    assert values["w4"]["chosen"] and not values["fp16"]["chosen"]
    assert (values["w4"]["memory"], values["w4"]["low"], values["w4"]["high"]) == (40, 57.5, 60.5)
    assert "16,384 tokens" in json.dumps(drawn["en"])
    assert "16,384 个 token" in json.dumps(drawn["zh"], ensure_ascii=False)


def test_a_long_loss_curve_is_thinned_out() -> None:
    table = pd.DataFrame({"step": range(1, 10_001), "loss": [2.0] * 10_000})
    values = charts.loss_curve(table)["en"]["data"]["values"]
    assert 300 <= len(values) <= charts.MOST_POINTS and values[0]["step"] == 1


def test_differences_by_hand() -> None:
    assert differences("2克盐\n炒匀", "12克盐\n炒熟") == [
        ("removed", "2"), ("added", "12"), ("same", "克盐\n炒"), ("removed", "匀"), ("added", "熟")
    ]  # fmt: skip
    assert differences("盐", "盐") == [("same", "盐")]
    assert differences("", "盐") == [("added", "盐")] and differences("盐", "") == [
        ("removed", "盐")
    ]


def evaluation(benchmark: str, variant: str, scores: list[float]) -> Evaluation:
    metric = {"ceval": "accuracy", "recipe": "ingredient_f1"}[benchmark]
    mean = sum(scores) / len(scores)
    table = pd.DataFrame(
        [[benchmark, variant, "average", metric, mean, len(scores)]],
        columns=["benchmark", "variant", "dataset", "metric", "score", "questions"],
    )
    details = [
        {
            "dataset": "law",
            "index": n,
            "question": f"题{n}",
            "reference": "A",
            "score": score,
            "prediction": f"{variant}{score}",
        }  # fmt: skip
        for n, score in enumerate(scores)
    ]
    return Evaluation(benchmark, variant, table, details)


def test_answers_come_worst_first_with_the_change_of_each_variant() -> None:
    made = {"base": [0, 0, 0], "fp16": [80, 50, 60], "kv8": [80, 55, 60], "w4": [70, 10, 60]}
    found = answers(
        {("recipe", name): evaluation("recipe", name, scores) for name, scores in made.items()},
        "recipe", ["kv8", "w4"], most=2,
    )  # fmt: skip
    assert [item["question"] for item in found] == ["题1", "题0"]
    assert found[0]["changes"] == {"kv8": 5, "w4": -40} and found[0]["change"] == -40
    assert [one["variant"] for one in found[0]["answers"]] == ["base", "fp16", "kv8", "w4"]
    # base is another model: nothing in its answer is marked as changed
    assert found[0]["answers"][0]["parts"] == [("same", "base0")]


def test_flips_are_the_questions_that_changed_sides_most_lost_first() -> None:
    made = {"fp16": [100, 100, 0, 100], "kv8": [100, 100, 100, 0], "w4": [100, 0, 0, 0]}
    found = flips(
        {("ceval", name): evaluation("ceval", name, scores) for name, scores in made.items()},
        "ceval", ["kv8", "w4"],
    )  # fmt: skip
    assert [row["question"] for row in found] == ["题3", "题1", "题2"]
    assert found[0]["said"] == [("fp16100", True), ("kv80", False), ("w40", False)]


def test_categories_are_plain_means_over_their_subjects() -> None:
    rows = [
        {"dataset": "law", "questions": 10, "scores": [50.0]},
        {"dataset": "high_school_physics", "questions": 20, "scores": [40.0]},
        {"dataset": "college_physics", "questions": 10, "scores": [20.0]},
        {"dataset": "average", "questions": 40, "scores": [36.67]},
    ]
    found = {one["category"]: one for one in by_category({"rows": rows})}
    assert found["stem"]["scores"] == [30.0] and found["stem"]["questions"] == 30
    assert found["humanities"]["scores"] == [50.0] and set(found) == {"stem", "humanities"}


def test_all_52_subjects_have_a_category_and_a_name() -> None:
    found = categories(["law", "cooking"])
    assert found == {"humanities": ["law"], UNLISTED: ["cooking"]}
    assert subject_name("high_school_physics", "zh") == "高中物理"
    assert subject_name("high_school_physics", "en") == "high school physics"
    assert subject_name("cooking", "zh") == "cooking"


def test_stages_are_read_from_the_benchmarks_longest_first(tmp_path: Path) -> None:
    header = "s\th:m:s\tmax_rss\tmax_vms\n"
    (tmp_path / "train.tsv").write_text(header + "357.6\t0:05:57\t3867.02\t1\n")
    (tmp_path / "merge.tsv").write_text(header + "0.4\t0:00:00\t-\t-\n")
    (tmp_path / "report.tsv").write_text(header + "5\t0:00:05\t99\t1\n")
    found = run.stages(tmp_path)
    assert [stage["job"] for stage in found] == ["train", "merge"]
    assert found[0]["peak_bytes"] == pytest.approx(3867.02 * 2**20)
    assert found[1]["peak_bytes"] is None
    (tmp_path / "odd.tsv").write_text("a\n1\n")
    with pytest.raises(ButlerError, match="odd.tsv is not a benchmark file"):
        run.stages(tmp_path)


def test_a_broken_list_of_hashes_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "sha256.txt"
    path.write_text(f"{'a' * 64}  one file\nnonsense\n")
    with pytest.raises(ButlerError, match="line 2 is not a hash"):
        run.read_hashes(path)
    path.write_text(f"{'a' * 64}  one file\n")
    assert run.read_hashes(path) == [{"sha256": "a" * 64, "path": "one file"}]


def test_outside_git_there_is_no_commit(tmp_path: Path) -> None:
    assert run.commit(tmp_path) is None


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
    with pytest.raises(Exception, match="undefined"):
        render({})
