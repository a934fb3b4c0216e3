"""What a difference between two models is said to be: worked examples and published intervals."""

import pytest
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri
from scipy.stats import binomtest

from butler.errors import ButlerError
from butler.paired import (
    PairedSample,
    paired_sample,
    questions_to_settle,
    resolvable_loss,
    sides,
)


def answers(questions: int, lost: int = 0, gained: int = 0) -> PairedSample:
    """Right-or-wrong questions of one data set, all unlike."""
    rest = questions - lost - gained
    differences = [-100.0] * lost + [100.0] * gained + [0.0] * rest
    return paired_sample(differences, ["exam"] * questions, range(questions))


def p_within(sample: PairedSample, limit: float) -> float:
    return float(ndtr(-sample.statistic(-limit)))


def uncorrected_interval(sample: PairedSample, level: float) -> tuple[float, float]:
    """Tango's interval: where the score, without this project's corrections, is ±z."""
    z = -ndtri((1 - level) / 2)

    def score(true: float, quantile: float) -> float:
        return (sample.mean - true) / (sample.variance(true) / sample.clusters) ** 0.5 - quantile

    low = brentq(score, -99.99, sample.mean - 1e-6, args=(z,))
    return low, brentq(score, sample.mean + 1e-6, 99.99, args=(-z,))


# a, b, c, d: right in both, in the first alone, in the second alone, in neither.
PUBLISHED = [
    # Tests of the R package ratesci (Laud), Tango's method; the second at 90 %.
    ((4, 9, 3, 16), 0.95, -2.7, 39.0),
    ((43, 0, 1, 0), 0.90, -9.6, 3.7),
    # Agresti and Min (Statistics in Medicine 24, 2005), as the same tests have it.
    ((53, 16, 8, 9), 0.95, -2.0, 20.7),
    # Fagerland, Lydersen and Laake (Statistics in Medicine 33, 2014): airway data.
    ((1, 1, 7, 12), 0.95, -51.7, -2.6),
    # The same authors' R package contingencytables: complete response data, to 0.01 points.
    ((59, 6, 16, 80), 0.95, -12.40, -0.54),
]


@pytest.mark.parametrize(("table", "level", "low", "high"), PUBLISHED)
def test_the_score_test_gives_published_intervals(table, level, low, high):
    sample = answers(sum(table), lost=table[2], gained=table[1])
    assert uncorrected_interval(sample, level) == pytest.approx((low, high), abs=0.051)


@pytest.mark.parametrize(("table", "level", "low", "high"), PUBLISHED)
def test_what_corrects_the_interval_moves_it_by_less_than_half_an_answer(table, level, low, high):
    sample = answers(sum(table), lost=table[2], gained=table[1])
    half = 50 / sum(table)
    assert sample.interval(level) == pytest.approx((low, high), abs=half + 0.051)


def test_variance_under_the_hypothesis_is_tangos_worked_by_hand():
    # n 100, gained 2, lost 5, true −0.02: A = 200, B = −7 + 203 · −0.02 = −11.06, C = 0.102;
    # q = (√(B² − 4AC) − B) / 2A = 0.0436038; variance 2q − 0.02 · 1.02 = 0.0668075.
    assert answers(100, lost=5, gained=2).variance(-2.0) == pytest.approx(668.075, abs=0.001)


def test_graded_variance_and_statistic_are_as_worked_by_hand():
    # −10 and +20 with a true mean of 4: weights 8/15 and 7/15 make it so, variance 14 · 16 = 224,
    # third moment 448. Of the mean of two: 112 and 112, so jump 1, error 10.583, skew 0.015749;
    # score (5 − 4 − 0.5) / 10.583 = 0.047246; z = 2 · 0.062995 / (1 + √1.003968) = 0.062933.
    sample = paired_sample([-10.0, 20.0], ["a", "a"], [0, 1])
    assert sample.variance(4.0) == pytest.approx(224.0)
    assert sample.statistic(4.0) == pytest.approx(0.062933, abs=1e-5)


@pytest.mark.parametrize("questions", [40, 100, 400, 1346])
def test_questions_that_did_not_change_leave_room_as_the_exact_interval_does(questions):
    exact = 100 * binomtest(0, questions).proportion_ci().high  # Clopper–Pearson
    low, high = answers(questions).interval()
    assert high == pytest.approx(exact, rel=0.06)
    assert low == pytest.approx(-high, abs=1e-3)


def test_three_hundred_unchanged_answers_exclude_a_loss_of_one_point():
    assert answers(300).bound(0.05) == pytest.approx(-1.0, abs=0.04)  # rule of three


