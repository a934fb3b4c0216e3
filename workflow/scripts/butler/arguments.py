"""Types of command-line arguments: argparse says one sentence of a value that is none of them."""

from argparse import ArgumentTypeError

MAX_THREADS = 1024  # more than any machine here serves well


def positive(text: str) -> int:
    """Read a count of at least 1.

    Raises:
        ArgumentTypeError: if it is none.
    """
    # More digits than that are no count of anything, and int() refuses thousands of them.
    if not text.isascii() or not text.isdigit() or len(text) > 18 or int(text) < 1:
        raise ArgumentTypeError(f"takes a whole number of 1 or more, found {text[:80]!r}")
    return int(text)


def thread_count(text: str) -> int:
    """Read a number of threads.

    Raises:
        ArgumentTypeError: if it is none, or more than MAX_THREADS.
    """
    count = positive(text)
    if count > MAX_THREADS:
        raise ArgumentTypeError(f"takes at most {MAX_THREADS}, found {count}")
    return count
