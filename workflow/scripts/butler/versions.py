"""Versions as they are written, and as numbers that compare."""

import re


def numbers(version: str) -> tuple[int, ...]:
    """Return a version's release numbers: of 0.18.0rc1+cu128 they are 0, 18 and 0.

    They are none where it does not begin with a number: it then comes before every other.
    """
    found = re.match(r"\d+(?:\.\d+)*", version.strip())
    return tuple(map(int, found[0].split("."))) if found else ()


def dotted(version: tuple[int, ...]) -> str:
    """Return a version's numbers as they are written."""
    return ".".join(map(str, version))
