"""JSON that others wrote, or that may have been cut or edited, as an object or as one sentence."""

import json
from pathlib import Path
from typing import Any

from butler.errors import ButlerError


def read_object(path: Path, shown: str | None = None) -> dict[str, Any]:
    """Return the JSON object in a file.

    `shown` is what the user calls the file, if that is another path.

    Raises:
        ButlerError: if the file holds none, naming it.
    """
    mend = "fetch it again, or make it again if it is one of a run"
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ButlerError(f"{shown or path} is no JSON ({error}); {mend}") from None
    if not isinstance(value, dict):
        raise ButlerError(f"{shown or path} is no JSON object; {mend}")
    return value
