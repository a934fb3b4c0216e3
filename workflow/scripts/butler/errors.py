"""How a script of Recipe Butler fails: one clear sentence and a non-zero exit."""

import re
import sys
from collections.abc import Callable

# What the system, NumPy (tofile), torch (save) and safetensors say when the disk is full.
FULL_DISK = (
    r"No space left on device|Disk quota exceeded|\d+ requested and \d+ written"
    r"|inline_container\.cc:\d+\] \. unexpected pos|PytorchStreamWriter failed writing"
)


class ButlerError(Exception):
    """Something the user can mend; the message is one sentence that says what and how."""


def run_cli(main: Callable[[], None]) -> None:
    """Run a command line; print a ButlerError as one `error:` line and exit with 1."""
    try:
        main()
    except ButlerError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        if re.search(FULL_DISK, str(error)):
            name = f" ({error.filename})" if isinstance(error, OSError) and error.filename else ""
            print(
                f"error: No space left on device{name}; free some and start again", file=sys.stderr
            )
            sys.exit(1)
        if not isinstance(error, OSError):
            raise
        name = f" ({error.filename})" if error.filename else ""
        print(f"error: {error.strerror or error}{name}", file=sys.stderr)
        sys.exit(1)
