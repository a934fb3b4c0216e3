"""In which rounds a benchmark is asked, and that stopping early spends no more than the error."""

from collections import Counter

import pytest
from scipy.special import ndtr

from butler.paired import paired_sample
from butler.rounds import Looks, Rounds, plan_rounds, round_of_each

DATA_SETS = ["small"] * 20 + ["large"] * 380
DISHES = [f"dish {number // 3}" for number in range(20)] + [f"q{n}" for n in range(380)]


def looks(*rounds: tuple[int, int], of: int) -> Looks:
    """After each round (questions so far, answers lost so far)."""
    samples = [
        paired_sample([-100.0] * lost + [0.0] * (asked - lost), ["a"] * asked, range(asked))
        for asked, lost in rounds
    ]
    sizes = [asked for asked, _ in rounds]
    return Looks(samples, Rounds([*sizes, of] if of > sizes[-1] else sizes))


@pytest.mark.parametrize(
    ("questions", "first", "sizes"),
    [
        (100, 400, [100]),
        (799, 400, [799]),
        (800, 400, [400, 800]),
        (1346, 400, [673, 1346]),
        (12000, 400, [750, 1500, 3000, 6000, 12000]),
    ],
)
def test_each_round_doubles_what_was_asked(questions, first, sizes):
    assert list(plan_rounds(questions, first).sizes) == sizes


def test_looks_share_the_error_and_the_last_keeps_most():
    # (n/N)² after 1/8, 1/4, 1/2 and all: 1/64, 4/64, 16/64, 64/64
    assert Rounds([150, 300, 600, 1200]).shares == pytest.approx([1 / 64, 3 / 64, 12 / 64, 48 / 64])
    assert Rounds([100]).shares == [1.0]


def test_every_question_is_asked_once_and_dishes_are_kept_whole():
    rounds = plan_rounds(400, 100)
    found = round_of_each(DATA_SETS, DISHES, rounds, seed=1)
    counted = Counter(found)
    for number, size in enumerate(rounds.sizes, start=1):
        assert sum(counted[one] for one in range(1, number + 1)) == pytest.approx(size, abs=3)
    by_dish = {(dish, when) for dish, when in zip(DISHES, found, strict=True)}
    assert len(by_dish) == len(set(DISHES))


def test_every_round_has_its_share_of_each_data_set():
    found = round_of_each(DATA_SETS, DISHES, plan_rounds(400, 100), seed=1)
    first = Counter(s for s, when in zip(DATA_SETS, found, strict=True) if when == 1)
    assert first["small"] == pytest.approx(5, abs=3)
    assert first["large"] == pytest.approx(95, abs=3)


def test_rounds_are_the_same_for_a_seed_and_drawn_anew_for_another():
    rounds = plan_rounds(400, 100)
    one, again, other = (round_of_each(DATA_SETS, DISHES, rounds, seed) for seed in (1, 1, 2))
    assert one == again
    assert one != other


def test_each_look_pays_for_its_share_of_the_error():
    seen = looks((400, 0), (800, 12), of=800)
    first, last = (float(ndtr(-one.statistic(-2.0))) for one in seen.samples)
    assert seen.p_within(2.0) == pytest.approx(min(first / 0.25, last / 0.75, 1.0))
    # Proven after the first round, it stays proven.
    assert seen.p_within(2.0) == pytest.approx(first / 0.25)


def test_one_round_costs_nothing():
    seen = looks((400, 0), of=400)
    assert seen.p_within(2.0) == float(ndtr(-seen.last.statistic(-2.0)))


@pytest.mark.parametrize("limit", [0.5, 1.0, 2.0, 3.0, 4.0, 6.0])
def test_bounds_say_what_the_p_values_say(limit):
    seen = looks((400, 9), (800, 30), of=1600)
    low, high = seen.bounds(0.05, 0.05)
    assert (seen.p_within(limit) <= 0.05) == (low >= -limit)
    assert (seen.p_over(limit) <= 0.05) == (high <= -limit)
