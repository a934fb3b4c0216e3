"""The fast path computes what peft and the models' own code compute, on a CPU in fp32.

bitsandbytes, peft, XTuner and the base's code are in XTuner's environment, so its Python runs the
comparison in fast_path_check.py; what it found is judged here.
"""

import json
import subprocess

import pytest

from butler.families import TRAINERS
from real_tools import ENVIRONMENTS, python_of
from toys import TOYS
from workflow_state import ROOT

FP32 = 2e-5

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        not all((ENVIRONMENTS / trainer).exists() for trainer in TRAINERS),
        reason="an environment that trains is not built",
    ),
]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What each trainer's Python finds of its toys; the layers are those of the usual one."""
    scratch, models, layers = tmp_path_factory.mktemp("toys"), {}, {}
    for trainer in sorted(TRAINERS, reverse=True):
        own = [
            f"{name}={toy.base(scratch / name)}"
            for name, toy in TOYS.items()
            if toy.trainer == trainer
        ]
        command = [python_of(trainer), str(ROOT / "tests" / "fast_path_check.py"), *own]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        layers = json.loads(done.stdout.splitlines()[-1])
        models |= layers["models"]
    return layers | {"models": models}


@pytest.mark.parametrize("layer", ["nf4", "plain", "biased"])
@pytest.mark.parametrize("dropout", ["0.0", "0.5"])
def test_the_fused_layer_is_pefts_layer(found, layer, dropout):
    apart = found["layers"][f"{layer} {dropout}"]
    assert set(apart) == {"y", "dx", "dA", "dB"}
    assert max(apart.values()) < FP32, apart


def test_without_a_gradient_for_the_input_none_is_made(found):
    assert found["first_layer_has_no_dx"]


@pytest.mark.parametrize("toy", TOYS)
def test_a_whole_model_has_the_loss_and_gradients_of_the_stock_one(found, toy):
    model = found["models"][toy]
    assert model["same_names"]
    assert model["replaced"]["lora"] and model["replaced"]["attention"]
    assert model["attended"] == model["replaced"]["attention"], "the stock forward was called"
    assert model["loss"] < FP32 and model["gradient"] < 1e-4, model
    assert model["recomputed_gradient"] < 1e-4, model


def test_each_pack_weighs_the_same_whatever_the_micro_batch(found):
    together, apart = found["two_packs"]
    assert together == pytest.approx(apart, rel=1e-5)
