"""The fast path computes what peft and the models' own code compute, on a CPU in fp32.

bitsandbytes, peft, XTuner and the base's code are in XTuner's environment, so its Python runs the
comparison in fast_path_check.py; what it found is judged here.
"""

import json
import subprocess

import pytest

from real_tools import ENVIRONMENTS, python_of
from workflow_state import ROOT

FP32 = 2e-5

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        not (ENVIRONMENTS / "xtuner").exists(), reason="the XTuner environment is not built"
    ),
]


@pytest.fixture(scope="module")
def found():
    done = subprocess.run(
        [python_of("xtuner"), str(ROOT / "tests" / "fast_path_check.py")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("layer", ["nf4", "plain", "biased"])
@pytest.mark.parametrize("dropout", ["0.0", "0.5"])
def test_the_fused_layer_is_pefts_layer(found, layer, dropout):
    apart = found["layers"][f"{layer} {dropout}"]
    assert set(apart) == {"y", "dx", "dA", "dB"}
    assert max(apart.values()) < FP32, apart


def test_without_a_gradient_for_the_input_none_is_made(found):
    assert found["first_layer_has_no_dx"]


@pytest.mark.parametrize("family", ["internlm2", "llama", "internlm", "qwen2"])
def test_a_whole_model_has_the_loss_and_gradients_of_the_stock_one(found, family):
    model = found["models"][family]
    assert model["same_names"]
    assert model["replaced"]["lora"] and model["replaced"]["attention"]
    assert model["loss"] < FP32 and model["gradient"] < 1e-4, model
    assert model["recomputed_gradient"] < 1e-4, model


def test_each_pack_weighs_the_same_whatever_the_micro_batch(found):
    together, apart = found["two_packs"]
    assert together == pytest.approx(apart, rel=1e-5)