@pytest.mark.parametrize(("questions", "lost"), [(40, 1), (40, 2), (400, 1), (400, 2), (400, 5)])
def test_few_losses_alone_bound_the_loss_as_the_exact_interval_does(questions, lost):
    exact = 100 * binomtest(lost, questions).proportion_ci().high
    assert -answers(questions, lost=lost).interval()[0] == pytest.approx(exact, rel=0.04)


def test_no_variant_is_proven_by_questions_that_miss_a_loss_at_the_limit_too_often():
    # A variant loses 2 % of its answers and gains none. Of 133 questions it keeps all with a
    # chance of 0.98¹³³ = 6.8 %: Tango's own test would call it within at 5 %.
    assert p_within(answers(133), 2.0) > 0.05
    assert p_within(answers(153), 2.0) <= 0.05


def test_a_small_data_set_that_flips_much_widens_the_interval_of_both():
    # Half the weight lies on 40 answers of which 20 % flip. Standard error by strata, by hand:
    # ½ √(100² · 0.2 / 40 + 100² · 0.005 / 4000) = 3.54.
    small = [-100.0] * 4 + [100.0] * 4 + [0.0] * 32
    large = [-100.0] * 10 + [100.0] * 10 + [0.0] * 3980
    sample = paired_sample(small + large, ["a"] * 40 + ["b"] * 4000, range(4040))
    low, high = sample.interval()
    assert 1.0 <= (high - low) / 2 / (1.96 * 3.54) <= 1.2


def test_each_data_set_weighs_the_same_whatever_its_size():
    sample = paired_sample([-100.0, 0.0, 0.0, 0.0, 0.0], ["a", "b", "b", "b", "b"], range(5))
    assert sample.mean == pytest.approx(-50.0)
    # Weights ½ and four of 1/8: Kish's effective number is 1 / (1/4 + 4/64).
    assert sample.clusters == pytest.approx(3.2)


def test_asking_a_question_twice_makes_nothing_surer():
    once = answers(100, lost=5, gained=2)
    doubled = [-100.0] * 5 + [100.0] * 2 + [0.0] * 93
    twice = paired_sample(doubled * 2, ["exam"] * 200, [*range(100)] * 2)
    assert twice.interval() == pytest.approx(once.interval(), abs=1e-3)
    assert (twice.questions, twice.clusters) == (200, pytest.approx(100.0))


def test_gains_are_bounded_as_losses_are():
    low, high = answers(400, lost=5).interval()
    mirrored = answers(400, gained=5).interval()
    assert mirrored == pytest.approx((-high, -low), abs=1e-3)


@pytest.mark.parametrize("differences", [[0.0], [-100.0], [100.0], [-100.0] * 40, [37.5, -2.0]])
def test_bounds_stay_in_range_and_hold_the_mean_however_few_the_answers(differences):
    sample = paired_sample(differences, ["a"] * len(differences), range(len(differences)))
    low, high = sample.interval()
    assert -100.0 <= low <= sample.mean + 1e-9
    assert sample.mean - 1e-9 <= high <= 100.0


def test_the_statistic_falls_as_the_hypothesis_rises():
    sample = paired_sample([-80.0, *[3.0] * 20, 41.5, 0.0], ["a"] * 23, range(23))
    values = [sample.statistic(true / 2) for true in range(-199, 200)]
    far = [value for value in values if abs(value) > 0.5]
    assert len(far) > 350
    assert far == sorted(far, reverse=True)


def test_nothing_asked_of_both_is_told():
    with pytest.raises(ButlerError, match="no question was asked of both"):
        paired_sample([], [], [])


@pytest.mark.parametrize(("questions", "changed"), [(773, 0.05), (1546, 0.10), (2319, 0.15)])
def test_questions_needed_to_prove_two_points_at_no_loss(questions, changed):
    # (1.645 + 0.842)² · flips / 0.02²
    assert resolvable_loss(questions, changed, 0.05) == pytest.approx(2.0, abs=0.001)


def test_no_benchmark_is_said_to_resolve_what_unchanged_answers_cannot():
    assert resolvable_loss(100, 0.0, 0.05) == pytest.approx(100 * (1 - 0.05**0.01))


def test_questions_to_settle_follow_from_the_measured_mean():
    sample = answers(200, lost=5, gained=5)
    by_hand = sample.variance(-2.0) * ((1.644854 + 0.841621) / 2.0) ** 2
    assert questions_to_settle(sample, 2.0, 0.05) == pytest.approx(by_hand, abs=1)


def test_flips_are_counted_only_of_right_or_wrong_answers():
    assert sides([100.0, 0.0, 100.0], [0.0, 100.0, 100.0]) == {"lost": 1, "gained": 1}
    assert sides([100.0, 55.0], [0.0, 100.0]) == {}
