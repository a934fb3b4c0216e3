"""Counts of a command line: one sentence of argparse for what is none."""

import re
import subprocess
import sys
from argparse import ArgumentTypeError

import pytest

from butler.arguments import MAX_THREADS, positive, thread_count
from workflow_state import ROOT

SCRIPTS = ROOT / "workflow" / "scripts"


@pytest.mark.parametrize("text", ["0", "-1", "", "x", "1.5", "²", "9" * 5000])
def test_what_is_no_count_is_refused(text: str) -> None:
    for kind in (positive, thread_count):
        with pytest.raises(ArgumentTypeError, match="takes a whole number of 1 or more"):
            kind(text)


def test_threads_have_a_most() -> None:
    assert thread_count(str(MAX_THREADS)) == positive("1024") == MAX_THREADS
    with pytest.raises(ArgumentTypeError, match="takes at most 1024, found 1025"):
        thread_count("1025")


def test_every_script_takes_threads_as_such() -> None:
    taken = [
        (path.name, kind)
        for folder in (SCRIPTS, ROOT / "benchmarks")
        for path in folder.rglob("*.py")
        for kind in re.findall(r'add(?:_argument)?\(\s*"--threads",\s*type=(\w+)', path.read_text())
    ]
    assert len(taken) > 20
    assert {kind for _, kind in taken} == {"thread_count"}, taken


@pytest.mark.parametrize("words", [["chat.py", "w"], ["quantise_fp8.py", "--model", "m"]])
def test_a_script_that_is_given_no_threads_says_so(words: list[str]) -> None:
    pytest.importorskip("torch")
    script, *rest = words
    command = [sys.executable, SCRIPTS / script, *rest, "--threads", "-1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "argument --threads: takes a whole number of 1 or more" in done.stderr
