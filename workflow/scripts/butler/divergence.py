"""How far a variant's next token is from the baseline's, on the answers of held-out conversations.

The conversations are those that nobody trained on; at each token of an answer both engines are
shown the same text, so the two distributions of the next token compare place by place. That is more
sensitive than any score: a benchmark sees only what changes an answer.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from butler.held_out import LONGEST, weighted_mean

LEVEL = 0.95  # of the intervals
FEWEST = 6  # conversations, of fewer no spread is told
QUANTILES = {"kl_p50": 0.5, "kl_p90": 0.9, "kl_p99": 0.99, "kl_max": 1.0}
# What a table has of a variant, however few the conversations are.
ALWAYS = (
    *("conversations", "tokens", "kl_mean", *QUANTILES, "same_top"),
    *("nll_baseline", "nll_variant", "nll_change"),
)
UNITS = {"conversations": "conversations", "tokens": "tokens"}
# From here on a variant answers otherwise than the baseline: docs/metrics.md has what was measured.
FAR_SHARE = 0.05  # of the baseline's own mean NLL
FAR_LEAST, FAR_MOST = 0.01, 0.1  # nats a token: what is never far, and what always is


@dataclass(frozen=True)
class HeldOutAnswer:
    """Token ids of a conversation up to the end of its first answer, which begins at `start`."""

    tokens: list[int]
    start: int

    @property
    def counted(self) -> list[bool]:
        """Which of the tokens are the answer's."""
        return [place >= self.start for place in range(len(self.tokens))]


@dataclass(frozen=True)
class AnswerDivergence:
    """What was found at each token of one answer; all have the same length.

    `divergences` are KL(baseline ‖ variant), `baseline` and `variant` the negative log-likelihoods
    of the token that came, all in nats; `same` says whether both found the same token likeliest.
    """

    divergences: Sequence[float]
    baseline: Sequence[float]
    variant: Sequence[float]
    same: Sequence[bool]


def cut_answers(
    prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], session_len: int
) -> list[HeldOutAnswer]:
    """Return conversations as the engine is asked them, each cut where a session ends.

    No more than LONGEST tokens are taken of any; one whose prompt leaves no room for a token of its
    answer is left out.
    """
    most = min(session_len, LONGEST)
    return [
        HeldOutAnswer([*prompt, *answer][:most], len(prompt))
        for prompt, answer in zip(prompts, answers, strict=True)
        if answer and len(prompt) < most
    ]


def figures(found: Sequence[AnswerDivergence]) -> dict[str, float]:
    """Return what is told of a variant, by the names of the table's metrics.

    Means are over all tokens. Their standard errors and intervals (`_low`, `_high`) take a
    conversation for one observation (`weighted_mean`), with Student's t of one degree of freedom
    less than those; of fewer than FEWEST there are none. `same_top` is in percent, else it is nats.

    Args:
        found: the answers' divergences, one or more.
    """
    weights = [len(one.divergences) for one in found]
    divergences = np.concatenate([np.asarray(one.divergences, float) for one in found])
    before = [_mean(one.baseline) for one in found]
    after = [_mean(one.variant) for one in found]
    change, error = weighted_mean([b - a for a, b in zip(before, after, strict=True)], weights)
    quantiles = {name: float(np.quantile(divergences, q)) for name, q in QUANTILES.items()}
    return {
        "conversations": len(found),
        "tokens": len(divergences),
        **_bounded("kl_mean", [_mean(one.divergences) for one in found], weights, math.inf),
        **quantiles,
        **_bounded("same_top", [100 * _mean(one.same) for one in found], weights, 100.0),
        "nll_baseline": weighted_mean(before, weights)[0],
        "nll_variant": weighted_mean(after, weights)[0],
        "nll_change": change,
        **({"nll_change_se": error} if len(found) >= FEWEST else {}),
    }


def _bounded(
    name: str, values: Sequence[float], weights: Sequence[int], most: float
) -> dict[str, float]:
    """Return a mean of conversations and its interval within 0 and `most`."""
    mean, reach = mean_and_reach(values, weights)
    if reach is None:
        return {name: mean}
    return {
        name: mean,
        f"{name}_low": max(0.0, mean - reach),
        f"{name}_high": min(most, mean + reach),
    }


def mean_and_reach(values: Sequence[float], weights: Sequence[int]) -> tuple[float, float | None]:
    """Return a weighted mean and how far its interval reaches to each side; None for too few.

    It is Student's interval over the values, with the standard error of `weighted_mean`.
    """
    mean, error = weighted_mean(values, weights)
    if len(values) < FEWEST:
        return mean, None
    return mean, student_t((1 + LEVEL) / 2, len(values) - 1) * error


def unit(metric: str) -> str:
    """Return the unit of a metric of `figures`."""
    return UNITS.get(metric, "%" if metric.startswith("same_top") else "nats")


def answers_differ(measured: Mapping[str, float]) -> bool:
    """Say whether a variant is so far from the baseline that its answers differ often."""
    far = min(FAR_MOST, max(FAR_LEAST, FAR_SHARE * measured["nll_baseline"]))
    return max(measured["kl_mean"], measured["nll_change"]) > far


def student_t(level: float, freedom: int) -> float:
    """Return the quantile of Student's t (Abramowitz and Stegun, 1964, 26.7.5, two terms).

    The environment that serves has no SciPy. Off by less than 1 % from 5 degrees of freedom on.
    """
    z = NormalDist().inv_cdf(level)
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    return z + first / freedom + second / freedom**2


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(np.asarray(values, float)))
