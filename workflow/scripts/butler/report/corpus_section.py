"""The corpus section: the funnel from raw to kept, lengths, duplicates and rejected examples.

Reads build/corpus/stats.json; of its keys `read`, `kept`, `train`, `test` and `reasons` must be
there, everything else is shown where it is. The lengths in tokens are those of sample_lengths.py.
"""

from collections.abc import Mapping
from typing import Any

from butler.errors import ButlerError

NEEDED = ("read", "kept", "train", "test", "reasons")
HISTOGRAMS = ("characters", "tokens")


def funnel(stats: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the steps from read to kept: `step`, records `left` after it and records `gone`.

    Raises:
        ButlerError: if the statistics lack a count, or kept and rejected are not what was read.
    """
    missing = [name for name in NEEDED if name not in stats]
    if missing:
        raise ButlerError(f"the corpus's statistics lack {', '.join(missing)}; make it again")
    left = stats["read"]
    steps = [{"step": "read", "left": left, "gone": 0}]
    for reason, count in stats["reasons"].items():
        left -= count
        steps.append({"step": reason, "left": left, "gone": count})
    if left != stats["kept"]:
        raise ButlerError(
            f"the corpus's statistics say {stats['kept']} kept of {stats['read']}, their reasons "
            f"leave {left}; make the corpus again"
        )
    return [*steps, {"step": "kept", "left": left, "gone": 0}]


def histogram(stats: Mapping[str, Any], name: str) -> list[dict[str, int]]:
    """Return the bins of a histogram kept as {shortest length: answers}, gaps filled, or nothing.

    Bins are as wide as the smallest distance between two of them, 100 where there is one bin.
    """
    counts = {int(start): int(count) for start, count in stats.get(name, {}).items()}
    if not counts:
        return []
    starts = sorted(counts)
    distances = [after - before for before, after in zip(starts, starts[1:], strict=False)]
    width = min(distances, default=100)
    return [
        {"start": start, "end": start + width, "answers": counts.get(start, 0)}
        for start in range(starts[0], starts[-1] + 1, width)
    ]


def section(stats: Mapping[str, Any], lengths: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the template shows of the corpus, and of its samples' lengths in tokens."""
    measured = {**stats, "tokens": lengths.get("tokens", {})}
    return {
        "funnel": funnel(stats),
        "train": stats["train"],
        "test": stats["test"],
        "histograms": {name: bins for name in HISTOGRAMS if (bins := histogram(measured, name))},
        "lengths": lengths,
        "duplicates": stats.get("duplicates"),
        "near_duplicates": stats.get("near_duplicates"),
        "group_sizes": {k: v for k, v in stats.get("group_sizes", {}).items() if v},
        "contamination": {
            kind: found
            for kind, found in stats.get("contamination", {}).items()
            if isinstance(found, Mapping) and found["records"]
        },
        "examples": stats.get("examples", {}),
        "damaged": stats.get("damaged", {}),
    }
