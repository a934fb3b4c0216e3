"""The fast path's kernels compute what plain torch computes, outputs and gradients.

XTuner's Python runs kernels_check.py. On a GPU these are Liger's kernels and cuDNN's attention;
the end-to-end run on a CPU shows that the comparison itself holds.
"""

import json
import subprocess
from pathlib import Path

import pytest

from real_tools import ENVIRONMENTS, python_of
from workflow_state import ROOT

pytestmark = pytest.mark.skipif(
    not (ENVIRONMENTS / "xtuner").exists(), reason="the XTuner environment is not built"
)
NO_GPU = pytest.mark.skipif(not Path("/dev/nvidia0").exists(), reason="no NVIDIA GPU here")
DEVICES = [
    pytest.param("cuda", marks=[pytest.mark.gpu, NO_GPU]),
    pytest.param("cpu", marks=pytest.mark.e2e),
]
KERNELS = ["rms_norm", "norm_of_heads", "silu_mul", "rope", "attention", "token_losses"]


@pytest.fixture(scope="module", params=DEVICES)
def found(request):
    done = subprocess.run(
        [python_of("xtuner"), str(ROOT / "tests" / "kernels_check.py"), request.param],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_is_as_near_to_fp32_as_plain_bf16_is(found, name):
    apart = found[name]
    assert 0 < apart["plain"] < 0.02, "the comparison itself is off"
    assert apart["kernel"] < 1.5 * apart["plain"], apart


def test_a_small_lora_product_is_not_rounded_away(found):
    # Two products in bf16, added, keep a tenth of it.
    assert found["lora_share"] == pytest.approx(1, abs=0.2)
