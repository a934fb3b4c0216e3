"""Questions with reference answers, in any language; scored by how near an answer comes to them."""

from typing import Literal

from butler.benchmarks.base import Benchmark, BenchmarkSettings
from butler.settings.section import Positive, Text


class QuestionAnswerSettings(BenchmarkSettings):
    """Questions of a file, or the held-out part of the corpus."""

    kind: Literal["qa"]
    path: Text | None = None
    """JSON lines or CSV of questions and answers; null: the held-out part of the corpus"""
    questions: Positive | None = None
    """the first so many; null asks all"""
    metric: Literal["rougeL", "rouge1", "rouge2", "bleu", "chrf", "exact_match", "format"] = (
        "rougeL"
    )
    """what the decision goes by"""
    pattern: Text | None = None
    """regular expression that an answer of the asked form matches as a whole"""
    max_new_tokens: Positive = 256


class QuestionAnswer(Benchmark):
    """`qa`."""

    kind = "qa"
    Settings = QuestionAnswerSettings
