"""How near a recipe answer is to the recipe: ingredients, wording, form. All scores are 0 to 100.

Imported by OpenCompass (in its environment) and by the tests, so nothing here needs either.
"""

from typing import Any

from butler.benchmarks.recipe.answer import ingredient_amounts, parse_answer
from butler.benchmarks.recipe.steps import step_scores
from butler.benchmarks.text_metrics import repetition, rouge

METRICS = (
    "ingredient_f1",
    "ingredient_precision",
    "ingredient_recall",
    "quantity_f1",
    "quantity_precision",
    "quantity_recall",
    "step_coverage",
    "step_order",
    "rouge1",
    "rouge2",
    "rougeL",
    "bleu_zh",
    "format_validity",
    "repetition",
)


def ingredient_scores(prediction: str, reference: str) -> dict[str, float]:
    """Precision, recall and F1 of the ingredients of one answer, by name and with amount, 0 to 100.

    With P and R the sets in prediction and reference: precision |P∩R|/|P|, recall |P∩R|/|R|,
    F1 2|P∩R|/(|P|+|R|) (van Rijsbergen, Information Retrieval, 1979, ch. 7, there E = 1 − F1).
    For `ingredient_*` the sets hold names, which match exactly; for `quantity_*` they hold pairs
    of name and amount (see `ingredient_amounts`). An empty P scores 0.

    Raises:
        ValueError: if the reference has no ingredients.
    """
    found = ingredient_amounts(parse_answer(prediction).ingredients)
    wanted = ingredient_amounts(parse_answer(reference).ingredients)
    if not wanted:
        raise ValueError(f"the reference answer lists no ingredients: {reference[:60]!r}")
    return _overlap("ingredient", set(found), set(wanted)) | _overlap(
        "quantity", set(found.items()), set(wanted.items())
    )


def _overlap(name: str, found: set[Any], wanted: set[Any]) -> dict[str, float]:
    hits = len(found & wanted)
    return {
        f"{name}_f1": 100.0 * 2 * hits / (len(found) + len(wanted)),
        f"{name}_precision": 100.0 * hits / len(found) if found else 0.0,
        f"{name}_recall": 100.0 * hits / len(wanted),
    }


def recipe_scores(prediction: str, reference: str) -> dict[str, float]:
    """Return all metrics of one answer by the names in `METRICS`; `bleu_zh` is of all answers.

    Raises:
        ValueError: if the reference lists no ingredients or no steps.
    """
    found, wanted = parse_answer(prediction), parse_answer(reference)
    return (
        ingredient_scores(prediction, reference)
        | step_scores(found.steps, wanted.steps)
        | rouge(prediction, reference)
        | {"format_validity": 100.0 * found.valid, "repetition": repetition(prediction)}
    )
