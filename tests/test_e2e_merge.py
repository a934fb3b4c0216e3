"""Merge and likelihoods against XTuner, PEFT and bitsandbytes themselves, on tiny models."""

import json
import os
import shutil
import subprocess

import pytest

from real_tools import ENVIRONMENTS, SCRIPTS, python_of, script
from toys import TOYS
from workflow_state import ROOT

needs_xtuner = pytest.mark.skipif(
    not (ENVIRONMENTS / "xtuner").exists(), reason="the XTuner environment is not built"
)
pytestmark = [pytest.mark.e2e, needs_xtuner]


def xtuner(*arguments):
    given = {"PYTHONPATH": str(SCRIPTS), "HF_HUB_OFFLINE": "1"}
    line = [python_of("xtuner"), *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True, env=os.environ | given)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def adapter_check(*arguments):
    return xtuner(ROOT / "tests" / "adapter_check.py", *arguments)


@pytest.fixture(
    scope="module", params=["internlm2", "qwen2", pytest.param("llama3_2", marks=pytest.mark.long)]
)
def base(request, tmp_path_factory):
    """A base as its stage leaves it.

    Qwen2's has biases and no LoRA pair on its head; that of Llama 3.2 is its embedding.
    """
    return TOYS[request.param].base(tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def adapter(base):
    adapter_check("make", base, base.parent / "adapter", 0)
    return base.parent / "adapter"


@pytest.fixture(scope="module")
def merged(base, adapter):
    out = base.parent / "merged"
    done = script("xtuner", "merge.py", "--base", base, "--adapter", adapter, "--out", out)
    assert done.returncode == 0, done.stderr
    return out


def tensors(folder):
    from safetensors.torch import load_file

    return {k: v for path in folder.glob("*.safetensors") for k, v in load_file(path).items()}


def test_the_merge_is_that_of_xtuner(base, adapter, merged):
    theirs = base.parent / "theirs"
    tool = "xtuner.tools.model_converters.merge"
    xtuner("-m", tool, base, adapter, theirs, "--safe-serialization", "--device", "cpu")
    found, expected = tensors(merged), tensors(theirs)
    assert found.keys() == expected.keys()
    assert all(found[name].dtype == expected[name].dtype for name in found)
    # Two fp32 products may differ in their last bit, and fall on two sides of a rounding.
    differing = sum(int((found[name] != expected[name]).sum()) for name in found)
    assert differing <= 1e-4 * sum(value.numel() for value in found.values())
    for name in found:
        ours = found[name].float()
        assert ((ours - expected[name].float()).abs() <= 2.0**-10 * ours.abs() + 2.0**-24).all()
    carried = {"generation_config.json", "tokenizer_config.json"}
    for path in theirs.iterdir():
        if path.suffix != ".safetensors" and path.name not in carried:
            assert (merged / path.name).read_bytes() == path.read_bytes(), path.name
    for name in (*carried, "chat_template.json"):
        assert (merged / name).read_bytes() == (base / name).read_bytes()


def check(base, adapter, merged, out):
    line = ["xtuner", "check_merge.py", "--base", base, "--adapter", adapter, "--merged", merged]
    done = script(*line, "--out", out)
    return done, json.loads(out.read_text(encoding="utf-8"))


def test_the_check_passes_a_right_merge_and_finds_a_changed_scale(base, adapter, merged, tmp_path):
    done, found = check(base, adapter, merged, tmp_path / "check.json")
    assert done.returncode == 0, done.stderr
    assert 0.4 < found["measured"]["ulps"] <= 0.5
    assert found["measured"]["tensors"] == len(tensors(merged))
    other = shutil.copytree(adapter, tmp_path / "other")
    settings = json.loads((other / "adapter_config.json").read_text(encoding="utf-8"))
    settings["lora_alpha"] *= 1.1
    (other / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
    done, found = check(base, other, merged, tmp_path / "check.json")
    assert done.returncode == 1 and not found["passed"]
    assert "tensors are not base + adapter" in done.stderr


def test_the_check_finds_a_missing_tensor(base, adapter, merged, tmp_path):
    from safetensors.torch import save_file

    other = shutil.copytree(merged, tmp_path / "other")
    kept = tensors(merged)
    lost = next(name for name in kept if "norm" in name)
    del kept[lost]
    save_file(kept, other / "model.safetensors")
    done, _ = check(base, adapter, other, tmp_path / "check.json")
    assert done.returncode == 1 and f"the merged model lacks {lost}" in done.stderr


def test_streamed_likelihoods_are_those_of_the_whole_model(base, adapter):
    found = json.loads(adapter_check("nll", base, adapter).splitlines()[-1])
    for name, both in found.items():
        assert both["streamed"] == pytest.approx(both["whole"], abs=2e-4), name
    assert found["plain"]["whole"] != pytest.approx(found["nf4"]["whole"], abs=1e-3)
