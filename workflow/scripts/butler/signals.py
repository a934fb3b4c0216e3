"""Signals that must not stop the program for ever."""

import signal
import threading
from types import FrameType


def handle_in_thread(number: signal.Signals) -> None:
    """Let the signal's handler run in a thread of its own.

    Python runs handlers in the main thread. Snakemake 9.27's for SIGTERM takes a lock which that
    thread holds while it takes in a finished job, and would wait for itself.
    """
    handler = signal.getsignal(number)
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        return

    def start(*given: int | FrameType | None) -> None:
        threading.Thread(target=handler, args=given, daemon=True).start()

    signal.signal(number, start)
