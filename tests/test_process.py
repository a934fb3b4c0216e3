"""Processes that we started do not stay behind."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from butler.process import stop
from workflow_state import ROOT

SCRIPTS = ROOT / "workflow" / "scripts"

DEAF = "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
READY = "print('ready', flush=True); time.sleep(60)"


def started(code: str, **options: object) -> subprocess.Popen[str]:
    """Start Python code and wait for its first line."""
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)
    assert process.stdout.readline()
    return process


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("group", [False, True])
def test_a_process_that_does_not_listen_is_killed(group):
    process = started(DEAF + READY, start_new_session=group)
    start = time.monotonic()
    stop(process, patience=0.5, group=group)
    assert process.returncode == -9
    assert 0.5 <= time.monotonic() - start < 10


@pytest.mark.parametrize("group", [False, True])
def test_a_process_that_listens_ends_at_once(group):
    process = started("import time; " + READY, start_new_session=group)
    start = time.monotonic()
    stop(process, group=group)
    assert process.returncode == -15 and time.monotonic() - start < 5


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_what_a_process_left_of_its_group_ends_too():
    child = f"{DEAF}{READY}"
    code = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {child!r}], "
    code += "stdout=subprocess.PIPE); p.stdout.readline(); print(p.pid, flush=True)"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    pid = int(process.stdout.readline())
    assert process.wait(20) == 0 and runs(pid)
    stop(process, patience=0.5, group=True)
    end = time.monotonic() + 10
    while runs(pid) and time.monotonic() < end:
        time.sleep(0.02)
    assert not runs(pid)


def test_a_process_that_has_ended_keeps_its_code():
    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    process.wait()
    stop(process)
    assert process.returncode == 3


# SIGTERM reaches us while Python forks, where what a handler raises is dropped.
TERMINATED_IN_A_FORK = """
import os, signal, sys
from pathlib import Path
from butler.process import running_process

signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
os.register_at_fork(after_in_parent=lambda: signal.raise_signal(signal.SIGTERM))
with running_process(["sleep", "60"], Path(os.devnull), dict(os.environ)) as process:
    print("not told", flush=True)
    process.wait()
"""


def test_a_signal_while_a_process_is_started_ends_us_and_it():
    command = [sys.executable, "-c", TERMINATED_IN_A_FORK]
    done = subprocess.run(command, cwd=SCRIPTS, capture_output=True, text=True, timeout=40)
    assert done.returncode == 128 + signal.SIGTERM and done.stdout == "", done.stderr
