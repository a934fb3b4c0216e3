"""The corpus stage's processes: none is waited for that is gone, none outlives the stage."""

import csv
import gc
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from butler.corpus import processes as run
from butler.corpus import worker
from butler.corpus.pieces import put_pieces
from butler.errors import ButlerError
from corpus_settings import SCRIPT, stage_options
from test_corpus import distinct, raw_lines
from test_corpus_input import GOOD, PAIR, build, reasons


def killed(*_: object) -> None:
    """What a process does that the system kills."""
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("task", [(worker, "work"), (run, "drawn_numbers"), (run, "_copy")])
def test_a_killed_process_is_told_in_one_sentence_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: tuple[Any, str]
) -> None:
    path = tmp_path / "raw.jsonl"
    path.write_bytes(GOOD)
    monkeypatch.setattr(run, "_WORTH_SHARING", 0)
    monkeypatch.setattr(*task, killed)
    with pytest.raises(ButlerError, match="a process of the corpus stage was killed"):
        build(path, tmp_path / "out", test_size=1, sample=5, processes=2)
    assert not (tmp_path / "out").exists()


BUSY = """
import os, signal, sys, time
sys.path.insert(0, {scripts!r})
from pathlib import Path
import corpus
from butler.corpus import read, worker
read.CHUNK_BYTES = 100
work = worker.work

def one_is_killed_while_the_other_works(chunk):
    if chunk.begin == 0:
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


def test_workers_look_for_no_garbage(tmp_path: Path) -> None:
    # There is none, and the search took a fifteenth of the stage's time.
    path = tmp_path / "raw.jsonl"
    path.write_bytes(GOOD)
    with patch.object(worker, "work", enabled), pytest.raises(ButlerError, match="^False$"):
        build(path, tmp_path / "out", processes=2)


def enabled(_: object) -> None:
    """Tell whether the collector of garbage is on in this process."""
    raise ButlerError(str(gc.isenabled()))


@pytest.mark.parametrize("block", [1, 600])
def test_samples_are_the_same_in_blocks_of_any_size(tmp_path: Path, block: int) -> None:
    path = tmp_path / "raw.jsonl"
    path.write_bytes(raw_lines([distinct(number) for number in range(400)]))
    _, whole = build(path, tmp_path / "whole")
    with patch.object(run, "_BLOCK", block):
        _, outputs = build(path, tmp_path / "blocks")
    samples = whole.train.read_bytes()
    assert outputs.train.read_bytes() == samples and len(samples) > 2 * 600 * worker.SHARES


def test_a_bad_row_is_rejected_by_any_number_of_processes(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("question", "answer"), PAIR, ("没有回答",)])
    for count in (1, 2):
        out = tmp_path / str(count)
        _, outputs = build(path, out, format="qa_table", processes=count)
        assert reasons(outputs) == [("pairs.csv", 3, "wrong_type")]


@pytest.mark.parametrize(("begin", "at"), [(3, 0), (0, 4), (-1, 0), (0, -1)])
def test_nothing_is_copied_from_outside_of_a_spool_that_was_cut(begin: int, at: int) -> None:
    source, start, target = (np.zeros(size, np.uint8) for size in (5, 1, 7))
    begins, sizes, places = (np.array([number]) for number in (begin, 3, at))
    with pytest.raises(IndexError, match="outside"):
        put_pieces(source, begins, sizes, start, places, target)
