"""How a training is judged: the paired likelihood of held-out answers."""

import random
import statistics

import pytest

from butler.held_out import weighted_mean
from check_training import compare, judge


def test_the_standard_error_is_that_of_many_drawings():
    draw = random.Random(1)

    def conversations():
        weights = [draw.randint(5, 200) for _ in range(40)]
        return [draw.gauss(-0.05, 0.3) for _ in weights], weights

    drawn = [weighted_mean(*conversations()) for _ in range(3000)]
    spread = statistics.stdev(mean for mean, _ in drawn)
    assert statistics.mean(error for _, error in drawn) == pytest.approx(spread, rel=0.05)
    assert statistics.mean(mean for mean, _ in drawn) == pytest.approx(-0.05, abs=0.01)


def test_of_equal_weights_it_is_the_usual_one():
    values = [0.1, -0.3, 0.4, 0.0, 0.2]
    mean, error = weighted_mean(values, [7] * 5)
    assert mean == pytest.approx(statistics.mean(values))
    assert error == pytest.approx(statistics.stdev(values) / 5**0.5)


def measured(change, error, base=2.876):
    return {
        "conversations": 64,
        "nll_base": base,
        "nll_merged": base + change,
        "change": change,
        "change_se": error,
    }


@pytest.mark.parametrize(
    ("change", "error", "limit", "passed"),
    [
        (-0.136, 0.011, 0.0, True),  # a 0.5B whose packs had a loss that did not fall
        (0.027, 0.02, 0.0, False),  # one of 135M whose loss fell while held-out NLL rose
        (0.027, 0.02, 0.05, True),
        (0.027, 0.02, None, True),
        (-0.003, 0.006, 0.0, False),
        (-0.136, 0.011, -0.2, False),
        (0.0, 0.0, 0.0, False),
    ],
)
def test_it_must_fall_by_more_than_its_standard_error(change, error, limit, passed):
    found, sentence = judge(measured(change, error), limit)
    assert found is passed
    assert ("without repeating it" in sentence) is not passed


@pytest.mark.parametrize("limit", [0.0, None])
def test_a_likelihood_that_is_no_number_passes_by_no_limit(limit):
    found, sentence = judge(measured(float("nan"), float("nan")), limit)
    assert not found and "no finite number" in sentence


def test_differences_are_paired():
    # Conversations that differ much from each other, and little from model to model.
    base = [1.0, 3.0, 5.0, 2.0]
    found = {
        "base": base,
        "base_adapter": [nll - 0.1 for nll in base],
        "nf4_adapter": [0.9, 2.91, 4.92, 1.91],
        "merged": [nll - 0.1 for nll in base],
    }
    result = compare(found, [10, 10, 10, 10])
    assert result["change"] == pytest.approx(-0.1)
    assert result["change_se"] == pytest.approx(0, abs=1e-9)
    assert result["nf4_shift"] == pytest.approx(-0.01)
    assert 0 < result["nf4_shift_se"] < 0.01
    assert result["merge_shift"] == pytest.approx(0)
    del found["nf4_adapter"]
    assert "nf4_shift" not in compare(found, [1, 2, 3, 4])
