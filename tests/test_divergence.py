"""How far a variant is from fp16: the figures, TurboMind's kept distributions, and the stage."""

import csv
import json
import sys
from pathlib import Path

import pytest
from scipy.stats import t

torch = pytest.importorskip("torch")

import divergence
from butler.divergence import (
    FEWEST,
    AnswerDivergence,
    HeldOutAnswer,
    answers_differ,
    cut_answers,
    figures,
    student_t,
)
from butler.errors import ButlerError
from butler.held_out import LONGEST
from butler.lmdeploy import engine_divergence
from butler.manifest import write_manifest
from real_tools import read_json
from tiny_workspace import Tiny


def answer(divergences: list[float], change: float, same: list[bool]) -> AnswerDivergence:
    before = [1.0] * len(same)
    return AnswerDivergence(divergences, before, [one + change for one in before], same)


def test_figures_by_hand_of_answers_of_unlike_length() -> None:
    long, short = answer([0.1, 0.3, 0.2], 0.4, [True, True, False]), answer([0.6], 0.0, [True])
    found = figures([long, short] * 3)
    assert (found["conversations"], found["tokens"]) == (6, 12)
    # (0.1 + 0.3 + 0.2 + 0.6) / 4; the median of 0.1, 0.2, 0.3, 0.6 is 0.25.
    assert (found["kl_mean"], found["kl_p50"]) == pytest.approx((0.3, 0.25))
    assert found["kl_max"] == pytest.approx(0.6)
    assert found["same_top"] == pytest.approx(75)
    assert (found["nll_baseline"], found["nll_variant"]) == pytest.approx((1.0, 1.3))
    assert found["nll_change"] == pytest.approx(0.3)
    # Deviations from 0.3 times tokens: 3 · 0.1 and 1 · −0.3, so √(6 · 0.09 · 6/5) / 12.
    assert found["nll_change_se"] == pytest.approx(0.648**0.5 / 12)
    # Means 0.2 and 0.6 around 0.3: −0.3 and 0.3, the same error; t of 5 degrees is 2.57.
    reach = 2.5706 * 0.648**0.5 / 12
    bounds = found["kl_mean_low"], found["kl_mean_high"]
    assert bounds == pytest.approx((0.3 - reach, 0.3 + reach), rel=0.02)


def test_of_a_few_answers_no_spread_is_told() -> None:
    found = figures([answer([0.1], 0.0, [True])] * (FEWEST - 1))
    assert found["kl_mean"] == pytest.approx(0.1)
    assert not [name for name in found if name.endswith(("_low", "_high", "_se"))]


def test_bounds_stay_where_a_figure_can_be() -> None:
    found = figures([answer([0.0], 0.0, [True])] * 9 + [answer([9.0], 0.0, [False])])
    assert found["kl_mean_low"] == 0 and found["same_top_high"] == 100


def test_students_t_is_scipys() -> None:
    for freedom in (5, 7, 39, 400):
        assert student_t(0.975, freedom) == pytest.approx(t.ppf(0.975, freedom), rel=0.01)


@pytest.mark.parametrize(
    ("baseline", "divergence", "rise", "far"),
    [
        (0.5, 0.024, 0.024, False),
        (0.5, 0.026, 0.0, True),
        (0.5, 0.0, 0.026, True),
        (0.5, 0.0, -0.3, False),  # likelier is no harm
        (0.02, 0.009, 0.009, False),  # of what is nearly certain 5 % are nothing
        (3.0, 0.11, 0.0, True),  # whatever else the baseline does not know
    ],
)
def test_a_variant_is_far_by_the_share_of_what_the_baseline_does_not_know(
    baseline: float, divergence: float, rise: float, far: bool
) -> None:
    measured = {"nll_baseline": baseline, "kl_mean": divergence, "nll_change": rise}
    assert answers_differ(measured) == far


def test_answers_are_cut_where_a_session_ends_and_left_out_where_none_fits() -> None:
    prompts = [[1] * 3, [1] * 10, [1] * (LONGEST - 1)]
    answers = [[2] * 4, [2], [2] * 9]
    assert cut_answers(prompts, answers, 5) == [HeldOutAnswer([1, 1, 1, 2, 2], 3)]
    found = cut_answers(prompts, answers, 10 * LONGEST)
    assert [sum(one.counted) for one in found] == [4, 1, 1]


