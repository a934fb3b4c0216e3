"""Lengths counted in bins, few enough to be drawn and narrow enough to show something."""

import numpy as np

BINS = 40  # at most
WIDTHS = (10, 20, 50, 100, 200, 500, 1000)


def histogram(lengths: np.ndarray | list[int]) -> dict[str, int]:
    """Return how many there are of each length; the key is the shortest length of its bin."""
    found = np.asarray(lengths, dtype=np.int64)
    if not len(found):
        return {}
    longest = int(found.max())
    width = next((one for one in WIDTHS if longest / one <= BINS), longest // BINS + 1)
    starts, counts = np.unique(found // width * width, return_counts=True)
    return dict(zip(map(str, starts.tolist()), counts.tolist(), strict=True))
