"""The corpus stage's processes: none is waited for that is gone, none outlives the stage."""

import csv
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from butler.corpus import worker
from butler.errors import ButlerError
from corpus_settings import SCRIPT, stage_options
from test_corpus_formats import PAIR
from test_corpus_input import GOOD, build, reasons


def killed(*_: object) -> None:
    """What a process does that the system kills."""
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_process_is_told_in_one_sentence_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "raw.jsonl"
    path.write_bytes(GOOD)
    monkeypatch.setattr(worker, "work", killed)
    with pytest.raises(ButlerError, match="a process of the corpus stage was killed"):
        build(path, tmp_path / "out", test_size=1, sample=5, processes=2)
    assert not (tmp_path / "out").exists()


BUSY = """
import os, signal, sys, time
sys.path.insert(0, {scripts!r})
from pathlib import Path
import corpus
from butler.corpus import reading, worker
reading.BLOCK_BYTES = 100
work = worker.work

def one_is_killed_while_the_other_works(block):
    if block.first == 1:
        os.kill(os.getpid(), signal.{end})
    Path({mark!r}).touch()
    time.sleep(60)

worker.work = one_is_killed_while_the_other_works
corpus.run_cli(lambda: corpus.main({arguments!r}))
"""


def arguments(tmp_path: Path) -> list[str]:
    """What the script is given to work with two processes."""
    (tmp_path / "raw.jsonl").write_bytes(GOOD)
    return stage_options(tmp_path / "raw.jsonl", tmp_path / "out", "--processes", "2")


def busy(tmp_path: Path, end: str) -> subprocess.Popen[str]:
    """The script with two processes, of which one gets a signal and the other works on."""
    code = BUSY.format(
        scripts=str(SCRIPT.parent),
        mark=str(tmp_path / "working"),
        arguments=arguments(tmp_path),
        end=end,
    )
    command = [sys.executable, "-c", code]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def test_a_killed_process_is_told_while_another_is_at_work(tmp_path: Path) -> None:
    process = busy(tmp_path, "SIGKILL")
    try:
        _, said = process.communicate(timeout=20)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert said.startswith("error: a process of the corpus stage was killed")
    assert said.count("\n") == 1 and process.returncode == 1
    assert not (tmp_path / "out").exists()


def test_a_process_that_is_ended_as_it_begins_is_not_waited_for(tmp_path: Path) -> None:
    # The handler that a new process inherits raises where no exception gets out.
    code = f"""
import os, signal, sys
sys.path.insert(0, {str(SCRIPT.parent)!r})
import corpus
os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGTERM))
corpus.run_cli(lambda: corpus.main({arguments(tmp_path)!r}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr.startswith("error: a process of the corpus stage was killed"), done
    assert done.stderr.count("\n") == 1 and done.returncode == 1


def test_processes_end_with_a_stage_that_is_killed(tmp_path: Path) -> None:
    process = busy(tmp_path, "SIGCHLD")  # which nobody minds
    try:
        end = time.monotonic() + 20
        while not (tmp_path / "working").exists():
            assert time.monotonic() < end, process.stderr
            time.sleep(0.05)
        process.kill()
        # The pipes close when the last process that has them is gone.
        process.communicate(timeout=20)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_a_bad_row_is_rejected_by_any_number_of_processes(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("question", "answer"), PAIR, ("没有回答",)])
    for count in (1, 2):
        out = tmp_path / str(count)
        _, outputs = build(path, out, format="qa_table", processes=count)
        assert reasons(outputs) == [("pairs.csv", 3, "wrong_type")]
