"""The web page on a model-hosting platform such as OpenXLab, which runs `python app.py`.

Environment: MODEL_PATH, a workspace folder, or several with `:` between them (needed); PORT (7860);
HOST (0.0.0.0: the platform's own proxy stands before it); ENGINE auto, reference or lmdeploy;
FEEDBACK, a file that keeps what visitors think of answers (none: a platform's disk often goes).
"""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Beside or above this file, so that a platform may have it at the root of its copy.
SCRIPTS = next(
    folder / "workflow" / "scripts"
    for folder in (HERE, HERE.parent)
    if (folder / "workflow" / "scripts").is_dir()
)
sys.path.insert(0, str(SCRIPTS))

import web  # noqa: E402
from butler.errors import ButlerError, run_cli  # noqa: E402


def words() -> list[str]:
    """Return the command line of web.py that the environment asks for.

    Raises:
        ButlerError: if MODEL_PATH is missing.
    """
    folders = [path for path in os.environ.get("MODEL_PATH", "").split(os.pathsep) if path]
    if not folders:
        raise ButlerError("MODEL_PATH is not set; give it the path of a workspace, e.g. w4kv8")
    options = {"--host": "HOST", "--port": "PORT", "--engine": "ENGINE"}
    options["--feedback"] = "FEEDBACK"
    defaults = {"HOST": "0.0.0.0", "PORT": "7860", "ENGINE": "auto", "FEEDBACK": "none"}
    chosen = [(name, os.environ.get(key) or defaults[key]) for name, key in options.items()]
    return [*folders, *(word for pair in chosen for word in pair)]


if __name__ == "__main__":
    run_cli(lambda: web.main(words()))
