"""Two scenarios of the demo, trained shortly, with the real tools: what is made, and made again."""

import re
import subprocess
import sys
from collections import Counter

import pandas as pd
import pytest
import yaml

from real_tools import SCRIPTS, read_json, run_chain
from workflow_state import demo_benchmarks

pytestmark = pytest.mark.long
SHORT = {
    "train": {"max_steps": 40, "checkpoint_interval": 20},
    "calibration": {"samples": 8},
    "variants": ["fp16", "w4kv8"],
    "divergence": {"conversations": 8},
    "benchmarks": demo_benchmarks(
        ceval={"parts": ["ceval-middle_school_chemistry"]},
        recipe={"questions": 10, "max_new_tokens": 100},
    ),
}
RATES = {"slow": {"train": {"learning_rate": 1e-3}}, "fast": {}}


def run(folder, scenarios):
    """Run scenarios; return how many jobs of each rule there were."""
    file = folder / "scenarios.yaml"
    file.write_text(yaml.safe_dump(scenarios, sort_keys=False), encoding="utf-8")
    text = run_chain(folder, "scenarios", scenarios=str(file), **SHORT)
    jobs = Counter(re.findall(r"^Finished jobid: \d+ \(Rule: (\w+)\)", text, re.MULTILINE))
    sentence = read_json(folder / "runs" / "decision.json")["sentence"]
    assert (f"\n{sentence}\nWhy: runs/report.html\n" in text) == ("comparison" in jobs)
    return jobs


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenarios")
    return folder, run(folder, RATES)


def test_what_is_equal_is_made_once(first):
    _, jobs = first
    for rule in ("corpus", "base_model"):
        assert jobs[f"slow_{rule}"] + jobs[f"fast_{rule}"] == 1
    assert jobs["slow_train"] == jobs["fast_train"] == 1
    # Two benchmarks of fp16 and w4kv8 for each, and of the base for one.
    assert (jobs["slow_evaluate"], jobs["fast_evaluate"]) == (6, 4)


def test_the_report_goes_over_both(first):
    folder, _ = first
    rows = pd.read_csv(folder / "runs" / "summary.csv")
    assert list(zip(rows.scenario, rows.variant, strict=True)) == [
        ("slow", "fp16"),
        ("slow", "w4kv8"),
        ("fast", "fp16"),
        ("fast", "w4kv8"),
    ]
    decision = read_json(folder / "runs" / "decision.json")
    assert decision["asked_alike"] == ["ceval", "recipe"] and decision["rule"]["claims"] == 4
    assert (folder / "runs" / decision["run"] / "workspaces" / decision["variant"]).is_dir()


def test_a_scenarios_folder_can_be_verified_as_a_runs(first):
    folder, _ = first
    command = [sys.executable, SCRIPTS / "verify.py", folder / "runs/slow/results/provenance.json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "are as they were made" in done.stdout


def test_an_edited_scenario_runs_its_own_stages_again(first):
    folder, _ = first
    assert not run(folder, RATES)
    edited = {**RATES, "fast": {"calibration": {"samples": 4}}}
    jobs = run(folder, edited)
    assert jobs["fast_awq"] == jobs["comparison"] == 1 and jobs["fast_evaluate"] == 2
    assert not jobs.keys() & {"fast_train", "fast_merge", "fast_corpus", "fast_base_model"}
    assert not [name for name in jobs if name.startswith("slow_")]
