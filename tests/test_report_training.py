"""What the report says of a training: held-out answers, what merging changed, and its curves."""

import pandas as pd
import pytest

from butler.checks import conclude
from butler.report_sections.training_charts import (
    MOST_POINTS,
    HeldOutLoss,
    loss_curve,
    training_charts,
)
from report_stages import make_stages, run

FOUND = {
    "conversations": 64, "tokens": 9876, "nll_base": 2.876, "nll_base_adapter": 2.7411,
    "nll_merged": 2.741, "nll_nf4_adapter": 2.7318, "change": -0.135, "change_se": 0.011,
    "merge_shift": -0.0001, "merge_shift_se": 0.0002, "nf4_shift": 0.0092,
    "nf4_shift_se": 0.0021,
}  # fmt: skip


@pytest.mark.parametrize(
    ("measured", "said", "unsaid"),
    [
        ({}, "has a price: 2.7318 as trained, 2.7410 merged (+0.0092, standard", "No price"),
        ({"nf4_shift": 0.0041}, "No price can be told of training on an NF4 base", "Remark:"),
        ({"merge_shift": 0.01}, "rounding to fp16 in the merge has a price", "No price"),
    ],
)
def test_the_nf4_shift_is_shown_and_remarked_beyond_noise(tmp_path, measured, said, unsaid):
    stages = make_stages(tmp_path)
    path = stages / "training.json"
    limits = {"change + change_se": 0.0}
    conclude(path, "training", True, "it fell", FOUND | measured, limits)
    assert run(stages, checks=str(path)).returncode == 0
    page = (stages / "out" / "report.html").read_text(encoding="utf-8")
    assert "fell from the base&#39;s 2.876 to 2.741 merged (-0.135, standard error 0.011)" in page
    assert said in page and unsaid not in page
    assert "64 conversations that were not trained on, 9,876 tokens" in page
    assert "NF4 base + adapter, as trained" in page and "2.7318" in page


def test_what_was_logged_is_drawn_and_nothing_else():
    log = pd.DataFrame({
        "step": [5, 10, 15], "loss": [3.0, 2.5, 2.25], "learning_rate": [1e-7, 2e-3, 1e-3],
        "tokens_per_second": [None, 800.0, 810.0], "gradient_norm": [None, None, None],
    })  # fmt: skip
    drawn = training_charts(log, HeldOutLoss(base=3.2, merged=2.1))
    assert list(drawn) == ["loss", "learning_rate", "tokens_per_second"]
    rates = drawn["learning_rate"]["en"]["data"]["values"]
    assert [one["learning_rate"] for one in rates] == [1e-7, 2e-3, 1e-3]
    speeds = drawn["tokens_per_second"]["en"]["data"]["values"]
    assert [one["step"] for one in speeds] == [10, 15], "a point without a value is left out"
    diamonds = drawn["loss"]["en"]["layer"][-1]["data"]["values"]
    assert [(one["step"], one["loss"]) for one in diamonds] == [(0, 3.2), (15, 2.1)]
    assert "data" not in training_charts(log)["loss"]["en"]["layer"][-1]


def test_a_long_loss_curve_is_thinned_out():
    table = pd.DataFrame({"step": range(1, 10_001), "loss": [2.0] * 10_000})
    values = loss_curve(table)["en"]["data"]["values"]
    assert 300 <= len(values) <= MOST_POINTS and values[0]["step"] == 1
