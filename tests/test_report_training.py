"""What the report says of the training's check: held-out answers, and what merging changed."""

import pytest

from butler.checks import conclude
from test_report import make_stages, run

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
