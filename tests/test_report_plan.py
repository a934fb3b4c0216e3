"""The plan against what was used: which job is of which stage, and what the report makes of it."""

import json
import sys
from pathlib import Path

import pytest

import write_plan
from butler.errors import ButlerError
from butler.report_sections.job_costs import JobCost
from butler.report_sections.plan_used import StageUse, stage_of, stage_uses
from report_stages import make_stages, run
from workflow_state import CONFIG, ROOT

MIB = 2**20
STAGES = ["train", "check_training", "check_workspace", "check_kv_cache", "evaluate", "workspace"]
STAGES += ["w8a8", "check_w8a8", "fp8", "check_fp8"]
PLAN = "stage,jobs,host,gpu,disk,seconds\ntrain,1,1000,0,0,60\nevaluate,10,2000,0,0,100\n"


@pytest.mark.parametrize(
    ("job", "stage"),
    [
        ("train", "train"),
        ("training_config", ""),
        ("check_training", "check_training"),
        ("check_workspace_w4", "check_workspace"),
        ("check_w4kv8", "check_kv_cache"),
        ("check_fp8", "check_fp8"),
        ("check_fp8kv8", "check_kv_cache"),
        ("w8a8_w8a8fp8", "w8a8"),
        ("check_w8a8_w8a8", "check_w8a8"),
        ("evaluate_my_exam_w4", "evaluate"),
        ("evaluate_ceval_base-hf", ""),
        ("workspace_fp16", "workspace"),
        ("report", ""),
    ],
)
def test_a_job_is_of_the_stage_that_its_log_is_called_by(job: str, stage: str) -> None:
    assert stage_of(job, STAGES) == stage


def test_planned_time_is_for_the_jobs_that_ran_and_memory_the_largest_ones(tmp_path: Path) -> None:
    plan = tmp_path / "plan.csv"
    plan.write_text(PLAN)
    jobs = [
        JobCost("evaluate_a_fp16", 8.0, 1500.0, 0),
        JobCost("evaluate_b_fp16", 12.0, 2500.0, 0),
        JobCost("evaluate_a_w4", 1.0, None, 0),
        JobCost("hashes", 1.0, None, 0),
    ]
    found = stage_uses(plan, jobs)
    assert found == [StageUse("evaluate", 3, 2000.0, 2500.0, 30.0, 21.0)]
    assert not found[0].over, "a job asks for more than is planned"
    assert StageUse("train", 1, 2e9, 3.1e9, 60.0, 60.0).over
    plan.write_text(PLAN.replace("1000", "much"))
    with pytest.raises(ButlerError, match=r"plan\.csv has a figure that is no number"):
        stage_uses(plan, jobs)


def test_the_plan_is_written_by_settings_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / "build" / "corpus"
    made.mkdir(parents=True)
    (made / "train.jsonl").write_text("{}\n")  # which the plan of a run that goes on would read
    monkeypatch.chdir(tmp_path)
    line = ["write_plan.py", "--config", json.dumps(CONFIG), "--repository", str(ROOT)]
    line += ["--base", str(ROOT / "data/base/tiny"), "--tools", "3", "--out", "plan.csv"]
    monkeypatch.setattr(sys, "argv", line)
    write_plan.main()
    jobs = [JobCost(name, 1.0, MIB, 0) for name in ("train", "evaluate_ceval_fp16", "corpus")]
    found = {one.stage: one for one in stage_uses(tmp_path / "plan.csv", jobs)}
    assert list(found) == ["corpus", "train", "evaluate"]
    assert found["train"].planned_seconds > 100, "of the demo's 160 updates, not of one record"


def test_the_report_holds_the_plan_against_the_logs(tmp_path: Path) -> None:
    stages = make_stages(tmp_path)
    (stages / "logs/train.tsv").write_text("s\th:m:s\tmax_rss\tmax_vms\n90\t0:01:30\t50\t1\n")
    (stages / "plan.csv").write_text(PLAN.replace("1000", str(100 * MIB)))
    done = run(stages)
    assert done.returncode == 0, done.stderr
    page = (stages / "out" / "report.html").read_text(encoding="utf-8")
    row = page.split("The plan against what was used")[1].split("<tbody>")[1].split("</tr>")[0]
    for said in ("train", ">100.0<", ">50.0<", "50 %", "1:00 min", "1:30 min"):
        assert said in row
