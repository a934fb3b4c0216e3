"""Questions with reference answers, in any language; scored by how near an answer comes to them."""

import re
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import field_validator, model_validator

from butler.benchmarks import text_metrics
from butler.benchmarks.reference_answers import ReferenceBenchmark, ReferenceSettings
from butler.settings.section import Text


class QuestionAnswerSettings(ReferenceSettings):
    """Questions of a file, or the held-out part of the corpus."""

    kind: Literal["qa"]
    metric: Literal["rougeL", "rouge1", "rouge2", "bleu", "chrf", "exact_match", "format"] = (
        "rougeL"
    )
    """what the decision goes by"""
    pattern: Text | None = None
    """regular expression that an answer of the asked form matches as a whole"""

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"pattern {pattern!r} is no regular expression: {error}") from None
        return pattern

    @model_validator(mode="after")
    def _form(self) -> "QuestionAnswerSettings":
        if self.metric == "format" and self.pattern is None:
            raise ValueError(
                f"benchmark {self.name}: metric format needs pattern, which an answer is to match"
            )
        return self


class QuestionAnswer(ReferenceBenchmark):
    """`qa`."""

    kind = "qa"
    Settings = QuestionAnswerSettings
    metrics = (
        "rougeL",
        "rouge1",
        "rouge2",
        "bleu",
        "corpus_bleu",
        "chrf",
        "exact_match",
        "format",
        "repetition",
    )

    @classmethod
    def main_metric(cls, settings: QuestionAnswerSettings) -> str:
        """Return the metric that the user chose."""
        return settings.metric

    @classmethod
    def score_answer(
        cls, settings: QuestionAnswerSettings, prediction: str, reference: str
    ) -> dict[str, float]:
        """Return the metrics of one answer; `format` only where the settings have a pattern."""
        scores = text_metrics.rouge(prediction, reference) | {
            "bleu": text_metrics.sentence_bleu(prediction, reference),
            "chrf": text_metrics.chrf(prediction, reference),
            "exact_match": text_metrics.exact_match(prediction, reference),
            "repetition": text_metrics.repetition(prediction, text_metrics.has_han(prediction)),
        }
        if settings.pattern is not None:
            fits = re.fullmatch(settings.pattern, prediction.strip())
            scores["format"] = 100.0 * (fits is not None)
        return scores

    @classmethod
    def score_all(
        cls, settings: Any, predictions: Sequence[str], references: Sequence[str]
    ) -> dict[str, float]:
        """Return the BLEU of all answers together."""
        return {"corpus_bleu": text_metrics.corpus_bleu(predictions, references)}
