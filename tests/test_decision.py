"""The rule that picks a variant, and the intervals it reports."""

import json

import pytest

from butler import decision
from butler.decision import Candidate, Change, Decision
from butler.errors import ButlerError
from butler.intervals import mcnemar, paired_change
from butler.settings.judging_stage import DecisionSettings
from butler.texts import Phrase, say

RULE = DecisionSettings(max_loss=2.0, prefer="memory", tokens=1000)
LABELS = {"ceval": "C-Eval", "recipe": "recipes"}


def decide(
    rule: DecisionSettings, candidates: list[Candidate], known: tuple[Phrase, ...] = ()
) -> Decision:
    return decision.decide(rule, candidates, LABELS, known)


def caveats(scores: dict[str, float], since_base: dict[str, Change]) -> list[Phrase]:
    return decision.caveats(scores, since_base, LABELS)


def english(text: object) -> str:
    return say(text, "en")


def candidate(name: str, points: float, memory: float, speed: float = 100.0) -> Candidate:
    return Candidate(name, {"ceval": Change(points, points - 1, points + 1)}, memory, speed)


FP16 = Candidate("fp16", {"ceval": Change(0.0)}, 400.0, 100.0)


def test_smallest_within_the_limit_is_chosen() -> None:
    found = decide(RULE, [FP16, candidate("w4", -1.5, 200), candidate("w4kv8", -3.0, 100)])
    assert found.variant == "w4"
    eligible = {verdict.variant: verdict.eligible for verdict in found.verdicts}
    assert eligible == {"fp16": True, "w4": True, "w4kv8": False}
    assert "50% of fp16's memory" in english(found.sentence)
    assert "内存为 fp16 的 50%" in say(found.sentence, "zh")
    assert "loses 3.00 on C-Eval; the limit is 2" in english(found.verdicts[2].reason)


def test_a_loss_of_just_the_limit_is_allowed() -> None:
    # 40 of 50 against 41 of 50 right is a loss of 2 points but for rounding
    loss = 100 * 40 / 50 - 100 * 41 / 50
    assert decide(RULE, [FP16, candidate("w4", loss, 200)]).variant == "w4"


def test_speed_may_be_preferred() -> None:
    rule = DecisionSettings(max_loss=2.0, prefer="speed", tokens=1000)
    found = decide(rule, [FP16, candidate("kv8", 0, 100, 90), candidate("w4", 0, 200, 300)])
    assert found.variant == "w4"
    assert "100.0 tokens/s against 300.0 tokens/s" in english(found.verdicts[0].reason)


def test_one_lossy_benchmark_is_enough_to_be_refused() -> None:
    base = Candidate("fp16", {"ceval": Change(0.0), "recipe": Change(0.0)}, 400, 100)
    w4 = Candidate("w4", {"ceval": Change(5.0), "recipe": Change(-2.5)}, 100, 100)
    assert decide(RULE, [base, w4]).variant == "fp16"


def test_all_too_lossy_gives_fp16_and_says_so() -> None:
    found = decide(RULE, [FP16, candidate("kv8", -9, 100), candidate("w4", -3, 50)])
    assert found.variant == "fp16"
    assert "every other variant loses more than 2 points" in english(found.sentence)


def test_fp16_wins_where_nothing_is_better() -> None:
    found = decide(RULE, [FP16, candidate("w4", 0.0, 500)])
    assert found.variant == "fp16"
    assert "no other variant within the limit of 2 points is better" in english(found.sentence)


def test_tie_in_memory_goes_to_speed_then_to_the_smaller_loss_then_to_order() -> None:
    tied = [candidate("a", -1, 100, 50), candidate("b", -1, 100, 60)]
    assert decide(RULE, [FP16, *tied]).variant == "b"
    tied = [candidate("a", -1, 100, 50), candidate("b", -0.5, 100, 50)]
    assert decide(RULE, [FP16, *tied]).variant == "b"
    tied = [candidate("a", -1, 100, 50), candidate("b", -1, 100, 50)]
    assert decide(RULE, [FP16, *tied]).variant == "a"


def test_difference_within_noise_is_said() -> None:
    found = decide(RULE, [FP16, candidate("w4", -0.5, 200)])
    assert "All differences" in english(found.remarks[0])
    assert "噪声之内" in say(found.remarks[0], "zh")
    clear = Candidate("w4", {"ceval": Change(-1.5, -1.9, -1.1)}, 200, 100)
    assert decide(RULE, [FP16, clear]).remarks == []


