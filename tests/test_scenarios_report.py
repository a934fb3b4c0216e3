"""The report across runs: what is compared with what, at which error, and what it says."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from butler.across import Run, decide_across
from butler.checks import conclude
from butler.settings.judging_stage import DecisionSettings
from butler.settings.run import read_settings
from butler.verdicts import Outcome
from compare_scenarios import read_run
from report_stages import Page, write_checks, write_csv, write_efficiency, write_evaluation
from workflow_state import CONFIG, ROOT

SCRIPT = ROOT / "workflow" / "scripts" / "compare_scenarios.py"
RULE = {"max_loss": 20, "tokens": 16384}
SMALL = (0.0, 11_000_000, 1088, 0.0)
LARGE = (0.0, 32_000_000, 2048, 0.0)


def make_run(
    folder: Path, shares: dict[str, float], sizes: dict[str, tuple], **settings: object
) -> Path:
    """Leave what a run does: by model the share of questions that are right, and its sizes."""
    for variant, share in shares.items():
        for benchmark in ("ceval", "recipe"):
            write_evaluation(folder, benchmark, variant, share)
        if variant != "base":
            write_efficiency(folder, variant, sizes[variant])
    (folder / "build" / "train").mkdir(parents=True)
    (folder / "build" / "evaluate").symlink_to("../evaluate")
    write_csv(folder / "build/train/loss.csv", ["step", "loss"], [[1, 4.0], [2, 1.25]])
    chosen = [variant for variant in shares if variant != "base"]
    whole = read_settings(CONFIG | {"variants": chosen} | settings).model_dump(mode="json")
    (folder / "results" / "config.yaml").write_text(yaml.safe_dump(whole), encoding="utf-8")
    finish(folder)
    return folder


def finish(folder: Path) -> None:
    """Write the checks of the tables as they are now."""
    write_checks(folder)
    measured = {"nll_merged": 0.75, "nll_base": 3.0}
    conclude(folder / "results/checks/training.json", "training", True, "better", measured, {})


def compare(*folders: Path, **rule: object) -> subprocess.CompletedProcess[str]:
    out = folders[0].parent
    command = [sys.executable, SCRIPT, "--runs", *folders, "--rule", json.dumps(RULE | rule)]
    command += ["--summary", out / "summary.csv", "--decision", out / "decision.json"]
    command += ["--report", out / "report.html"]
    return subprocess.run([str(word) for word in command], capture_output=True, text=True)


def decision_of(folder: Path) -> dict:
    return json.loads((folder / "decision.json").read_text(encoding="utf-8"))


BOTH = {"fp16": LARGE, "w4kv8": SMALL}


@pytest.fixture
def better_and_worse(tmp_path: Path) -> tuple[Path, Path]:
    good = {"base": 0.2, "fp16": 0.9, "w4kv8": 0.88}
    worse = {"base": 0.2, "fp16": 0.3, "w4kv8": 0.3}
    return (
        make_run(tmp_path / "worse", worse, BOTH, seed=1),
        make_run(tmp_path / "good", good, BOTH, train={"learning_rate": 1e-4}),
    )


def test_the_better_run_is_shipped_in_its_smallest_form_that_loses_little(better_and_worse):
    done = compare(*better_and_worse)
    assert done.returncode == 0, done.stderr
    assert "Ship w4kv8 of good (" in done.stdout
    found = decision_of(better_and_worse[0].parent)
    assert (found["run"], found["variant"]) == ("good", "w4kv8")
    runs = {one["run"]: one for one in found["runs"]}
    assert runs["good"]["leads"] and runs["worse"]["outcome"] == "over"
    assert "shown to lose more than 20 points against good" in runs["worse"]["text"]
    # A form that keeps what its own fp16 can does not ship where its run is shown to be worse.
    forms = {(one["run"], one["variant"]): one for one in found["forms"]}
    assert forms["worse", "w4kv8"]["outcome"] == "within"
    assert not forms["worse", "w4kv8"]["may_ship"]
    assert found["rule"]["claims"] == 4 and "over all 4 claims together" in found["rule"]["sure"]


def test_fp16_ships_where_nothing_that_is_preferred_may(tmp_path):
    sizes = {"fp16": LARGE, "w4kv8": SMALL}
    good = make_run(tmp_path / "good", {"base": 0.2, "fp16": 0.9, "w4kv8": 0.5}, sizes)
    worse = make_run(tmp_path / "worse", {"base": 0.2, "fp16": 0.3, "w4kv8": 0.3}, sizes)
    done = compare(good, worse)
    assert done.returncode == 0, done.stderr
    # worse's w4kv8 is shown to lose little, but its run loses too much.
    assert "Ship fp16 of good (" in done.stdout
    assert "no form that is preferred to it may ship" in done.stdout


def test_runs_of_one_training_are_one_model_and_cost_no_claim(tmp_path):
    sizes = {"fp16": LARGE, "w4kv8": SMALL}
    whole = make_run(tmp_path / "whole", {"base": 0.2, "fp16": 0.9, "w4kv8": 0.88}, sizes)
    alone = make_run(tmp_path / "alone", {"base": 0.2, "fp16": 0.9}, sizes)
    for name in ("ceval", "recipe"):  # as scenarios have the answers of a stage that they share
        own = alone / "evaluate" / f"{name}_fp16" / "details.jsonl"
        own.unlink()
        own.symlink_to(whole / "evaluate" / f"{name}_fp16" / "details.jsonl")
    finish(alone)
    done = compare(alone, whole)
    assert done.returncode == 0, done.stderr
    found = decision_of(tmp_path)
    assert (found["run"], found["variant"]) == ("whole", "w4kv8")
    assert found["rule"]["claims"] == 1 and all(one["leads"] for one in found["runs"])


def test_the_table_has_a_row_for_each_form_of_each_run(better_and_worse):
    assert compare(*better_and_worse).returncode == 0
    with (better_and_worse[0].parent / "summary.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["scenario"], row["variant"]) for row in rows] == [
        ("worse", "fp16"),
        ("worse", "w4kv8"),
        ("good", "fp16"),
        ("good", "w4kv8"),
    ]
    last = rows[-1]
    assert last["chosen"] == "True" and last["ceval_verdict"] == "within"
    assert float(last["ceval_change_low"]) <= float(last["ceval_change"])
    assert float(last["memory_bytes"]) == 11_000_000 + 16384 * 1088
    assert (last["training_loss"], last["held_out_nll"]) == ("1.25", "0.75")
    assert rows[2]["ceval_change"] == "" and rows[2]["run_leads"] == "True"


def test_the_page_shows_forms_runs_and_what_differs_and_stands_alone(better_and_worse):
    assert compare(*better_and_worse).returncode == 0
    html = (better_and_worse[0].parent / "report.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(html)
    local = ("#", "data:,", "worse/results/report.html", "good/results/report.html")
    assert all(address.startswith(local) for address in page.addresses)
    assert 'id="across"' in html and 'id="beside"' in html
    assert "train.learning_rate" in page.text and "0.0001" in page.text
    assert "lora_r" not in page.text
    assert "Ship w4kv8 of good" in page.text and "发布 good 的 w4kv8" in page.text


def test_of_two_runs_alike_the_smaller_is_shipped_and_that_losses_add_up_is_said(tmp_path):
    middle = (0.0, 20_000_000, 1088, 0.0)
    first = make_run(
        tmp_path / "large", {"base": 0.2, "fp16": 0.9, "w4kv8": 0.9}, BOTH | {"w4kv8": middle}
    )
    second = make_run(tmp_path / "small", {"base": 0.2, "fp16": 0.89, "w4kv8": 0.89}, BOTH, seed=1)
    assert compare(first, second).returncode == 0
    found = decision_of(tmp_path)
    assert (found["run"], found["variant"]) == ("small", "w4kv8")
    assert {one["run"] for one in found["runs"] if one["leads"]} == {"large"}
    assert "shown to lose at most 20 points against every other run's" in found["sentence"]
    assert "The two losses add up" in found["remarks"][0]


def ask_other_questions(folder: Path, benchmark: str, variants: tuple[str, ...]) -> None:
    for variant in variants:
        path = folder / "evaluate" / f"{benchmark}_{variant}" / "details.jsonl"
        path.write_text(path.read_text("utf-8").replace("的做法", "怎么做"), encoding="utf-8")
    finish(folder)


def test_runs_are_compared_by_the_questions_that_both_were_asked(better_and_worse):
    worse, _ = better_and_worse
    ask_other_questions(worse, "recipe", ("base", "fp16", "w4kv8"))
    assert compare(*better_and_worse).returncode == 0
    found = decision_of(worse.parent)
    assert found["asked_alike"] == ["ceval"] and found["run"] == "good"
    assert "recipe: the runs were not asked the same questions" in found["remarks"][0]
    assert set(found["runs"][0]["against"]["good"]) == {"ceval"}
    # Each variant is still compared with its own run's fp16 on both.
    assert all(
        set(one["benchmarks"]) == {"ceval", "recipe"}
        for one in found["forms"]
        if one["variant"] != "fp16"
    )


def test_runs_that_were_asked_nothing_alike_are_not_compared(better_and_worse):
    worse, _ = better_and_worse
    for benchmark in ("ceval", "recipe"):
        ask_other_questions(worse, benchmark, ("base", "fp16", "w4kv8"))
    done = compare(*better_and_worse)
    assert done.returncode == 0, done.stderr
    found = decision_of(worse.parent)
    assert (found["run"], found["variant"]) == (None, None)
    assert "The runs cannot be compared" in done.stdout
    assert all(one["outcome"] is None for one in found["runs"])
    assert all(one["outcome"] for one in found["forms"] if one["variant"] != "fp16")


def test_the_error_is_shared_by_all_forms_of_all_runs(tmp_path):
    """What one run shows at its own error is open beside runs that show nothing."""
    shares = {"base": 0.2, "fp16": 0.8, "w4kv8": 0.74}
    close = read_run(make_run(tmp_path / "close", shares, BOTH))
    rule = next(
        rule
        for limit in range(5, 60)
        if (rule := DecisionSettings(max_loss=float(limit), error=0.05))
        and outcome(rule, [close], "close") is Outcome.WITHIN
    )
    others = [
        read_run(make_run(tmp_path / f"other{seed}", shares | {"w4kv8": 0.2}, BOTH, seed=seed))
        for seed in range(5)
    ]
    assert outcome(rule, [close], "close") is Outcome.WITHIN
    assert outcome(rule, [close, *others], "close") is Outcome.UNDECIDED


def outcome(rule: DecisionSettings, runs: list[Run], name: str) -> Outcome:
    forms = decide_across(rule, runs).forms
    return next(one.verdict.outcome for one in forms if one.run == name and one.verdict)


def test_a_form_that_only_more_questions_keep_from_shipping_is_told(tmp_path):
    shares = {"base": 0.2, "fp16": 0.8, "w4kv8": 0.74}
    folder = make_run(tmp_path / "one", shares, BOTH)
    assert compare(folder, max_loss=8).returncode == 0
    found = decision_of(tmp_path)
    assert (found["run"], found["variant"]) == ("one", "fp16")
    assert (
        "w4kv8 of one (27.5 MiB) would be preferred if it were settled: ask" in found["remarks"][0]
    )


def test_an_edited_table_of_a_run_is_refused(better_and_worse):
    path = better_and_worse[1] / "results" / "ceval_fp16.csv"
    path.write_text(path.read_text("utf-8").replace("ceval", "cevil"), encoding="utf-8")
    done = compare(*better_and_worse)
    assert done.returncode == 1
    assert "ceval_fp16.csv was changed after its stage wrote it" in done.stderr
    assert not (better_and_worse[0].parent / "decision.json").exists()
