"""The report's section on the corpus, from the stage's stats.json."""

from collections.abc import Mapping
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

from butler.figures import PLAIN, STYLE, svg

_KINDS = {"duplicate": "the same text", "near_duplicate": "nearly the same text"}


def section(stats: Mapping[str, Any]) -> dict[str, Any]:
    """What the template shows: the funnel, lengths, duplicates, contamination and examples.

    `stats` is what corpus.py writes; the funnel's rows are (label, records, whether kept).
    """
    funnel = [(name, stats[name], True) for name in ("read", "kept", "train", "test")]
    funnel += [(f"rejected: {reason}", count, False) for reason, count in stats["reasons"].items()]
    return {
        "read": stats["read"],
        "funnel": funnel,
        "lengths": Markup(_lengths(stats["characters"])),
        "groups": [
            {"kind": _KINDS[kind], "sizes": sizes, "groups": sum(sizes.values())}
            for kind, sizes in stats["group_sizes"].items()
            if sizes
        ],
        "contamination": {
            kind: found
            for kind, found in stats.get("contamination", {}).items()
            if isinstance(found, Mapping) and found["records"]
        },
        "examples": stats["examples"],
        "damaged": stats["damaged"],
    }


def _lengths(counts: Mapping[str, int]) -> str:
    """Answers by their length in characters; a bin's key is its shortest length."""
    starts = [int(start) for start in counts]
    width = min((b - a for a, b in zip(starts, starts[1:], strict=False)), default=100)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.2, 2.2), layout="constrained")
        axis = figure.subplots()
        axis.bar(starts, list(counts.values()), width=width * 0.9, align="edge", color=PLAIN)
        axis.set_xlabel("characters of the answer")
        axis.set_ylabel("records")
        return svg(figure)
