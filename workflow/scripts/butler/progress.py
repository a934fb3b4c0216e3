"""How far a long stage is: a line now and then, in its log and in the terminal.

The rules send a stage's output to its log; Snakemake's own stderr stays open beside it
(TERMINAL, set in workflow/rules/common.smk), so that the same lines reach whoever watches.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

TERMINAL = "RECIPE_BUTLER_TERMINAL"
FIRST_S = 10.0  # between two lines at first
LAST_S = 60.0  # and of a stage that takes long
# Taken out, since a process started from here would have another file under this number.
_TERMINAL_FD = os.environ.pop(TERMINAL, "")


def say(stage: str, text: str) -> None:
    """Write one line about `stage` to the log and, where there is one, to the terminal."""
    line = f"[{stage}] {text}\n"
    sys.stderr.write(line)
    sys.stderr.flush()
    if _TERMINAL_FD.isdigit():
        # A terminal that was closed is no reason for a stage to fail.
        with suppress(OSError):
            os.write(int(_TERMINAL_FD), line.encode())


def duration(seconds: float) -> str:
    """Return seconds as `0:05` or `1:02:03`."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def counted(done: int, total: int, unit: str, started: float) -> str:
    """Return how far a count is and how long the rest takes at the rate so far.

    Args:
        done: how many of `total` are done.
        unit: what is counted, in the plural.
        started: time.monotonic() when the count began.
    """
    text = f"{done:,} of {total:,} {unit}"
    if not done or done >= total:
        return text
    left = (time.monotonic() - started) * (total - done) / done
    return f"{text}, about {duration(left)} left"


@contextmanager
def progress(stage: str, status: Callable[[], str], first: float = FIRST_S) -> Iterator[None]:
    """Say how far a stage is while the block runs.

    Args:
        stage: begins each line.
        status: returns the line; called in a thread of its own; "" says nothing.
        first: seconds to the first line, and at least between two.
    """
    over, started = threading.Event(), time.monotonic()

    def run() -> None:
        while not over.wait(min(max(first, (time.monotonic() - started) / 20), LAST_S)):
            if text := status():
                say(stage, f"{text} ({duration(time.monotonic() - started)} so far)")

    thread = threading.Thread(target=run, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