def test_noise_of_the_chosen_alone_names_the_benchmark() -> None:
    clear = Candidate("w4kv8", {"ceval": Change(-5.0, -6.0, -4.0)}, 100, 100)
    found = decide(RULE, [FP16, candidate("w4", -0.5, 200), clear])
    assert "w4 against fp16 on C-Eval is within noise" in english(found.remarks[0])


def test_where_no_interval_can_be_given_nothing_is_called_noise() -> None:
    lost = paired_change({"recipe": [0.0]}, {"recipe": [100.0]})
    assert lost.low is None and lost.within_noise is None
    found = decide(RULE, [FP16, Candidate("w4", {"ceval": lost}, 200, 100)])
    (remark,) = found.remarks
    assert "C-Eval" in english(remark) and "no 95 % interval can be given" in english(remark)
    assert "95 % 区间" in say(remark, "zh")
    assert found.to_json()["verdicts"][1]["changes"]["ceval"]["within_noise"] is None
    assert caveats({"ceval": 50.0}, {"ceval": lost}) == []  # nor is it called forgetting


def test_interval_across_the_limit_is_said() -> None:
    found = decide(RULE, [FP16, candidate("w4", -1.5, 200), candidate("w4kv8", -2.5, 100)])
    last = english(found.remarks[-1])
    assert "w4 on C-Eval (-2.5 to -0.5), w4kv8 on C-Eval (-3.5 to -1.5)" in last
    assert "fp16" not in last


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        ([candidate("w4", 0, 1)], "no results of fp16"),
        ([FP16, FP16], "comes twice"),
        ([FP16, Candidate("w4", {}, 1, 1)], "variant w4 has no result of ceval"),
        ([Candidate("fp16", {}, 1, 1)], "no benchmark was run"),
    ],
)
def test_missing_results_are_one_sentence(candidates: list[Candidate], message: str) -> None:
    with pytest.raises(ButlerError, match=message):
        decide(RULE, candidates)


def test_unknown_preference_is_refused() -> None:
    with pytest.raises(ButlerError, match="'prefer' takes one of memory, speed"):
        DecisionSettings.from_argument('{"prefer": "beauty"}', "--rule")


def test_a_limit_that_is_no_number_is_refused() -> None:
    with pytest.raises(ButlerError, match="--rule: key 'max_loss' takes number, found nan"):
        DecisionSettings.from_argument('{"max_loss": NaN}', "--rule")
    with pytest.raises(ButlerError, match="--rule: key 'max_loss' takes at least 0"):
        DecisionSettings.from_argument('{"max_loss": -1}', "--rule")
    with pytest.raises(ButlerError, match="--rule: key 'tokens' takes at least 1"):
        DecisionSettings.from_argument('{"tokens": 0}', "--rule")


def test_decision_as_json_keeps_rule_reasons_and_intervals() -> None:
    record = json.loads(json.dumps(decide(RULE, [FP16, candidate("w4", -1, 200)]).to_json()))
    assert record["variant"] == "w4"
    assert record["rule"]["max_loss"] == 2.0
    assert "1,000 tokens" in record["rule"]["text"]
    assert (
        "16,384" not in record["rule"]["text_zh"] and "1,000 个 token" in record["rule"]["text_zh"]
    )
    assert record["verdicts"][1]["reason_zh"].startswith("选中")
    change = record["verdicts"][1]["changes"]["ceval"]
    assert change["within_noise"] is True
    assert {name: change[name] for name in ("points", "low", "high")} == {
        "points": -1, "low": -2, "high": 0
    }  # fmt: skip


def test_mcnemar_by_hand() -> None:
    # 5 lost and 1 gained: two tails of Binomial(6, 1/2) from 5 on: 2·(6 + 1)/64
    baseline = {"law": [100.0] * 5 + [0.0], "tax": [100.0, 0.0]}
    variant = {"law": [0.0] * 5 + [100.0], "tax": [100.0, 0.0]}
    found = mcnemar(variant, baseline)
    assert (found["lost"], found["gained"]) == (5, 1)
    assert found["p"] == pytest.approx(14 / 64)
    change = paired_change(variant, baseline)
    assert (change.lost, change.gained, change.p) == (5, 1, found["p"])


