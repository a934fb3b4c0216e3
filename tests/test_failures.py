"""What a user is told of a run that failed, and while it runs."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from butler import progress
from butler.failures import explain
from butler.training_log import training_status
from workflow_state import ROOT

SCRIPTS = ROOT / "workflow" / "scripts"
BLOCK = """CalledProcessError in file "/x/finetune.smk", line 7:
Command 'set -euo pipefail; python train.py' returned non-zero exit status {code}.
[Mon Nov 23 01:37:14 2026]
Error in rule {rule}:
    message: {message}
    jobid: {job}
    output: a
    log: {log} (check log file(s) for error details)
    shell:
        python train.py > log 2>&1
        (command exited with non-zero exit code)
"""


def failed(
    log: Path, text: str, rule: str = "train", code: int = 1, message: str = "None", job: int = 3
) -> str:
    log.write_text(text, encoding="utf-8")
    return BLOCK.format(log=log, rule=rule, code=code, message=message, job=job)


def test_a_scripts_own_sentence_is_the_reason(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    said = explain(failed(log, "step 1\nerror: the loss went up; lower the rate\n"))
    assert said.splitlines() == [
        "Stage train failed.",
        "  Why:  the loss went up; lower the rate",
        f"  Log:  {log}",
        "  Try:  mend that and give the same command again: finished stages are kept, and the "
        "training goes on from its last checkpoint.",
    ]


@pytest.mark.parametrize(
    ("text", "code", "message", "why", "hint"),
    [
        (
            "Traceback (most recent call last):\n  File x\ntorch.OutOfMemoryError: CUDA out of "
            "memory. Tried to allocate 2 GiB\n",
            1,
            "None",
            "torch.OutOfMemoryError: CUDA out of memory",
            "train.micro_batch",
        ),
        (
            "error: the model server ended with code 134; its log ends: [TM][ERROR] CUDA runtime "
            "error: out of memory /lmdeploy/src/turbomind/utils/allocator.h:246\n",
            1,
            "None",
            "the model server ended with code 134",
            "free the GPU of what else runs there",
        ),
        ("loading\n", 137, "None", "the last line of its log is: loading", "out of memory"),
        ("", 9, "None", "exit code 9 and an empty log", "same command again"),
        ("OSError: [Errno 28] No space left on device\n", 1, "None", "Errno 28", "disk space"),
        ("RuntimeError: basic_ios::clear: iostream error\n", 1, "None", "No space", "disk space"),
        (
            "RuntimeError: [enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598\n"
            "error: python -m xtuner.tools.train … exited with 1\n",
            1,
            "None",
            "No space left on device",
            "disk space",
        ),
        ("50%\r60%\n", 1, "SLURM status is: 'TIMEOUT'", "SLURM status is", "more time"),
        (
            "error: pip could not build x: No matching distribution found for torch\n",
            1,
            "None",
            "pip could not build x",
            "package index",
        ),
    ],
)
def test_other_ends_get_a_reason_and_advice(
    tmp_path: Path, text: str, code: int, message: str, why: str, hint: str
) -> None:
    said = explain(failed(tmp_path / "log", text, "awq", code, message))
    assert why in said.splitlines()[1] and hint in said.splitlines()[3]


def test_each_failed_stage_is_told_once_and_none_that_was_done_at_last(tmp_path: Path) -> None:
    one = failed(tmp_path / "a", "error: a\n", "merge", job=1)
    again = failed(tmp_path / "b", "error: b\n", "awq", job=2)
    said = explain(f"{one}{again}{one}[Mon]\nFinished jobid: 2 (Rule: awq)\n")
    assert said.count("Stage ") == 1 and "Stage merge failed" in said


CUT = "Traceback (most recent call last):\n  File x\nKeyboardInterrupt\n"
REQUEST = "Terminating processes on user request, this might take some time.\n"


@pytest.mark.parametrize(
    ("before", "log"),
    [
        ("", f"step 1\n{CUT}"),
        ("", f"error: pip's own\n{CUT}"),
        (REQUEST, ""),
        (REQUEST, "step 1\n"),
    ],
)
def test_a_stage_that_the_user_stopped_is_no_failure(tmp_path: Path, before: str, log: str) -> None:
    said = explain(before + failed(tmp_path / "train.log", log))
    assert said == (
        "Stage train was cut: you stopped it; give the same command again: finished stages are "
        "kept, and the training goes on from its last checkpoint."
    )


def test_what_failed_before_the_user_stopped_the_rest_is_told_as_a_failure(tmp_path: Path) -> None:
    one = failed(tmp_path / "a", f"{CUT}ValueError: x\n", "merge", job=1)
    said = explain(one + REQUEST + failed(tmp_path / "b", CUT, "awq", job=2))
    assert "Stage merge failed.\n  Why:  ValueError: x\n" in said
    assert "Stage awq was cut: you stopped it" in said


def test_a_stage_without_a_log_is_not_said_to_have_an_empty_one(tmp_path: Path) -> None:
    text = failed(tmp_path / "log", "", "plan")
    said = explain(re.sub(r"    log: .*\n", "", text))
    assert said == "Stage plan failed; it keeps no log: what it said stands further up."


def test_a_failed_run_ends_with_the_paragraph(tmp_path: Path) -> None:
    # One record is of the format, and no stage but the corpus itself can tell that it is too few.
    recipes = tmp_path / "recipes.jsonl"
    with (ROOT / "data" / "demo" / "recipes.jsonl").open(encoding="utf-8") as stream:
        recipes.write_text(stream.readline(), encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--cores", "1"]
    command += ["--directory", tmp_path, "--config", f"corpus={{path: {recipes}}}"]
    done = subprocess.run(
        [*command, "--", "build/corpus/train.jsonl"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 1
    told = (done.stdout + done.stderr).split("Stage corpus failed.")
    assert len(told) == 2
    own = (tmp_path / "logs/corpus.log").read_text(encoding="utf-8").strip().splitlines()[-1]
    assert f"Why:  {own.removeprefix('error: ')}" in told[1]
    assert "Log:  logs/corpus.log" in told[1]


def test_progress_reaches_the_log_and_the_terminal(tmp_path: Path) -> None:
    program = (
        "import time\n"
        "from butler.progress import progress\n"
        "with progress('train', lambda: 'step 1 of 2', first=0.1): time.sleep(0.35)\n"
    )
    log, terminal = tmp_path / "log", tmp_path / "terminal"
    # As the rules do: the terminal is a file that was opened before the log.
    command = f"exec 3> {terminal}; export {progress.TERMINAL}=3; "
    command += f"{sys.executable} -c {chr(34)}{program}{chr(34)} > {log} 2>&1"
    subprocess.run(["bash", "-c", command], check=True, env=os.environ | {"PYTHONPATH": SCRIPTS})
    lines = log.read_text().splitlines()
    assert 1 <= len(lines) <= 3 and lines[0] == "[train] step 1 of 2 (0:00 so far)"
    assert terminal.read_text().splitlines() == lines


def test_without_a_terminal_progress_goes_to_the_log_alone(capfd) -> None:
    progress.say("train", "step 1")
    assert capfd.readouterr().err == "[train] step 1\n"


def test_counts_tell_the_time_left() -> None:
    started = time.monotonic() - 30
    assert progress.counted(0, 100, "questions", started) == "0 of 100 questions"
    assert progress.counted(25, 100, "questions", started).endswith("about 1:30 left")
    assert progress.counted(100, 100, "questions", started) == "100 of 100 questions"
    assert progress.duration(3723) == "1:02:03"


def test_the_training_tells_its_steps_loss_and_time_left(tmp_path: Path) -> None:
    assert training_status(tmp_path) == "starting XTuner"
    log = tmp_path / "20261123_001500" / "20261123_001500.log"
    log.parent.mkdir()
    line = (
        "11/23 00:18:00 - mmengine - INFO - Iter(train) [{}/320]  lr: 2.4e-05  eta: 1 day, 0:00:16"
        "  time: 0.5803  data_time: 0.0040  loss: {}  grad_norm: 0.1575\n"
    )
    log.write_text(line.format(" 10", "2.5") + line.format("300", "0.2806"))
    assert training_status(tmp_path, 16) == (
        "step 19 of 20, loss 0.2806, about 1 day, 0:00:16 left"
    )
