"""How an update is cut into micro batches, and what is said where it cannot be."""

import json
import sys
from types import SimpleNamespace

import pytest

from butler.chat_template import ChatTemplate
from butler.errors import ButlerError
from butler.settings.overlays import read_overlays
from butler.settings.training_stage import TrainSettings
from butler.xtuner.memory import (
    GIB,
    BatchPlan,
    DecoderShape,
    estimate,
    free_memory,
    make_plan,
)
from render_training import render, schedule
from workflow_state import ROOT

INTERNLM2_7B = DecoderShape(32, 4096, 14336, 32, 8, 128, 92544, fused_qkv=True, lora_on_head=True)
H200, CARD_80, CARD_24 = 139 * GIB, 79 * GIB, int(23.5 * GIB)


def seven_b(**changed):
    overlay = read_overlays("config/internlm2_chat_7b.yaml", [ROOT])
    return TrainSettings.check(overlay["train"] | changed)


def test_the_shape_of_the_7b_is_read_from_its_config(tmp_path):
    config = {
        "architectures": ["InternLM2ForCausalLM"],
        "num_hidden_layers": 32,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 92544,
    }
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert DecoderShape.read(tmp_path) == INTERNLM2_7B
    # What InternLM2-7B's model card says: 7.7 billion with embeddings and head.
    embeddings = 2 * 92544 * 4096
    assert 7.7e9 < INTERNLM2_7B.linear_parameters + embeddings < 7.8e9
    assert 3.1e10 < INTERNLM2_7B.flops(64, 2048) < 3.5e10
    del config["vocab_size"]
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ButlerError, match="config.json has no 'vocab_size'"):
        DecoderShape.read(tmp_path)


def test_the_demo_on_a_cpu_trains_as_it_always_did():
    train = TrainSettings()
    plan = make_plan(train, INTERNLM2_7B, on_gpu=False)
    assert (plan.kernels, plan.micro_batch, plan.accumulation) == ("stock", 1, 2)
    assert plan.recompute_layers == 0
    assert schedule(train, plan) == {
        "max_iters": 320,
        "warmup_iters": 8,
        "checkpoint_iters": 100,
        "log_iters": 10,
    }


def test_more_memory_gives_larger_micro_batches_before_recomputation():
    plans = [make_plan(seven_b(), INTERNLM2_7B, True, free) for free in (H200, CARD_80, CARD_24)]
    assert [plan.recompute_layers for plan in plans[:2]] == [0, 0]
    assert plans[0].micro_batch > plans[1].micro_batch >= 2
    assert plans[2].micro_batch == 1
    for plan, free in zip(plans, (H200, CARD_80, CARD_24), strict=True):
        assert plan.micro_batch * plan.accumulation == 16
        assert plan.needed <= free
        assert plan.tokens == plan.micro_batch * 2048


def test_a_24_gb_card_recomputes_only_what_it_must():
    plan = make_plan(seven_b(), INTERNLM2_7B, True, int(16 * GIB))
    assert plan.micro_batch == 1 and 0 < plan.recompute_layers < 32
    one_less = estimate(INTERNLM2_7B, seven_b(), 1, plan.recompute_layers - 1)
    assert plan.needed <= 16 * GIB < one_less


def test_free_memory_is_that_of_the_fullest_gpu_shown_and_asked_of_the_driver(monkeypatch):
    asked = []

    class Driver:
        NVMLError = RuntimeError
        nvmlInit = staticmethod(lambda: None)
        nvmlDeviceGetHandleByIndex = staticmethod(lambda index: index)

        @staticmethod
        def nvmlDeviceGetMemoryInfo(handle):
            asked.append(handle)
            return SimpleNamespace(free=(90, 50, 10, 70)[handle] * GIB)

    monkeypatch.setitem(sys.modules, "pynvml", Driver)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1,2")
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    assert free_memory(2) == 50 * GIB
    assert asked == [3, 1]


def test_too_little_memory_is_one_sentence_with_the_numbers():
    with pytest.raises(ButlerError, match=r"needs \d+\.\d GiB .* but 8\.0 GiB are free") as caught:
        make_plan(seven_b(), INTERNLM2_7B, True, 8 * GIB)
    assert "32 of 32 layers recomputed" in str(caught.value)


def test_settings_by_hand_are_taken_as_they_are():
    by_hand = seven_b(micro_batch=8, activation_checkpointing=False)
    plan = make_plan(by_hand, INTERNLM2_7B, True, 8 * GIB)
    assert (plan.micro_batch, plan.recompute_layers, plan.needed) == (8, 0, 0)
    full = make_plan(seven_b(activation_checkpointing=True), INTERNLM2_7B, True, CARD_80)
    assert full.recompute_layers == 32 and full.micro_batch == 8


def test_stock_kernels_on_a_gpu_are_xtuners_own_settings():
    plan = make_plan(seven_b(kernels="stock"), INTERNLM2_7B, True, H200)
    assert (plan.kernels, plan.micro_batch, plan.accumulation) == ("stock", 1, 16)
    assert plan.recompute_layers == 32


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"processes": 3}, "train.batch_size 16 cannot be shared by 3 processes"),
        ({"processes": 2, "nodes": 3}, "train.batch_size 16 cannot be shared by 6 processes"),
        ({"micro_batch": 3}, "train.micro_batch 3 does not divide the 16 packs"),
        ({"micro_batch": 16, "processes": 2}, "does not divide the 8 packs"),
    ],
)
def test_packs_that_cannot_be_shared_out_are_named(changed, sentence):
    with pytest.raises(ButlerError, match=sentence):
        seven_b(**changed)


def test_processes_share_an_update():
    plan = make_plan(seven_b(processes=2), INTERNLM2_7B, True, H200)
    assert plan.micro_batch * plan.accumulation * 2 == 16
    assert plan.tokens == plan.micro_batch * 2 * 2048


@pytest.mark.parametrize("kernels", ["auto", "stock"])
def test_the_configuration_says_what_was_planned(kernels, tmp_path):
    train = seven_b(kernels=kernels)
    plan = make_plan(train, INTERNLM2_7B, True, H200)
    plan.write(tmp_path / "plan.json")
    assert BatchPlan.load(tmp_path / "plan.json") == plan
    template = ChatTemplate.load("internlm2_chat")
    text = render(train, plan, template, "cuda", "base", "train.jsonl", 42, remote_code=True)
    compile(text, "config.py", "exec")
    fast = kernels == "auto"
    assert ("type=FastSupervisedFinetune" in text) == fast
    assert ("type=AmpOptimWrapper" in text) != fast
    assert f"accumulative_counts={plan.accumulation}" in text
    assert ("recompute_layers=0" in text) == fast
    assert ("use_activation_checkpointing=True" in text) != fast
