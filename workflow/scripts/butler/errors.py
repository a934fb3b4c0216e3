"""How a script of Recipe Butler fails: one clear sentence and a non-zero exit."""

import io
import re
import sys
from collections.abc import Callable

NO_SPACE = "No space left on device"
# What the system, NumPy (tofile), torch (save) and safetensors say when the disk is full.
FULL_DISK = (
    rf"{NO_SPACE}|Disk quota exceeded|\d+ requested and \d+ written"
    r"|inline_container\.cc:\d+\] \. unexpected pos|PytorchStreamWriter failed writing"
    r"|basic_ios::clear: iostream error"
)


class ButlerError(Exception):
    """Something the user can mend; the message is one sentence that says what and how."""


def run_cli(main: Callable[[], None]) -> None:
    """Run a command line; print a ButlerError as one `error:` line and exit with 1.

    A terminal that cannot show a character gets its number instead.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        main()
    except ButlerError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        if re.search(FULL_DISK, str(error)):
            said = f"{NO_SPACE}{_file_of(error)}; free some and start again"
        elif isinstance(error, OSError):
            said = f"{error.strerror or error}{_file_of(error)}"
        else:
            raise
        print(f"error: {said}", file=sys.stderr)
        sys.exit(1)


def _file_of(error: Exception) -> str:
    """Return the file that an error names, the one that was written if it is of a copy."""
    path = getattr(error, "filename2", None) or getattr(error, "filename", None)
    return f" ({path})" if path else ""
