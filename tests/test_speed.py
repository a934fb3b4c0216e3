"""Speed with a spread, and whether a service target is kept: hand-computed examples."""

import pytest

from butler.efficiency.speed import Speed, Spread, Waits, percentile_of
from butler.efficiency.target import meets
from butler.efficiency.timings import Load, RequestTiming
from butler.errors import ButlerError
from butler.results import Efficiency
from butler.settings.judging_stage import ServiceTarget


def request(first: float, gaps: list[float], tokens: int | None = None) -> RequestTiming:
    """A request sent at 0, its first token after `first` seconds."""
    return RequestTiming(0.0, first, first + sum(gaps), tokens or 1 + len(gaps), gaps)


def load(firsts: list[float], gap: float, at_a_time: int = 10) -> Load:
    """Requests sent together, two outputs each."""
    return Load(at_a_time, [request(first, [gap]) for first in firsts])


def speed(*repeats: Load) -> Speed:
    single = [request(0.5, [0.1] * 10), request(0.25, [0.05] * 10)]
    return Speed.of(single, repeats, repeats, prompt_tokens=100)


TENTHS = [0.1 * n for n in range(1, 12)]  # 0.1 to 1.1: their p50 is the sixth, their p90 the tenth
SLOWER = [2 * one for one in TENTHS]


def test_percentiles_are_numpys_and_only_of_values_enough() -> None:
    assert percentile_of(TENTHS, 50) == pytest.approx(0.6)
    assert percentile_of(TENTHS, 90) == pytest.approx(1.0)
    assert percentile_of([float(n) for n in range(101)], 99) == pytest.approx(99)
    # Linear between neighbours: 0.9 of the way from the first of ten to the last.
    assert percentile_of([float(n) for n in range(10)], 90) == pytest.approx(8.1)
    assert percentile_of([1.0] * 99, 99) is None
    assert percentile_of([1.0] * 100, 99) == 1.0
    assert percentile_of([1.0] * 9, 90) is None


def test_waits_are_pooled_and_the_worst_repeat_is_kept() -> None:
    waits = Waits.of([TENTHS, SLOWER])
    both = sorted(TENTHS + SLOWER)
    # Place 0.9 · 21 = 18.9 of 22: nine tenths of the way from the 19th to the 20th.
    assert waits.percentiles[90] == pytest.approx(both[18] + 0.9 * (both[19] - both[18]))
    assert set(waits.percentiles) == {50, 90}
    assert waits.worst_p90 == pytest.approx(2.0)
    assert Waits.of([TENTHS, [0.1] * 9]).worst_p90 is None


def test_speed_has_the_spread_of_its_repeats() -> None:
    found = speed(load(TENTHS, 0.02), load(SLOWER, 0.04))
    assert found.repeats == 2
    assert found.decode_tokens_per_s == Spread(*map(pytest.approx, (10, 15, 20)))
    assert found.prefill_tokens_per_s == Spread(*map(pytest.approx, (200, 300, 400)))
    at_ten = found.loads[10]
    # 11 requests of 2 tokens, until 1.1 + 0.02 and 2.2 + 0.04 seconds.
    slow, fast = 22 / 2.24, 22 / 1.12
    assert at_ten.tokens_per_s == Spread(*map(pytest.approx, (slow, (slow + fast) / 2, fast)))
    assert (at_ten.requests, at_ten.tokens_per_output) == (22, 1)
    assert at_ten.between_tokens.percentiles[50] == pytest.approx(0.03)


def test_an_output_of_several_tokens_is_one_wait() -> None:
    both = Load(2, [request(0.1, [0.2], tokens=4)] * 10)
    found = Speed.of([request(0.5, [0.1])], [both], [both], prompt_tokens=1).loads[2]
    assert found.between_tokens.percentiles[50] == pytest.approx(0.2)
    assert found.tokens_per_output == pytest.approx(2)


def test_rows_read_well_and_give_the_same_speed_back() -> None:
    found = speed(load(TENTHS, 0.02), load(SLOWER, 0.04))
    values = {metric: float(value) for metric, value, _ in found.rows()}
    assert len(values) == len(found.rows())
    assert values["decode_tokens_per_s_min"] == pytest.approx(10)
    assert values["time_to_first_token_s_p90_worst_10"] == pytest.approx(2)
    assert values["between_tokens_s_p50_10"] == pytest.approx(0.03)
    assert "time_to_first_token_s_p99_10" not in values  # of 22 requests
    again = Speed.read(values)
    assert {metric: float(value) for metric, value, _ in again.rows()} == values
    assert again.loads[10].first_token.worst_p90 == pytest.approx(2)


def efficiency(measured: Speed | None) -> Efficiency:
    return Efficiency("w4", "turbomind", "a GPU", {}, measured)


def target(**promises: float) -> ServiceTarget:
    return ServiceTarget(requests=10, **promises)


def test_a_target_is_kept_by_every_repeat_or_not_at_all() -> None:
    good = efficiency(speed(load(TENTHS, 0.02)))
    mixed = efficiency(speed(load(TENTHS, 0.02), load(SLOWER, 0.04), load(TENTHS, 0.02)))
    asked = target(first_token_p90_s=1.6, between_tokens_p90_s=0.05)
    assert meets(good, asked).kept
    # Of all three repeats together it is kept: place 28.8 of 33 lies between 1.4 and 1.6.
    assert mixed.speed.loads[10].first_token.percentiles[90] == pytest.approx(1.56)
    outcome = meets(mixed, asked)
    assert not outcome.kept
    (broken,) = outcome.broken
    assert (broken.key, broken.limit) == ("first_token_p90_s", 1.6)
    assert broken.measured == pytest.approx(2.0)
    assert meets(mixed, target(between_tokens_p90_s=0.05)).kept
    assert [one.key for one in meets(mixed, target(between_tokens_p90_s=0.03)).broken] == [
        "between_tokens_p90_s"
    ]


@pytest.mark.parametrize(
    "measured",
    [None, speed(load(TENTHS, 0.02, at_a_time=64)), speed(load([0.1] * 9, 0.02))],
    ids=["reference", "another load", "too few requests"],
)
def test_a_target_at_a_load_that_was_not_measured_is_no_guess(measured: Speed | None) -> None:
    with pytest.raises(ButlerError, match="first_token_p90_s is of 10 requests at a time, which"):
        meets(efficiency(measured), target(first_token_p90_s=1.0))
