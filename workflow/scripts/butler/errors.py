"""How a script of Recipe Butler fails: one clear sentence and a non-zero exit."""

import sys
from collections.abc import Callable


class ButlerError(Exception):
    """Something the user can mend; the message is one sentence that says what and how."""


def run_cli(main: Callable[[], None]) -> None:
    """Run a command line; print a ButlerError as one `error:` line and exit with 1."""
    try:
        main()
    except ButlerError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        name = f" ({error.filename})" if error.filename else ""
        print(f"error: {error.strerror or error}{name}", file=sys.stderr)
        sys.exit(1)
