"""How sure a difference between two models is, from the same questions asked of both.

One test serves right-or-wrong and graded questions, data sets of unlike sizes, and questions that
come more than once. It is Tango's score test for paired proportions (Statistics in Medicine 17,
1998), with its variance under the hypothesis found by empirical likelihood (Owen, Biometrika 75,
1988) on the observed differences and the two that are always possible, −100 and +100 points. Where
every difference is −100, 0 or +100, that is Tango's own variance. So no sample shows a variance of
0: forty questions that did not change leave room for a loss of seven points. Two corrections hold
the error where changes are rare or lopsided: docs/decision.md shows what happens without them.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtri

from butler.errors import ButlerError

LOWEST, HIGHEST = -100.0, 100.0  # points that a score can change by
POWER = 0.8  # with which a number of questions is said to settle something
_EDGE = 1e-9  # of a range whose ends themselves divide by zero


@dataclass(frozen=True)
class PairedSample:
    """Differences of clusters of questions in points, each with a weight; the weights sum to 1.

    Equal differences are put together, so `differences` rises and has no value twice. `weights`,
    `squares` and `cubes` are of each difference the sums of its clusters' weights, of their squares
    and of their cubes; `questions` is how many questions there were.
    """

    differences: np.ndarray
    weights: np.ndarray
    squares: np.ndarray
    cubes: np.ndarray
    questions: int

    @cached_property
    def mean(self) -> float:
        """Mean difference in points."""
        return float(self.differences @ self.weights)

    @cached_property
    def clusters(self) -> float:
        """Effective number of clusters, 1 / Σ weight² (Kish, Survey Sampling, 1965)."""
        return 1.0 / float(self.squares.sum())

    def variance(self, difference: float) -> float:
        """Return the variance of a cluster's difference in points² if the true mean is given."""
        return self._moments(difference)[0] * self.clusters

    def statistic(self, difference: float) -> float:
        """Return how many standard errors the mean lies above a true mean of `difference`.

        Corrected for skewness (Gart and Nam, Biometrics 44, 1988), and for the jumps in which the
        mean of few large changes moves, by half a jump: of rare changes all alike it is one of
        them, and nothing where gains and losses balance.
        """
        above = self.mean - difference
        variance, third = self._moments(difference)
        if not variance:
            return 0.0
        jump = abs(third) / variance
        error = variance**0.5
        score = np.copysign(max(0.0, abs(above) - jump / 2), above) / error
        skew = third / (6 * error**3)
        root = max(0.0, 1 + 4 * skew * (score + skew)) ** 0.5
        return float(2 * (score + skew) / (1 + root))

    def _moments(self, difference: float) -> tuple[float, float]:
        """Return the mean's variance and third central moment if the true mean is given."""
        x = self.differences - difference
        low, high = -1 / (HIGHEST - difference), 1 / (difference - LOWEST)

        def slope(multiplier: float) -> float:
            return float(self.weights @ (x / (1 + multiplier * x)))

        inside = low * (1 - _EDGE), high * (1 - _EDGE)
        if slope(inside[1]) > 0:  # only a difference that nobody saw makes the mean so low
            multiplier, unseen = high, LOWEST - difference
        elif slope(inside[0]) < 0:
            multiplier, unseen = low, HIGHEST - difference
        else:
            multiplier, unseen = float(brentq(slope, *inside)), 0.0
        # The weights' squares say how much of each difference's variance arrives in the mean; but a
        # few heavy clusters may happen to show none, and then what all show stands for them.
        tilt = 1 / np.maximum(1 + multiplier * x, _EDGE)
        rest = max(0.0, 1.0 - float(self.weights @ tilt))
        alike = float((self.weights * tilt) @ x**2 + rest * unseen**2) / self.clusters
        apart = float((self.squares * tilt) @ x**2 + rest * unseen**2 / self.clusters)
        third = float((self.cubes * tilt) @ x**3 + rest * unseen**3 * self.cubes.sum())
        return max(alike, apart), third

    def bound(self, level: float, upper: bool = False) -> float:
        """Return the one-sided bound in points that is wrong with a chance of `level`."""
        quantile = -float(ndtri(level))
        edge = 1e-6

        def beyond(difference: float) -> float:
            return self.statistic(difference) + (quantile if upper else -quantile)

        inside = min(max(self.mean, LOWEST + edge), HIGHEST - edge)
        start, end = (inside, HIGHEST - edge) if upper else (LOWEST + edge, inside)
        if beyond(start) * beyond(end) > 0:
            return HIGHEST if upper else LOWEST
        return float(brentq(beyond, start, end, xtol=1e-4))

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return both bounds in points; each is wrong with a chance of (1 − level) / 2."""
        side = (1 - level) / 2
        return self.bound(side), self.bound(side, upper=True)


def paired_sample(
    differences: Sequence[float] | np.ndarray,
    data_sets: Sequence[Hashable] | np.ndarray,
    clusters: Sequence[Hashable] | np.ndarray,
) -> PairedSample:
    """Return the sample of one difference in points per question.

    Each data set weighs the same, whatever its size, as in the `average` row, and each of its
    questions the same within it. Questions of a cluster are one observation, their weighted mean:
    that holds however alike they are. The spread between data sets counts as noise, which errs
    to the safe side.

    Args:
        differences, data_sets, clusters: [questions]; of each question its difference, the data
            set that it is of and what it shares with those that are no news beside it.

    Raises:
        ButlerError: if there is no question.
    """
    values = np.asarray(differences, dtype=float)
    if not len(values):
        raise ButlerError("no question was asked of both")
    _, of_set = np.unique(data_sets, return_inverse=True)
    sizes = np.bincount(of_set)
    weights = 1.0 / (len(sizes) * sizes[of_set])
    _, of_cluster = np.unique(clusters, return_inverse=True)
    mass = np.bincount(of_cluster, weights)
    means = np.bincount(of_cluster, weights * values) / mass
    found, place = np.unique(np.round(means, 9), return_inverse=True)
    powers = (np.bincount(place, mass**power) for power in (1, 2, 3))
    return PairedSample(found, *powers, len(values))


def questions_to_settle(sample: PairedSample, limit: float, level: float) -> int:
    """Return how many questions would settle on which side of −limit the true mean lies.

    That is with a chance of POWER, if the true mean is what was measured: n of a one-sample test
    of a mean (for example Cohen, Statistical Power Analysis, 1988, ch. 2) at a one-sided `level`,
    in questions as clustered as these. A mean within 0.001 points of the limit counts as that far
    from it.
    """
    gap = max(abs(sample.mean + limit), 1e-3)
    clusters = sample.variance(-limit) * ((ndtri(POWER) - ndtri(level)) / gap) ** 2
    return int(np.ceil(clusters * sample.questions / sample.clusters))


def resolvable_loss(questions: int, changed: float, level: float) -> float:
    """Return the smallest limit in points that so many questions can show a variant to keep.

    With a chance of POWER, for a variant that loses nothing and changes the share `changed` (0 to
    1) of right-or-wrong answers, half of them for the better. It is never less than what so many
    unchanged answers exclude (the rule of three: Hanley and Lippman-Hand, JAMA 249, 1983).
    """
    error = HIGHEST * (changed / questions) ** 0.5
    unseen = HIGHEST * (1 - level ** (1 / questions))
    return max(unseen, float(ndtri(POWER) - ndtri(level)) * error)


def sides(before: Sequence[float], after: Sequence[float]) -> Mapping[str, int]:
    """Return how many answers were `lost` and `gained`; nothing where a score is not 0 or 100."""
    if not set(before) | set(after) <= {0.0, 100.0}:
        return {}
    pairs = list(zip(before, after, strict=True))
    return {"lost": sum(b > a for b, a in pairs), "gained": sum(a > b for b, a in pairs)}
