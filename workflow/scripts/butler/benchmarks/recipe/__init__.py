"""The recipe benchmark: an answer taken apart and scored against the held-out recipe."""

from collections.abc import Sequence
from typing import Any, Literal

from butler.benchmarks.recipe.answer import ingredient_amounts, parse_answer
from butler.benchmarks.recipe.metrics import METRICS, recipe_scores
from butler.benchmarks.reference_answers import ReferenceBenchmark, ReferenceSettings
from butler.benchmarks.text_metrics import corpus_bleu
from butler.corpus.rules.dish import dish_key
from butler.corpus.rules.text import letters
from butler.settings.section import Positive


class RecipeSettings(ReferenceSettings):
    """Held-out recipes, scored by ingredients and steps."""

    kind: Literal["recipe"]
    max_new_tokens: Positive = 320
    """tokens of an answer"""


class RecipeBenchmark(ReferenceBenchmark):
    """`recipe`."""

    kind = "recipe"
    Settings = RecipeSettings
    metrics = METRICS

    @classmethod
    def score_answer(cls, settings: Any, prediction: str, reference: str) -> dict[str, float]:
        """Return the metrics of one recipe (butler/benchmarks/recipe/metrics.py)."""
        return recipe_scores(prediction, reference)

    @classmethod
    def score_all(
        cls, settings: Any, predictions: Sequence[str], references: Sequence[str]
    ) -> dict[str, float]:
        """Return the BLEU of all answers together: Chinese, so a Han character is a token."""
        return {"bleu_zh": corpus_bleu(predictions, references)}

    @classmethod
    def cluster(cls, question: str) -> str:
        """Return the dish, as the corpus tells dishes apart."""
        return dish_key(question) if letters(question) else ""

    @classmethod
    def check_reference(cls, settings: Any, reference: str) -> str | None:
        """A recipe lists ingredients and steps."""
        recipe = parse_answer(reference)
        named = ingredient_amounts(recipe.ingredients)
        missing = "ingredients" if not named else "" if recipe.steps else "steps"
        return f"the reference answer lists no {missing}" if missing else None
