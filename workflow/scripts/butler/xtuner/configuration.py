"""XTuner's configuration: a Python file, rendered from our template, that XTuner executes."""

from pathlib import Path

from butler.errors import ButlerError

TEMPLATE = Path(__file__).resolve().parents[3] / "templates" / "xtuner_config.py.jinja"


def check_rendered(config: Path) -> None:
    """Check that XTuner is given a file of ours, whose code runs in its process.

    Raises:
        ButlerError: if it is missing or does not begin as our template does.
    """
    with TEMPLATE.open(encoding="utf-8") as stream:
        begins = stream.readline().encode()
    try:
        with config.open("rb") as stream:
            ours = stream.read(len(begins)) == begins
    except FileNotFoundError:
        ours = False
    if not ours:
        raise ButlerError(f"{config} was not made by render_training.py; run it first")
