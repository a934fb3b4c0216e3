"""The form of answers, whatever they say: how long, how often they repeat themselves, how many cut.

A model that quantisation harmed is often known by these before its scores fall: it goes round in a
circle, or stops early.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from butler.benchmarks.opencompass.proof import CUT
from butler.benchmarks.text_metrics import REPEATED_WORDS, WordCutter, has_han
from butler.comparisons import Pair, Record, cluster_of
from butler.divergence import LEVEL, mean_and_reach
from butler.paired import paired_sample

LONG = 40  # characters: answers that are shorter in the mean have no form to speak of


@dataclass(frozen=True)
class Moved:
    """A mean over answers and its change against the baseline's answers to the same questions.

    `low` and `high` bound the change's 95 % interval; None where clusters are too few to tell.
    """

    mean: float
    change: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class AnswerForm:
    """Of one model: characters of an answer, % of it that repeats, % of all answers cut."""

    questions: int
    characters: Moved
    repeated: Moved
    cut: Moved


@cache  # each answer of the baseline stands beside every variant's
def repeated_share(text: str) -> float:
    """Return the share of sequences of four that stood in the text before, 0 to 100.

    As `repetition` of a benchmark, but of characters where there are Han characters: the report's
    environment has nothing that cuts Chinese into words.
    """
    words = list("".join(text.split())) if has_han(text) else WordCutter(False).tokenize(text)
    grams = list(zip(*(words[start:] for start in range(REPEATED_WORDS)), strict=False))
    return 100.0 * (1 - len(set(grams)) / len(grams)) if grams else 0.0


def characters(record: Record) -> float:
    """Return the length of an answer."""
    return float(len(record["prediction"]))


def form_of(pairs: Sequence[Pair]) -> AnswerForm:
    """Return the form of a model's answers; each pair has the baseline's to the same question."""
    return AnswerForm(
        len(pairs),
        _by_error(pairs, characters),
        _by_score_test(pairs, lambda record: repeated_share(record["prediction"])),
        _by_score_test(pairs, lambda record: 100.0 * (record["finish"] == CUT)),
    )


def _by_score_test(pairs: Sequence[Pair], figure: Callable[[Record], float]) -> Moved:
    """Return a figure of 0 to 100, whose change is bounded as that of a score."""
    own = [figure(one) for one, _ in pairs]
    changes = [now - figure(other) for now, (_, other) in zip(own, pairs, strict=True)]
    # Every answer weighs the same, as in the share of all answers that were cut.
    sample = paired_sample(changes, [""] * len(pairs), [cluster_of(one) for one, _ in pairs])
    return Moved(_mean(own), sample.mean, *sample.interval(LEVEL))


def _by_error(pairs: Sequence[Pair], figure: Callable[[Record], float]) -> Moved:
    """Return a figure without bounds, with the standard error of its change over clusters."""
    changes: dict[str, list[float]] = {}
    for one, other in pairs:
        changes.setdefault(cluster_of(one), []).append(figure(one) - figure(other))
    means = [_mean(of) for of in changes.values()]
    change, reach = mean_and_reach(means, [len(of) for of in changes.values()])
    mean = _mean([figure(one) for one, _ in pairs])
    if reach is None:
        return Moved(mean, change, None, None)
    return Moved(mean, change, change - reach, change + reach)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
