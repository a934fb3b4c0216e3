"""How near a text is to another, in Chinese, English and what else has spaces; all 0 to 100.

A metric of two texts reads both in the script of the reference: words as jieba cuts them where it
has Han characters, else the words between spaces and punctuation, in small letters.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import Any

REPEATED_WORDS = 4  # words in a sequence that `repetition` counts
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_WORD = re.compile(r"\w+")
# What makes another number of a number stays: the point in 3.5, the sign of -2, the % of 5%, the
# stroke of 3/4, the comma of (1,2); not that of 1,000.
_OF_A_NUMBER = re.compile(
    r"(?<=\d)[/:*^](?=\d)|[.-](?=\d)|(?<=[\d\s])%|(?<=\d),(?=\d)(?!\d{3}(?!\d))"
)
_RAISED = {ord(one): f"^{digit}" for digit, one in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")}  # which NFKC folds


def has_han(text: str) -> bool:
    """Say whether a text has a Han character."""
    return _HAN.search(text) is not None


class WordCutter:
    """Cuts texts into words; `han` says that the reference is Chinese (see above).

    Of a Chinese text punctuation is kept, as jieba gives it, and white space dropped.
    """

    def __init__(self, han: bool) -> None:
        self.han = han

    def tokenize(self, text: str) -> list[str]:
        """Return the words; the name is what the rouge_score package calls."""
        if not self.han:
            return _WORD.findall(text.lower())
        import jieba

        return [word for word in jieba.cut(text) if word.strip()]


@cache
def _rouge_scorer(han: bool) -> Any:
    import logging

    import jieba
    from rouge_score.rouge_scorer import RougeScorer

    jieba.setLogLevel(logging.WARNING)
    return RougeScorer(["rouge1", "rouge2", "rougeL"], tokenizer=WordCutter(han))


def rouge(prediction: str, reference: str) -> dict[str, float]:
    """ROUGE-1, ROUGE-2 and ROUGE-L F over the words of the whole text, 0 to 100.

    Clipped n-gram overlap and longest common subsequence, F with equal weight (Lin, ROUGE: A
    Package for Automatic Evaluation of Summaries, 2004), as in the `rouge_score` package. The
    text is not cut at sentence ends: that makes unrelated answers with the same heading score 100.
    """
    scores = _rouge_scorer(has_han(reference)).score(reference, prediction)
    return {name: 100.0 * score.fmeasure for name, score in scores.items()}


@cache
def _bleu(han: bool, one: bool) -> Any:
    """`one`: for single answers, of which few have as many words as BLEU counts."""
    from sacrebleu.metrics import BLEU

    return BLEU(tokenize="zh" if han else "13a", effective_order=one)


def corpus_bleu(predictions: Sequence[str], references: Sequence[str]) -> float:
    """BLEU-4 of all answers together, exponential smoothing, 0 to 100 (Papineni et al. 2002; Post
    2018). sacrebleu's tokenizer is `zh` (one Han character is one token) if any reference has Han
    characters, else `13a`."""
    scorer = _bleu(any(map(has_han, references)), False)
    return float(scorer.corpus_score(list(predictions), [list(references)]).score)


def sentence_bleu(prediction: str, reference: str) -> float:
    """BLEU of one answer, tokenized as in `corpus_bleu`, 0 to 100.

    n-grams that a text is too short for do not count (sacrebleu's effective order).
    """
    score = _bleu(has_han(reference), True).sentence_score(prediction, [reference]).score
    return min(float(score), 100.0)  # a perfect answer is 100.00000000000004 there


@cache
def _chrf() -> Any:
    from sacrebleu.metrics import CHRF

    return CHRF()


def chrf(prediction: str, reference: str) -> float:
    """chrF2 of one answer: F of its character 1- to 6-grams, recall counting four times as much as
    precision (β = 2), white space aside, 0 to 100 (Popović, chrF, 2015)."""
    return float(_chrf().sentence_score(prediction, [reference]).score)


def normalised(text: str) -> str:
    """Return a text without what two right answers may differ in: width, case, punctuation, space.

    Full-width forms are folded (NFKC); a number keeps what makes another number of it.
    """
    folded = unicodedata.normalize("NFKC", text.translate(_RAISED)).casefold()
    kept = {match.start() for match in _OF_A_NUMBER.finditer(folded)}
    return "".join(
        letter
        for place, letter in enumerate(folded)
        if place in kept or not (letter.isspace() or unicodedata.category(letter)[0] in "PZ")
    )


def exact_match(prediction: str, reference: str) -> float:
    """100 if both texts are the same once `normalised`, else 0.

    Two texts of nothing but punctuation must be the same as they stand.
    """
    one, other = normalised(prediction), normalised(reference)
    same = one == other if other else prediction.strip() == reference.strip()
    return 100.0 * same


def repetition(text: str, han: bool = True) -> float:
    """Share of the sequences of four words that stood in the text before, 0 to 100; less is better.

    100·(1 − different 4-grams / all 4-grams), `seq-rep-4` of Welleck et al. (Neural Text
    Generation with Unlikelihood Training, 2020, eq. 10), over the words of a WordCutter. A text of
    fewer than four words has none.
    """
    words = WordCutter(han).tokenize(text)
    grams = list(zip(*(words[start:] for start in range(REPEATED_WORDS)), strict=False))
    return 100.0 * (1 - len(set(grams)) / len(grams)) if grams else 0.0
