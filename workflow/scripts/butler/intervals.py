"""How sure a difference between two variants is, from the same questions asked of both."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import binomtest, bootstrap

from butler.decision import Change
from butler.errors import ButlerError

Scores = Mapping[str, Sequence[float]]  # data set -> score of each question, 0 to 100
RESAMPLES = 9999


def paired_change(variant: Scores, baseline: Scores, seed: int = 0) -> Change:
    """Return the mean change against the baseline and its 95 % interval.

    The change is the mean over data sets of the mean over questions of (variant − baseline), as
    the `average` row is. The interval is the percentile bootstrap (Efron and Tibshirani, An
    Introduction to the Bootstrap, 1993, ch. 13) by `scipy.stats.bootstrap`: 9,999 times the
    questions of each data set are drawn again with replacement, each with both its scores.
    Where every score is 0 or 100, questions that changed sides are counted too (see `mcnemar`).

    Raises:
        ButlerError: if the two were not asked the same questions.
    """
    if {k: len(v) for k, v in variant.items()} != {k: len(v) for k, v in baseline.items()}:
        raise ButlerError("the variants were not asked the same questions; evaluate them again")
    differences = [
        np.asarray(variant[name], dtype=float) - np.asarray(baseline[name], dtype=float)
        for name in baseline
    ]
    points = float(np.mean([difference.mean() for difference in differences]))
    sides = mcnemar(variant, baseline)
    if min(len(difference) for difference in differences) < 2:
        return Change(points, **sides)
    interval = bootstrap(
        differences,
        _mean_of_means,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Change(points, float(interval.low), float(interval.high), **sides)


def mcnemar(variant: Scores, baseline: Scores) -> dict[str, Any]:
    """Count the questions that changed sides, over all data sets, and say how surprising that is.

    Returns `lost` (right in the baseline alone), `gained` (right in the variant alone) and `p`,
    two-sided: McNemar's test (Psychometrika 12, 1947) in its exact form, the binomial test of
    `lost` in `lost` + `gained` against one half. Nothing where a score is neither 0 nor 100.
    """
    after = np.concatenate([np.asarray(variant[name], dtype=float) for name in baseline])
    before = np.concatenate([np.asarray(scores, dtype=float) for scores in baseline.values()])
    if not np.isin(np.concatenate([after, before]), (0.0, 100.0)).all():
        return {}
    lost, gained = int((before > after).sum()), int((after > before).sum())
    changed = lost + gained
    p = float(binomtest(lost, changed, 0.5).pvalue) if changed else 1.0
    return {"lost": lost, "gained": gained, "p": p}


def _mean_of_means(*groups: np.ndarray, axis: int = -1) -> np.ndarray:
    """Mean over groups of the mean along `axis`; each group [resamples, questions]."""
    return np.mean([group.mean(axis=axis) for group in groups], axis=0)
