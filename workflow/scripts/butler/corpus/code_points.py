"""Something known of each code point, found when its character is first met."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


class CodePoints:
    """A number for each code point; `known` holds them, [0x110000], `unseen` where it is not met.

    `find` gives the number of a code point and never `unseen`.
    """

    def __init__(self, dtype: type[np.generic], unseen: int, find: Callable[[int], int]) -> None:
        self.known: Array = np.full(0x110000, unseen, dtype)
        self._unseen, self._find = unseen, find

    def meet(self, codes: Iterable[int]) -> None:
        """Find the numbers of these code points."""
        for code in codes:
            self.known[code] = self._find(code)

    def meet_all(self, codes: Array) -> None:
        """Find the numbers of all of these code points that are not met yet."""
        found = self.known.take(codes)
        self.meet(np.flatnonzero(np.bincount(codes[found == self._unseen])).tolist())