def test_mcnemar_where_nothing_changed_and_where_scores_are_not_right_or_wrong() -> None:
    assert mcnemar({"law": [100.0, 0.0]}, {"law": [100.0, 0.0]})["p"] == 1
    assert mcnemar({"recipe": [50.0, 0.0]}, {"recipe": [100.0, 0.0]}) == {}
    assert paired_change({"r": [50.0, 0.0]}, {"r": [100.0, 0.0]}).p is None


def test_paired_change_is_the_mean_over_data_sets() -> None:
    # law loses one of two (−50), tax none of four (0): mean −25, not 1 of 6
    baseline = {"law": [100.0, 100.0], "tax": [0.0, 0.0, 100.0, 100.0]}
    variant = {"law": [100.0, 0.0], "tax": [0.0, 0.0, 100.0, 100.0]}
    change = paired_change(variant, baseline)
    assert change.points == pytest.approx(-25)
    # resampling law gives −100, −50 or 0, halved by tax
    assert (change.low, change.high) == (-50, 0)
    assert change.within_noise


def test_interval_of_a_clear_loss_excludes_zero_and_narrows_with_more_questions() -> None:
    few = paired_change({"r": [0.0] * 6 + [100.0] * 14}, {"r": [100.0] * 20})
    many = paired_change({"r": ([0.0] * 6 + [100.0] * 14) * 10}, {"r": [100.0] * 200})
    assert few.points == many.points == pytest.approx(-30)
    assert not many.within_noise
    assert many.low is not None and few.low is not None and many.low > few.low
    # normal approximation: 1.96·sqrt(0.3·0.7/200) = 6.35 points
    assert many.low == pytest.approx(-36.35, abs=1.0)


def test_equal_answers_leave_no_interval_and_pairing_counts() -> None:
    scores = {"r": [0.0, 100.0, 50.0]}
    same = paired_change(scores, scores)
    assert (same.points, same.low, same.high) == (0, 0, 0)


def test_one_question_has_no_interval() -> None:
    change = paired_change({"r": [0.0]}, {"r": [100.0]})
    assert change.points == -100 and change.low is None


def test_different_questions_cannot_be_paired() -> None:
    with pytest.raises(ButlerError, match="same questions"):
        paired_change({"r": [0.0]}, {"r": [0.0, 1.0]})


def test_a_fine_tuned_model_that_scores_nothing_or_forgot_is_said_first():
    found = caveats({"ceval": 40.0, "recipe": 0.0}, {"ceval": Change(-12.0, -15.0, -9.0)})
    assert english(found[0]).startswith("fp16 itself scores 0 on recipes")
    assert english(found[1]).startswith("Fine-tuning cost 12.00 points on C-Eval")
    assert caveats({"ceval": 40.0}, {"ceval": Change(-1.0, -3.0, 1.0)}) == []
    made = decide(RULE, [FP16, candidate("w4", 0.0, 200)], found)
    assert list(made.remarks)[:2] == found


def test_a_run_of_the_baseline_alone_ships_it_and_blames_no_other() -> None:
    alone = Candidate("fp16", {"ceval": Change(0.0), "recipe": Change(0.0)}, 400.0, 100.0)
    found = decide(RULE, [alone])
    assert found.variant == "fp16" and found.remarks == []
    assert english(found.sentence) == "Ship fp16: this run has no other variant."
    assert "只有这一个变体" in say(found.sentence, "zh")


def test_of_six_variants_and_three_benchmarks_the_smallest_within_the_limit_is_chosen() -> None:
    labels = {"gsm8k-0.1": "Sums", "qa.en": "Cooking & more", "recipe": "recipes"}
    memory = {"fp16": 400, "kv8": 300, "kv4": 250, "w4": 200, "w4kv8": 150, "w4kv4": 100}
    worst = {"w4kv4": -2.5, "w4kv8": -1.5}
    made = [
        Candidate(
            name,
            {one: Change(0.0 if place < 2 else worst.get(name, 0.0)) for place, one in
             enumerate(labels)},
            size,
            100.0,
        )
        for name, size in memory.items()
    ]  # fmt: skip
    found = decision.decide(RULE, made, labels)
    assert found.variant == "w4kv8"
    assert "-1.50 points on recipes" in english(found.sentence)
    assert "+0.00 points on Cooking & more" in english(found.sentence)
    refused = [verdict.variant for verdict in found.verdicts if not verdict.eligible]
    assert refused == ["w4kv4"]
    assert set(found.to_json()["verdicts"][5]["changes"]) == set(labels)
