"""How near a recipe answer is to the recipe: ingredients, wording, form. All scores are 0 to 100.

Imported by OpenCompass (in its environment) and by the tests, so nothing here needs either.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

from butler.benchmarks.recipe.answer import ingredient_amounts, parse_answer
from butler.benchmarks.recipe.steps import step_scores

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
REPEATED_WORDS = 4  # words in a sequence that `repetition` counts


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


def repetition(text: str) -> float:
    """Share of the sequences of four words that stood in the text before, 0 to 100; less is better.

    100·(1 − different 4-grams / all 4-grams) over jieba's words, `seq-rep-4` of Welleck et al.
    (Neural Text Generation with Unlikelihood Training, 2020, eq. 10). A text of fewer than four
    words has none.
    """
    words = _JiebaTokenizer().tokenize(text)
    grams = list(zip(*(words[start:] for start in range(REPEATED_WORDS)), strict=False))
    return 100.0 * (1 - len(set(grams)) / len(grams)) if grams else 0.0


class _JiebaTokenizer:
    """Words as jieba cuts them (precise mode), white space dropped, punctuation kept."""

    def tokenize(self, text: str) -> list[str]:
        import jieba

        return [word for word in jieba.cut(text) if word.strip()]


@cache
def _rouge_scorer() -> Any:
    import logging

    import jieba
    from rouge_score.rouge_scorer import RougeScorer

    jieba.setLogLevel(logging.WARNING)
    return RougeScorer(["rouge1", "rouge2", "rougeL"], tokenizer=_JiebaTokenizer())


def rouge(prediction: str, reference: str) -> dict[str, float]:
    """ROUGE-1, ROUGE-2 and ROUGE-L F over the whole text cut into words by jieba, 0 to 100.

    Clipped n-gram overlap and longest common subsequence, F with equal weight (Lin, ROUGE: A
    Package for Automatic Evaluation of Summaries, 2004), as in the `rouge_score` package. The
    text is not cut at sentence ends: that makes unrelated answers with the same heading score 100.
    """
    scores = _rouge_scorer().score(reference, prediction)
    return {name: 100.0 * score.fmeasure for name, score in scores.items()}


def bleu_zh(predictions: Sequence[str], references: Sequence[str]) -> float:
    """Corpus BLEU-4 of all answers together, sacrebleu's `zh` tokenizer (one Han character is one
    token), exponential smoothing, 0 to 100 (Papineni et al. 2002; Post 2018)."""
    from sacrebleu.metrics import BLEU

    return float(BLEU(tokenize="zh").corpus_score(list(predictions), [list(references)]).score)


def score_recipes(
    predictions: Sequence[str], references: Sequence[str]
) -> tuple[dict[str, float], list[dict[str, float]]]:
    """Score answers against references of equal number.

    Returns:
        The scores over all questions by the names in `METRICS` (0 to 100), and per question all
        but `bleu_zh`. Each score is the mean over the questions; BLEU is of the corpus as a whole.

    Raises:
        ValueError: if the numbers differ, there is none, or a reference lists no
            ingredients or no steps.
    """
    if len(predictions) != len(references) or not references:
        raise ValueError(f"{len(predictions)} predictions for {len(references)} references")
    questions = [
        ingredient_scores(prediction, reference)
        | step_scores(parse_answer(prediction).steps, parse_answer(reference).steps)
        | rouge(prediction, reference)
        | {
            "format_validity": 100.0 * parse_answer(prediction).valid,
            "repetition": repetition(prediction),
        }
        for prediction, reference in zip(predictions, references, strict=True)
    ]
    overall = {
        name: sum(question[name] for question in questions) / len(questions)
        for name in questions[0]
    }
    overall["bleu_zh"] = bleu_zh(predictions, references)
    return {name: overall[name] for name in METRICS}, questions
