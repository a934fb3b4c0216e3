"""The recipe benchmark: an answer taken apart and scored against the held-out recipe."""

from typing import Literal

from butler.benchmarks.base import Benchmark, BenchmarkSettings
from butler.settings.section import Positive


class RecipeSettings(BenchmarkSettings):
    """Dishes of the held-out recipes."""

    kind: Literal["recipe"]
    questions: Positive | None = None
    """of the held-out recipes; null asks all"""
    max_new_tokens: Positive = 320


class Recipe(Benchmark):
    """`recipe`."""

    kind = "recipe"
    Settings = RecipeSettings
