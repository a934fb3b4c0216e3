"""What a user is told of a run that is done."""

import json
from pathlib import Path

import pytest

from butler.decision import Candidate, decide
from butler.outcome import outcome
from butler.settings.judging_stage import DecisionSettings
from workflow_state import finish, plan, snakemake

pytestmark = pytest.mark.workflow


@pytest.mark.parametrize("folder", ["results", "runs"])
def test_a_run_ends_with_what_it_decided_and_where_the_report_is(tmp_path: Path, folder: str):
    decision = decide(DecisionSettings(), [Candidate("fp16", {}, {}, 2**30)], {}).to_json()
    (tmp_path / folder).mkdir()
    path = tmp_path / folder / "decision.json"
    path.write_text(json.dumps(decision), encoding="utf-8")
    said = outcome({f"{folder}/decision.json", "results/summary.csv"}, tmp_path)
    assert said.splitlines() == [decision["sentence"], f"Why: {folder}/report.html"]
    assert "fp16" in said


def test_a_run_that_decided_nothing_tells_of_no_decision(tmp_path: Path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results/decision.json").write_text('{"sentence": "of another run"}')
    assert outcome({"results/config.yaml"}, tmp_path) == ""
    assert "of another run" not in snakemake(tmp_path, "results/config.yaml")


def test_a_dry_run_and_a_touch_tell_of_no_decision(tmp_path: Path):
    finish(tmp_path)  # a touch, of files that hold no decision
    assert "Why: " not in plan(tmp_path, "--dry-run", "--forceall", "all")
