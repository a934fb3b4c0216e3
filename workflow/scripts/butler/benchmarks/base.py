"""What every kind of benchmark has: settings of its own, and a place in the list of kinds.

A kind is a subclass of Benchmark in a module or package of this folder; registry.py finds it there
by its `kind`, so that a new one is one new file.
"""

from typing import Annotated, ClassVar

from pydantic import Field

from butler.settings.section import Positive, Section, Text

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,39}$"


class BenchmarkSettings(Section):
    """One entry of `benchmarks` in the configuration."""

    name: Annotated[str, Field(pattern=NAME)]
    """what its results are called: results/NAME_VARIANT.csv"""
    kind: str
    label: Text | None = None
    """how the report calls it; null: by its name"""
    max_new_tokens: Positive | None = None
    """tokens of an answer"""


class Benchmark:
    """A kind of benchmark; `Settings` are those of its entries in the configuration."""

    kind: ClassVar[str]
    Settings: ClassVar[type[BenchmarkSettings]]
