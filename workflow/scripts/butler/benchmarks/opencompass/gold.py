"""What a question sheet and OpenCompass must agree in: the right answers, and the scores."""

import json
from typing import Any

CLOSE = 0.01  # points between the mean over the questions and OpenCompass' score of all
# OpenCompass leaves out of its predictions a right answer that Python takes for nothing.
NOTHING = ("", "0", "0.0", "false", "[]", "{}", "null")


def gold_text(value: Any) -> str:
    """Return a right answer as text: a text as it is, all else as JSON; None is no text."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
