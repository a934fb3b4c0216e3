"""Processes that we start: they end when we do, and they are never left behind."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
PATIENCE_S = 10.0  # between SIGTERM and SIGKILL


def dies_with_us() -> Callable[[], None] | None:
    """Return what a new process calls first (`preexec_fn`) to get SIGTERM whenever we end.

    A process group of its own is not reached by what kills ours, and SIGKILL leaves us no time to
    end it. To be called in the thread that starts the process; None where there is no Linux.
    """
    if sys.platform != "linux":
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def ask() -> None:
        if prctl(_PR_SET_PDEATHSIG, signal.SIGTERM) or os.getppid() != parent:
            os._exit(1)

    return ask


@contextmanager
def running_process(
    command: Sequence[str | os.PathLike[str]],
    log: Path,
    environment: dict[str, str],
    cwd: Path | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command` in a process group of its own, output to `log`; leave none of the group."""
    process = None
    try:
        with log.open("ab") as stream, _signals_wait():
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=cwd,
                start_new_session=True,
                preexec_fn=dies_with_us(),
            )
        yield process
    finally:
        if process is not None:
            stop(process, group=True)


@contextmanager
def _signals_wait() -> Iterator[None]:
    """Let the handlers of SIGTERM and SIGINT run after the block, in which a process is started.

    What a handler raises while Python forks is dropped (logging has a part in each fork), and what
    it raises before the process has a name leaves that behind.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # handlers run in the main thread
        return
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    # What is ignored or has no handler stays so: the process would inherit a change.
    ours = {number: handler for number, handler in before.items() if callable(handler)}
    for number in ours:
        signal.signal(number, lambda caught, _: came.append(caught))
    try:
        yield
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)
    for number in came:
        signal.raise_signal(number)


def stop(process: subprocess.Popen[Any], patience: float = PATIENCE_S, group: bool = False) -> None:
    """End a process: SIGTERM, and SIGKILL after `patience` seconds; then its exit code is there.

    Args:
        process: one that runs or has ended.
        group: it was started in a session of its own, and all that is left of its process group
            ends with it, also where the process itself has ended before.
    """
    for number in (signal.SIGTERM, signal.SIGKILL):
        # A process that has been waited for, or a group that is empty, is not there.
        with suppress(ProcessLookupError):
            if group:
                os.killpg(process.pid, number)
            else:
                process.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)
    process.wait()


def last_lines(log: Path) -> str:
    """Return the last three lines of a log as one line, for an error message."""
    if not log.exists():
        return "(no log)"
    lines = log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n").splitlines()
    # Progress bars redraw one line over and over; they say nothing about the end.
    said = [line.strip() for line in lines if line.strip() and "%|" not in line]
    return " | ".join(said[-3:])[-800:] or "(empty)"
