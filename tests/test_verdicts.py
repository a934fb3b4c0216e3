"""Which variants are proven, which are proven worse, and which are open."""

import numpy as np
import pytest

from butler.paired import paired_sample
from butler.rounds import Looks, Rounds, plan_rounds
from butler.verdicts import Outcome, holm_levels, judge, settled

LIMIT, ERROR = 2.0, 0.05


def exam(questions: int, lost: int = 0, gained: int = 0) -> Looks:
    """All questions of an exam at once."""
    rest = questions - lost - gained
    differences = [-100.0] * lost + [100.0] * gained + [0.0] * rest
    return Looks(
        [paired_sample(differences, ["a"] * questions, range(questions))], Rounds([questions])
    )


def test_holms_levels_rise_only_as_variants_are_proven():
    # Holm's procedure at 0.05 of four: 0.005 ≤ 0.05/4, 0.01 ≤ 0.05/3, 0.03 > 0.05/2: stop.
    found = holm_levels({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}, ERROR)
    assert found == pytest.approx({"d": 0.05 / 4, "a": 0.05 / 3, "c": 0.05 / 2, "b": 0.05 / 2})


def test_a_variant_that_keeps_every_answer_of_many_is_within():
    found = judge({"kv8": {"exam": exam(400)}}, LIMIT, ERROR)["kv8"]
    assert found.outcome is Outcome.WITHIN
    assert found.benchmarks["exam"].low > -LIMIT


def test_forty_unchanged_answers_prove_nothing_and_it_is_said_how_many_would():
    found = judge({"kv8": {"exam": exam(40)}}, LIMIT, ERROR)["kv8"]
    assert found.outcome is Outcome.UNDECIDED
    assert found.benchmarks["exam"].needed > 150


def test_a_variant_that_clearly_loses_is_over():
    found = judge({"w4": {"exam": exam(400, lost=40, gained=4)}}, LIMIT, ERROR)["w4"]
    assert found.outcome is Outcome.OVER
    assert found.benchmarks["exam"].high < -LIMIT


def test_a_variant_must_be_within_on_every_benchmark():
    found = judge({"w4": {"exam": exam(400), "recipes": exam(40)}}, LIMIT, ERROR)["w4"]
    assert found.benchmarks["exam"].outcome is Outcome.WITHIN
    assert found.outcome is Outcome.UNDECIDED


def test_a_loss_on_one_benchmark_is_enough_to_be_over():
    looks = {"exam": exam(400), "recipes": exam(400, lost=40)}
    assert judge({"w4": looks}, LIMIT, ERROR)["w4"].outcome is Outcome.OVER


def test_more_variants_need_more_proof():
    alone = judge({"a": {"exam": exam(170)}}, LIMIT, ERROR)
    among = judge({name: {"exam": exam(170)} for name in "abcdefgh"}, LIMIT, ERROR)
    assert alone["a"].outcome is Outcome.WITHIN
    assert {one.outcome for one in among.values()} == {Outcome.UNDECIDED}


def test_a_proven_variant_lowers_what_the_next_must_show():
    open_one = {"exam": exam(170)}
    assert judge({"a": open_one, "b": open_one}, LIMIT, ERROR)["a"].outcome is Outcome.UNDECIDED
    with_good = judge({"a": open_one, "b": {"exam": exam(1000)}}, LIMIT, ERROR)
    assert with_good["a"].outcome is Outcome.WITHIN


def test_what_is_settled_while_asking_is_the_verdict_in_the_end():
    random = np.random.default_rng(7)
    rounds = plan_rounds(800, 200)
    seen = set()
    for loss in np.linspace(0, 8, 33):
        looks: dict[str, dict[str, Looks]] = {}
        early = {}
        for name in "abc":
            differences = random.choice(
                [-100.0, 100.0, 0.0], 800, p=[0.03 + loss / 100, 0.03, 0.94 - loss / 100]
            )
            samples = [
                paired_sample(differences[:size], ["a"] * size, range(size))
                for size in rounds.sizes
            ]
            for asked in range(1, len(samples) + 1):
                looks[name] = {"exam": Looks(samples[:asked], rounds)}
                early[name] = settled(looks[name]["exam"], LIMIT, ERROR, 3, 1)
                if early[name] is not Outcome.UNDECIDED:
                    break
        for name, verdict in judge(looks, LIMIT, ERROR).items():
            if early[name] is not Outcome.UNDECIDED:
                assert verdict.outcome is early[name]
                seen.add(early[name])
    assert seen == {Outcome.WITHIN, Outcome.OVER}
