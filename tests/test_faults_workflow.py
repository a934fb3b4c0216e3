"""Faults of a working folder: two runs at once, a clock that jumped, odd names and places."""

import os
import signal
import subprocess
import sys
import time

import pytest

from butler.orphans import jobs_in
from workflow_state import ROOT, demo_benchmarks, overlay, plan, snakemake

CORPUS = "build/corpus/train.jsonl"


def fast(folder, path="data/demo/recipes.jsonl", **sections):
    """Return the arguments of a run to the corpus of a few records."""
    few = {"path": str(path), "test_size": 10}
    asked = demo_benchmarks(recipe={"questions": 10})
    return [*overlay(folder, corpus=few, benchmarks=asked, **sections), CORPUS]


@pytest.fixture
def recipes(tmp_path_factory):
    path = tmp_path_factory.mktemp("given") / "recipes.jsonl"
    lines = (ROOT / "data/demo/recipes.jsonl").read_text(encoding="utf-8").splitlines()[:300]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.workflow
def test_a_second_run_in_the_same_folder_is_told_in_one_sentence(tmp_path, recipes):
    arguments = fast(tmp_path, recipes)
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--directory", str(tmp_path), "--cores", "2", *arguments]
    log = tmp_path / "first.log"
    with log.open("wb") as said:
        first = subprocess.Popen(
            command, cwd=ROOT, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        )
    deadline = time.monotonic() + 60
    while not any((tmp_path / ".snakemake/locks").glob("*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(first.pid, signal.SIGSTOP)
    try:
        second = plan(tmp_path, *arguments, check=False)
    finally:
        os.killpg(first.pid, signal.SIGCONT)
    assert "Directory cannot be locked" in second
    assert "Traceback" not in second
    assert first.wait() == 0, log.read_text(encoding="utf-8")
    assert (tmp_path / CORPUS).is_file()


@pytest.mark.e2e
def test_a_killed_run_needs_snakemakes_own_unlock_and_nothing_else(tmp_path, recipes):
    locks = tmp_path / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    (locks / "0.output.lock").write_text(f"{CORPUS}\n", encoding="utf-8")
    arguments = fast(tmp_path, recipes)
    refused = plan(tmp_path, *arguments, check=False)
    assert "--unlock" in refused and not (tmp_path / CORPUS).exists()
    plan(tmp_path, "--unlock", *arguments)
    snakemake(tmp_path, *arguments)
    assert (tmp_path / CORPUS).is_file()


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
@pytest.mark.workflow
def test_a_run_beside_a_killed_runs_job_is_refused_in_one_sentence(tmp_path, recipes):
    arguments = fast(tmp_path, recipes)
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--directory", str(tmp_path), "--cores", "2"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    first = subprocess.Popen([*command, *arguments], cwd=ROOT, start_new_session=True, **quiet)
    deadline = time.monotonic() + 60
    while not (jobs := jobs_in(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.01)
    ((orphan, script),) = jobs.items()
    os.kill(orphan, signal.SIGSTOP)
    try:
        first.kill()
        first.wait()
        locked = plan(tmp_path, *arguments, check=False)
        assert "Directory cannot be locked" in locked and "--unlock" in locked
        plan(tmp_path, "--unlock", *arguments)
        refused = plan(tmp_path, *arguments, check=False)
        # What writes nothing may be asked beside a job, also one of a run that goes on.
        assert "in all" in snakemake(tmp_path, *arguments[:-1], "plan")
    finally:
        os.kill(orphan, signal.SIGKILL)
    (sentence,) = [line for line in refused.splitlines() if "of an earlier run" in line]
    assert f"{script} (process {orphan}) still runs" in sentence and f"`kill {orphan}`" in sentence
    assert "Traceback" not in refused and ": corpus: " not in refused
    while jobs_in(tmp_path):
        time.sleep(0.01)
    snakemake(tmp_path, *arguments)
    assert (tmp_path / CORPUS).is_file()


@pytest.mark.parametrize("made", [False, True], ids=["given", "made"])
@pytest.mark.workflow
def test_a_file_dated_in_the_future_stops_the_run_before_its_first_job(made, tmp_path, recipes):
    arguments = fast(tmp_path, recipes)
    path = recipes
    if made:
        path = tmp_path / "build/base/.snakemake_timestamp"
        path.parent.mkdir(parents=True)
        path.touch()
    year_2100 = 4102444800
    os.utime(path, (year_2100, year_2100))
    text = plan(tmp_path, *arguments, check=False)
    assert f"{path.name} is dated 2100-01-01" in text and "in the future" in text
    assert ": corpus: " not in text and not (tmp_path / CORPUS).exists()


@pytest.mark.workflow
def test_an_edited_lock_rebuilds_its_environment(tmp_path, monkeypatch, recipes):
    # Its date is newer than the stamp's: what an editor leaves.
    stamps = tmp_path / "environments"
    stamps.mkdir()
    for tool in ("xtuner", "lmdeploy", "opencompass"):
        (stamps / f"{tool}.json").write_text("{}", encoding="utf-8")
    edited = (ROOT / "envs" / "xtuner.lock").stat().st_mtime - 1
    os.utime(stamps / "xtuner.json", (edited, edited))
    arguments = overlay(tmp_path, environments=str(stamps))
    text = plan(tmp_path, "--dry-run", *arguments, "environments")
    assert "xtuner.lock" in text and "environment_xtuner" in text
    assert "environment_lmdeploy" not in text


def needs(locale):
    """Mark a case that only says something where the system has the locale."""
    known = subprocess.run(["locale", "-a"], capture_output=True, text=True).stdout.lower()
    there = locale.lower().replace("-", "") in known.replace("-", "").split()
    reason = f"the system has no locale {locale}"
    return pytest.param(locale, marks=pytest.mark.skipif(not there, reason=reason))


@pytest.mark.e2e
@pytest.mark.parametrize("locale", [needs("C"), needs("tr_TR.UTF-8")])
def test_a_folder_with_a_chinese_name_a_locale_and_a_read_only_home(
    locale, tmp_path, recipes, monkeypatch
):
    folder = tmp_path / "我的 菜谱"
    folder.mkdir()
    plain = tmp_path / "plain"
    plain.mkdir()
    snakemake(plain, *fast(plain, recipes))
    # A home in which nothing can be made, for root neither; the cache has a place of its own.
    monkeypatch.setenv("HOME", "/proc/self/fd")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LC_ALL", locale)
    snakemake(folder, *fast(folder, recipes))
    for name in ("train", "test", "rejected"):
        made = (folder / f"build/corpus/{name}.jsonl").read_bytes()
        assert made == (plain / f"build/corpus/{name}.jsonl").read_bytes()


# SIGTERM reaches Snakemake while it takes in what has finished, and holds its lock for that.
TERMINATED = """
import signal, sys
from snakemake.cli import main
from snakemake.scheduling.job_scheduler import JobScheduler

take_in = JobScheduler._finish_jobs

def terminated(self):
    signal.raise_signal(signal.SIGTERM)
    take_in(self)

JobScheduler._finish_jobs = terminated
main(sys.argv[1:])
"""


@pytest.mark.workflow
def test_a_run_that_is_terminated_while_it_takes_in_a_job_ends(tmp_path):
    command = [sys.executable, "-c", TERMINATED, "--snakefile", str(ROOT / "Snakefile")]
    command += ["--directory", str(tmp_path), "--cores", "1", "results/config.yaml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=40)
    assert "Shutting down" in done.stderr
    assert not any((tmp_path / ".snakemake/locks").glob("*"))
