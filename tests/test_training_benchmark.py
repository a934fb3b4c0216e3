"""What the training benchmark trains: bases of the real sizes, by their overlays' settings."""

import json
import subprocess
import sys

import pytest

from butler.families import TRAINERS
from real_tools import ENVIRONMENTS, python_of
from workflow_state import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

from random_bases import BASES, Shape, chat_template, shape_options
from training_runs import settings

# Billions of parameters, embeddings included, as the models' cards have them.
PUBLISHED = {
    "internlm2_chat_7b": 7.74,
    "internlm2_5_chat_7b": 7.74,
    "internlm3_8b": 8.80,
    "llama3_1_8b": 8.03,
    "qwen2_5_7b": 7.62,
    "qwen3_8b": 8.19,
}
TOY = Shape(hidden=256, layers=2, heads=2, kv_heads=1, intermediate=512, vocab=512)
LOAD = """
import json, sys
from transformers import AutoModelForCausalLM
_, found = AutoModelForCausalLM.from_pretrained(
    sys.argv[1], trust_remote_code=True, output_loading_info=True
)
print(json.dumps({name: len(tensors) for name, tensors in found.items()}))
"""


@pytest.mark.parametrize("base", BASES)
def test_a_base_has_the_size_of_the_real_one(base):
    shape = BASES[base].shape
    found = (shape.parameters() + shape.vocab * shape.hidden) / 1e9
    assert found == pytest.approx(PUBLISHED[base], abs=0.01)


@pytest.mark.parametrize("base", BASES)
def test_a_base_is_trained_by_its_overlay(base):
    train = settings(base, max_steps=3)
    assert (train.max_length, train.max_steps, train.log_interval) == (2048, 3, 1)
    assert chat_template(base).name in BASES[base].family.templates


@pytest.mark.e2e
@pytest.mark.skipif(
    not all((ENVIRONMENTS / trainer).exists() for trainer in TRAINERS),
    reason="an environment that trains is not built",
)
@pytest.mark.parametrize("base", BASES)
def test_a_random_base_has_the_tensors_that_its_code_asks_for(base, tmp_path):
    python = python_of(BASES[base].family.trainer)
    make = [python, ROOT / "benchmarks" / "random_model.py", "--base", base, "--out"]
    done = subprocess.run(
        [*make, tmp_path / "model", *shape_options(TOY)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    done = subprocess.run([python, "-c", LOAD, tmp_path / "model"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert not any(json.loads(done.stdout.splitlines()[-1]).values()), done.stdout
