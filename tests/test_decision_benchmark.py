"""A small part of benchmarks/decision.py: the stated error of a decision is the one it makes."""

import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import decision
from decision_worlds import C_EVAL, Questions, World

RUNS = 150
SMALL = [
    World("right or wrong, two rounds", [Questions([800])], first=400),
    World("data sets unlike", [Questions([20, 400], spread=2.0)], first=None),
    World("rare large losses", [Questions([100], "rare losses")], first=None),
    World("asked up to three times", [Questions([300], repeats=3)], first=None),
]


@pytest.mark.parametrize("world", SMALL, ids=lambda world: world.name)
def test_a_variant_at_the_limit_ships_no_more_often_than_stated(world):
    losses = (0.0, decision.LIMIT, 3.0)
    found = {loss: decision.decide(world, loss, RUNS, seed=5) for loss in losses}
    assert decision.broken(world, found) == []


def test_a_world_loses_what_it_says_it_loses():
    for questions in (Questions([5000]), Questions(C_EVAL, spread=2.0), Questions([5000], "few")):
        drawn = [
            decision.paired_sample(one, questions.data_sets, questions.clusters).mean
            for seed in range(20)
            for one in questions.draw([2.0], decision.np.random.default_rng(seed))
        ]
        assert sum(drawn) / 20 == pytest.approx(-2.0, abs=0.4)


def test_a_rule_that_errs_is_noticed():
    world = World("two rounds", [Questions([800])])
    good = Counter(runs=1000, ships=50, over=50, covered=950, within=1000, within_at_once=1000)
    found = {loss: Counter(good, asked=500) for loss in (0.0, 2.0, 3.0)}
    assert decision.broken(world, found) == []
    found[2.0]["ships"] = 80
    found[0.0].update(covered=-50, within=-200)
    told = " ".join(decision.broken(world, found))
    assert "loses 2 in 8.0%" in told
    assert "covers 90.0%" in told
    assert "power 80.0%, of one test 100.0%" in told
    found[0.0].update(within=200, asked=400)
    assert any("saves 10%" in one for one in decision.broken(world, found))
