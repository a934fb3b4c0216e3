"""How near a recipe answer is to the recipe: ingredients, wording, form. All scores are 0 to 100.

Imported by OpenCompass (in its environment) and by the tests, so nothing here needs either.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

from butler.answers import ingredient_names, parse_answer

MAIN_METRIC = "ingredient_f1"
METRICS = (
    "ingredient_f1",
    "ingredient_precision",
    "ingredient_recall",
    "rouge1",
    "rouge2",
    "rougeL",
    "bleu_zh",
    "format_validity",
)


def ingredient_scores(prediction: str, reference: str) -> dict[str, float]:
    """Precision, recall and F1 of the ingredient names of one answer, 0 to 100.

    With P and R the sets of names in prediction and reference: precision |P∩R|/|P|,
    recall |P∩R|/|R|, F1 2|P∩R|/(|P|+|R|) (van Rijsbergen, Information Retrieval, 1979, ch. 7,
    there E = 1 − F1). Names match exactly; quantities do not count. An empty P scores 0.

    Raises:
        ValueError: if the reference has no ingredients.
    """
    found = ingredient_names(parse_answer(prediction).ingredients)
    wanted = ingredient_names(parse_answer(reference).ingredients)
    if not wanted:
        raise ValueError(f"the reference answer lists no ingredients: {reference[:60]!r}")
    hits = len(found & wanted)
    return {
        "ingredient_f1": 100.0 * 2 * hits / (len(found) + len(wanted)),
        "ingredient_precision": 100.0 * hits / len(found) if found else 0.0,
        "ingredient_recall": 100.0 * hits / len(wanted),
    }


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
        ValueError: if the numbers differ, there is none, or a reference lists no ingredients.
    """
    if len(predictions) != len(references) or not references:
        raise ValueError(f"{len(predictions)} predictions for {len(references)} references")
    questions = [
        ingredient_scores(prediction, reference)
        | rouge(prediction, reference)
        | {"format_validity": 100.0 * parse_answer(prediction).valid}
        for prediction, reference in zip(predictions, references, strict=True)
    ]
    overall = {
        name: sum(question[name] for question in questions) / len(questions)
        for name in questions[0]
    }
    overall["bleu_zh"] = bleu_zh(predictions, references)
    return {name: overall[name] for name in METRICS}, questions
