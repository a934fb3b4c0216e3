"""Reading what is typed: lines with history and an editor in a terminal, plain ones elsewhere."""

import io
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

PROMPT = "> "
KEYS = "Alt-Enter begins a new line, the arrow keys bring back what was typed, Ctrl-C drops a line."


def in_terminal() -> bool:
    """Say whether somebody types and sees what is printed."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def line_reader() -> Callable[[], str]:
    """Return what reads the next message; it raises EOFError at the end of the input.

    A message may hold bytes that are no UTF-8, as surrogates. In a terminal it may have several
    lines: typed with Alt-Enter or pasted.
    """
    if not in_terminal():
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(errors="surrogateescape")  # a bad line must not end the chat
        return lambda: input(PROMPT)
    from prompt_toolkit import PromptSession
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

    keys = KeyBindings()

    @keys.add("enter")
    def _send(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def _new_line(event: KeyPressEvent) -> None:
        event.current_buffer.newline(copy_margin=False)

    session: PromptSession[str] = PromptSession(PROMPT, multiline=True, key_bindings=keys)

    def read() -> str:
        while True:
            try:
                return session.prompt()
            except KeyboardInterrupt:
                continue  # what was typed is dropped

    return read


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Yield what says whether Ctrl-C was pressed in the block; pressed again, it is raised."""
    pressed = False

    def press(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True

    before = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)
