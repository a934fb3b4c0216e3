"""The rule with a service target: what is too slow does not ship, however well it answers."""

import json
from dataclasses import replace

from butler.decision import Candidate, Decision
from butler.efficiency.target import Promise, TargetOutcome
from butler.settings.judging_stage import DecisionSettings, ServiceTarget
from test_decision import FP16, candidate, decide, english

TARGET = ServiceTarget(requests=64, first_token_p90_s=1.0, between_tokens_p90_s=0.05)
RULE = DecisionSettings(max_loss=2.0, tokens=1000, target=TARGET)


def with_waits(one: Candidate, first: float, between: float = 0.02) -> Candidate:
    promises = [
        Promise("first_token_p90_s", 1.0, first),
        Promise("between_tokens_p90_s", 0.05, between),
    ]
    return replace(one, target=TargetOutcome(64, promises))


def small(first: float) -> Candidate:
    """The smallest, and shown to lose little."""
    return with_waits(candidate("w4", 0, 100), first)


def larger(first: float) -> Candidate:
    """Larger, and shown to lose little."""
    return with_waits(candidate("kv8", 0, 200), first)


def reason(found: Decision, name: str) -> str:
    return next(english(one.reason) for one in found.judged if one.variant == name)


def test_the_smallest_of_those_that_keep_the_target_ships() -> None:
    fp16 = with_waits(FP16, 0.5)
    assert decide([fp16, small(1.0), larger(0.5)], RULE).variant == "w4"  # to the digit is kept
    found = decide([fp16, small(1.31), larger(0.5)], RULE)
    assert found.variant == "kv8"
    assert english(found.sentence) == (
        "Ship kv8: 50% of fp16's memory, 1.00 times fp16's decoding speed (0.91 to 1.11 between "
        "repeats), and shown to lose at most 2 points against fp16 on every benchmark and to keep "
        "the service target."
    )
    assert reason(found, "w4").endswith(
        "; misses the service target at 64 requests at a time: p90 of the time to the first token "
        "1.31 s (target 1 s)"
    )
    assert [one.eligible for one in found.judged] == [True, False, True]
    assert found.remarks == []


def test_the_rule_says_the_target() -> None:
    told = decide([with_waits(FP16, 0.5)], RULE).to_json()["rule"]
    assert told["text"].endswith(
        "The service target, at 64 requests at a time and in every repeat: p90 of the time to the "
        "first token at most 1 s, p90 of the time between outputs at most 0.05 s."
    )
    assert "同时 64 个请求时" in told["text_zh"]


def test_fp16_ships_where_the_smaller_ones_are_too_slow() -> None:
    found = decide([with_waits(FP16, 0.5), small(2.0), larger(3.0)], RULE)
    assert found.variant == "fp16"
    assert "no smaller variant is shown to lose at most 2 points and to keep the service" in (
        english(found.sentence)
    )


def test_a_proven_variant_that_keeps_it_ships_though_fp16_does_not() -> None:
    # Larger than fp16, which would be preferred if it kept the target.
    found = decide([with_waits(FP16, 1.5), with_waits(candidate("kv8", 0, 500), 0.5)], RULE)
    assert found.variant == "kv8"
    assert [one.eligible for one in found.judged] == [False, True]
    (remark,) = map(english, found.remarks)
    assert remark.startswith("fp16 itself misses the service target at 64 requests at a time: p90")


def test_where_none_keeps_it_fp16_ships_for_now_and_says_so() -> None:
    unsettled = with_waits(candidate("w4kv8", 30, 500), 0.5)
    found = decide([with_waits(FP16, 1.5, 0.07), small(1.31), unsettled], RULE)
    assert found.variant == "fp16"
    assert [one.eligible for one in found.judged] == [True, False, False]
    assert english(found.sentence) == (
        "Ship fp16 for now: no variant that is shown to lose at most 2 points keeps the service "
        "target, nor does fp16 itself."
    )
    missed, settle = map(english, found.remarks)
    assert "1.5 s (target 1 s), p90 of the time between outputs 0.07 s (target 0.05 s)" in missed
    assert settle.startswith("w4kv8 would be preferred")  # it keeps the target


def test_to_settle_a_variant_that_is_too_slow_is_not_advised() -> None:
    unsettled = with_waits(candidate("w4kv8", 30, 50), 9.0)
    found = decide([with_waits(FP16, 0.5), unsettled], RULE)
    assert found.variant == "fp16" and "w4kv8" not in english(found.sentence)


def test_decision_as_json_keeps_what_became_of_the_target() -> None:
    made = [with_waits(FP16, 0.5), small(1.31)]
    _, w4 = json.loads(json.dumps(decide(made, RULE).to_json()))["verdicts"]
    assert (w4["eligible"], w4["outcome"], w4["target"]["kept"]) == (False, "within", False)
    assert w4["target"]["promises"][0] == {
        "key": "first_token_p90_s", "limit": 1.0, "measured": 1.31, "kept": False
    }  # fmt: skip
    assert decide([FP16, candidate("w4", 0, 1)]).to_json()["verdicts"][1]["target"] is None
