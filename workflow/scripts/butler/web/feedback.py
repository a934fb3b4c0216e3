"""What visitors think of answers, in a file of JSON lines."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from butler.errors import ButlerError
from butler.web.conversation import answer_of, model_of


def check_writable(file: Path) -> None:
    """Check that feedback can be added to `file`, and make it.

    Raises:
        ButlerError: if it cannot.
    """
    try:
        file.open("a").close()
    except OSError as error:
        raise ButlerError(
            f"feedback cannot be kept in {file}: {error.strerror}; "
            "name another file with --feedback, or --feedback none"
        ) from error


def keep(file: Path, history: Sequence[dict[str, Any]], index: int, liked: bool | str) -> None:
    """Add a line: the conversation up to the answer at `index`, whose it is, and the verdict."""
    answer = history[index]
    said = [
        {"role": one["role"], "model": model_of(one), "content": answer_of(one)}
        if one["role"] == "assistant"
        else {"role": one["role"], "content": one["content"]}
        for one in history[: index + 1]
    ]
    line = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": model_of(answer),
        "liked": liked,
        "conversation": said,
    }
    with file.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line, ensure_ascii=False) + "\n")
