"""The stages as jobs of a real Slurm: tests/slurm/cluster.sh start, then pytest -m e2e."""

import re
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from real_tools import ENVIRONMENTS
from workflow_state import ROOT

CONFIGURATION = Path("/etc/slurm/slurm.conf")
PROFILE = ROOT / "tests" / "slurm"


def why_not() -> str | None:
    """Return what is missing here, in words; None if nothing is."""
    if find_spec("snakemake_executor_plugin_slurm") is None:
        return "snakemake-executor-plugin-slurm is not installed"
    if not CONFIGURATION.exists() or "recipe-butler" not in CONFIGURATION.read_text():
        return "no test cluster here: run tests/slurm/cluster.sh start"
    return None


pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(bool(why_not()), reason=str(why_not())),
]


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the workflow on the test cluster, in `folder`."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--directory", str(folder), "--workflow-profile", str(PROFILE), "--config"]
    command += ["device=cpu", "engine=reference", f"environments={ENVIRONMENTS}", *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT
    )


def finish(running: subprocess.Popen[str], seconds: float = 300) -> list[str]:
    """Wait for a run that must succeed; return the numbers of its Slurm jobs."""
    text, _ = running.communicate(timeout=seconds)
    assert running.returncode == 0, text[-8000:]
    return re.findall(r"submitted with SLURM jobid (\d+)", text)


def of_job(number: str) -> dict[str, str]:
    """Return what Slurm knows of a job."""
    shown = subprocess.run(
        ["scontrol", "show", "job", "--oneliner", number], capture_output=True, text=True
    )
    return dict(re.findall(r"(\S+?)=(\S*)", shown.stdout))


def test_a_job_with_a_gpu_runs_its_script_once(tmp_path):
    asked = ["--set-resources", "corpus:gpu=1", "--", "build/corpus/stats.json"]
    (number,) = finish(start(tmp_path, *asked))
    job = of_job(number)
    # --ntasks-per-gpu with a second task would start everything twice, side by side.
    assert job["NumTasks"] == "1"
    assert job["TresPerJob"] == "gres:gpu:1"
    assert job["JobState"] == "COMPLETED"
    assert (tmp_path / "build/corpus/train.jsonl").is_file()


def test_a_job_that_was_killed_is_submitted_again(tmp_path):
    running = start(tmp_path, "--", "build/corpus/stats.json")
    end = time.monotonic() + 60
    jobs: list[str] = []
    while not jobs:
        assert time.monotonic() < end, "no job started"
        listed = ["squeue", "--noheader", "--states=RUNNING", "--format=%i"]
        jobs = subprocess.run(listed, capture_output=True, text=True).stdout.split()
        time.sleep(0.1)
    subprocess.run(["scancel", "--full", "--signal=KILL", jobs[0]], check=True)
    first, second = finish(running)
    assert (of_job(first)["JobState"], of_job(second)["JobState"]) == ("CANCELLED", "COMPLETED")
    assert (tmp_path / "build/corpus/stats.json").is_file()


def test_a_training_longer_than_the_queue_allows_goes_on_until_it_is_done(tmp_path):
    """Cut by the queue's clock each minute; its adapter is that of a training nobody cut."""
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("train: {max_steps: 72, checkpoint_interval: 6, lora_dropout: 0.1}\n")
    short = ["--configfile", str(overlay), "--"]
    finish(start(tmp_path / "whole", *short, "build/adapter"), 900)
    finish(start(tmp_path / "part", *short, "build/train/config.py"), 900)
    clock = ["--retries", "20", "--set-resources", "train:runtime=1", *short]
    jobs = finish(start(tmp_path / "part", *clock, "build/adapter"), 1800)
    states = [of_job(number)["JobState"] for number in jobs]
    print(dict(zip(jobs, states, strict=True)))
    assert states.count("TIMEOUT") >= 2, f"the training fitted into its minutes: {states}"
    name = "build/adapter/adapter_model.safetensors"
    assert (tmp_path / "part" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_training_on_two_nodes_is_one_job_and_one_training(tmp_path):
    """The rule runs once and starts an agent of torchrun on each node; the adapter is made once."""
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("train: {max_steps: 4, log_interval: 1, max_length: 128, nodes: 2}\n")
    gpus = [
        "--retries",
        "0",
        "--set-resources",
        "train:gpu=0",
        "train:gres=gpu:1",
    ]  # one on each node
    run = start(tmp_path, "--configfile", str(overlay), *gpus, "--", "build/adapter")
    job = of_job(finish(run, 600)[-2])
    assert (job["NumNodes"], job["NumTasks"], job["JobState"]) == ("2", "2", "COMPLETED")
    log = (tmp_path / "logs" / "train.log").read_text(encoding="utf-8")
    assert log.count("Saving checkpoint at 4 iterations") == 1
    assert "GPU number: 2" in log and "Distributed launcher: pytorch" in log
    assert len((tmp_path / "build/train/loss.csv").read_text().splitlines()) == 1 + 4


def test_the_jobs_of_scenarios_are_jobs_of_slurm(tmp_path):
    file = tmp_path / "scenarios.yaml"
    file.write_text("all: {}\nfew: {corpus: {sample: 300}}\n", encoding="utf-8")
    asked = [f"scenarios={file}", "--set-resources", "corpus:gpu=1", "--until"]
    jobs = finish(start(tmp_path, *asked, "all_corpus", "few_corpus", "--", "scenarios"), 600)
    assert [of_job(number)["JobState"] for number in jobs] == ["COMPLETED"] * 2
    # What a profile says of a rule holds for that of each scenario.
    assert [of_job(number)["TresPerJob"] for number in jobs] == ["gres:gpu:1"] * 2
    made = {
        path.parts[-4] for path in tmp_path.glob("runs/stages/corpus-*/build/corpus/train.jsonl")
    }
    assert len(made) == 2
    lines = {
        name: len((tmp_path / f"runs/{name}/build/corpus/train.jsonl").read_text().splitlines())
        for name in ("all", "few")
    }
    assert 0 < lines["few"] < 300 < lines["all"]