@pytest.mark.parametrize("precision", [torch.float16, torch.float32])
def test_kept_distributions_give_the_divergence_of_the_logits(
    tmp_path: Path, precision: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_divergence, "LOGITS", 1500)  # parts of one or two rows
    generator = torch.Generator().manual_seed(0)
    before = (4 * torch.randn(7, 700, generator=generator)).to(precision)
    after = before + (0.2 * torch.randn(7, 700, generator=generator)).to(precision)
    before[:, 5], after[:, 5] = -torch.inf, -torch.inf  # a token that can never come
    wanted = list(range(10, 17))
    engine_divergence.keep(tmp_path / "0.npz", before, wanted)
    found = engine_divergence.compare(tmp_path / "0.npz", after, wanted)
    log_p, log_q = (x.double().log_softmax(-1) for x in (before, after))
    kl = torch.nan_to_num(log_p.exp() * (log_p - log_q)).sum(-1)
    assert found.divergences == pytest.approx(kl.tolist(), rel=1e-2)
    assert found.baseline == pytest.approx((-log_p[range(7), wanted]).tolist(), abs=1e-5)
    assert found.variant == pytest.approx((-log_q[range(7), wanted]).tolist(), abs=1e-5)
    assert found.same == (log_p.argmax(-1) == log_q.argmax(-1)).tolist()
    again = engine_divergence.compare(tmp_path / "0.npz", before, wanted)
    assert max(again.divergences) < 1e-6 and all(again.same)


def test_a_divergence_by_hand(tmp_path: Path) -> None:
    p, q = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.75, 0.25]]).log()
    engine_divergence.keep(tmp_path / "0.npz", p, [1])
    found = engine_divergence.compare(tmp_path / "0.npz", q, [1])
    assert found.divergences == pytest.approx([0.1438], abs=1e-3)
    assert [*found.baseline, *found.variant] == pytest.approx([0.6931, 1.3863], abs=1e-4)


def test_no_more_distributions_are_kept_than_the_disk_is_asked_for() -> None:
    answers = [HeldOutAnswer([0] * 1010, 10)] * 40  # 1,000 tokens each
    taken = engine_divergence.fitting(answers, 151_936)
    assert len(taken) == 6  # 2e9 / (2 · 151,936) = 6,581 tokens
    assert len(engine_divergence.fitting(answers, 10**7)) == 1


@pytest.fixture
def held_out(tmp_path: Path) -> Path:
    path = tmp_path / "test.jsonl"
    turns = [{"system": "s", "input": f"dish {n}", "output": "cut, fry " * n} for n in range(1, 7)]
    path.write_text("".join(json.dumps({"conversation": [turn]}) + "\n" for turn in turns))
    return path


def served(folder: Path) -> None:
    """Put beside a workspace what is on record of one that is served."""
    (folder / "lmdeploy.json").write_text('{"version": "0.7.3"}')
    (folder / "chat_template.json").write_text("{}")
    (folder / "manifest.json").unlink()
    write_manifest(folder)


def run(folder: Path, held_out: Path, baseline: str, workspace: str) -> dict[str, float]:
    """Run the script; return its table."""
    out, check = folder / "out.csv", folder / "check.json"
    words = ["--workspace", folder / workspace, "--baseline", folder / baseline]
    words += ["--variant", workspace, "--held-out", held_out, "--out", out, "--check", check]
    words += ["--chat-template", "internlm2_chat", "--threads", 1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["divergence.py", *map(str, words)])
        divergence.main()
    with out.open(encoding="utf-8") as stream:
        return {row["metric"]: float(row["value"]) for row in csv.DictReader(stream)}


def test_the_stage_measures_a_variant_and_says_what_of(tmp_path: Path, held_out: Path) -> None:
    Tiny(layers=1).build(tmp_path / "fp16", quant_policy=0)
    Tiny(layers=1).build(tmp_path / "kv4", quant_policy=4)
    for name in ("fp16", "kv4"):
        served(tmp_path / name)
    found = run(tmp_path, held_out, "fp16", "kv4")
    # "cut, fry " is 9 bytes, the tokens of this tokenizer, and each answer has its end marker.
    assert (found["conversations"], found["tokens"]) == (6, 9 * (1 + 2 + 3 + 4 + 5 + 6) + 6)
    assert 0 < found["kl_p50"] < found["kl_mean_high"] and found["kl_mean_low"] < found["kl_mean"]
    record = read_json(tmp_path / "check.json")
    assert record["check"] == "divergence_kv4" and record["passed"]
    assert set(record["manifests"]) == {str(tmp_path / name) for name in ("fp16", "kv4")}
    assert f"{found['same_top']:.2f} % of 195 places" in record["sentence"]
    itself = run(tmp_path, held_out, "fp16", "fp16")
    assert (itself["kl_max"], itself["same_top"], itself["nll_change"]) == (0, 100, 0)


def test_a_variant_of_another_vocabulary_is_told(tmp_path: Path, held_out: Path) -> None:
    Tiny(layers=1).build(tmp_path / "fp16", quant_policy=0)
    Tiny(layers=1, vocab=308).build(tmp_path / "w4", quant_policy=0)
    for name in ("fp16", "w4"):
        served(tmp_path / name)
    with pytest.raises(ButlerError, match="w4.*vocabularies of 308 and 300 tokens"):
        run(tmp_path, held_out, "fp16", "w4")
