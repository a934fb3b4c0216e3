"""Loops that look at every character, compiled by Numba.

They are compiled when first used, which takes seconds, and kept beside the sources for later runs.
What such a loop takes from its module is fixed then, and read again only when that file changes: a
constant of another file is therefore passed as an argument.
"""

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, compiled for the types that it is called with."""
    try:
        kept: Callable[..., Any] = njit(cache=True)(function)
    except RuntimeError:  # no folder is found that could keep it
        kept = njit(function)
    return kept
