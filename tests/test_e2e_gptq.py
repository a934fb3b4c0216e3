"""GPTQ with the real tools: quantised, converted by LMDeploy, checked; planted faults are found."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from real_tools import ENVIRONMENTS, SCRIPTS, python_of, read_json, run_chain, script
from workflow_state import ROOT

pytestmark = [
    pytest.mark.long,  # its environment is one that few runs build
    pytest.mark.skipif(
        not (ENVIRONMENTS / "gptq.json").exists(),
        reason="the environment gptq is not built: snakemake .envs/gptq.json",
    ),
]
VARIANTS = ["fp16", "w4gptq", "w4gptqkv8"]


@pytest.fixture(scope="module")
def quantised(demo: Path) -> Path:
    run_chain(
        demo,
        *("results/checks/gptq.json", "results/checks/workspace_w4gptq.json"),
        *("results/checks/w4gptqkv8.json", "workspaces/w4gptq"),
        variants=VARIANTS,
    )
    return demo


def check(demo: Path, gptq: Path, out: Path) -> subprocess.CompletedProcess[str]:
    return script(
        "lmdeploy",
        "check_gptq.py",
        *("--merged", demo / "build/merged", "--gptq", gptq, "--error-limit", 1.0),
        *("--held-out", demo / "build/corpus/test.jsonl", "--chat-template", "internlm2_chat"),
        *("--nll-limit", 0.5, "--samples", 2, "--out", out),
    )


def test_gptq_undercuts_plain_rounding_and_its_workspace_is_it(quantised):
    found = read_json(quantised / "results/checks/gptq.json")["measured"]
    assert found["mean_ratio"] < 0.8 and found["largest_ratio"] < 1.0
    assert len(found["layers"]) == 40
    config = read_json(quantised / "build/gptq/config.json")["quantization_config"]
    assert (config["quant_method"], config["sym"], config["desc_act"]) == ("gptq", True, False)
    checked = read_json(quantised / "results/checks/workspace_w4gptq.json")["measured"]
    assert abs(checked["difference"]) < 1e-4


BROKEN = """
import sys
from safetensors.torch import load_file, save_file
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from butler.manifest import write_manifest
folder = Path(sys.argv[1])
(path,) = folder.glob("*.safetensors")
tensors = load_file(path)
name = "model.layers.3.attention.wo"
if sys.argv[3] == "scale":
    tensors[f"{name}.scales"][1] *= 2
elif sys.argv[3] == "zeros":  # as one would write who takes the stored zero point for the real one
    for one in tensors:
        if one.endswith(".qzeros"):
            tensors[one] += 0x11111111
else:
    other = "model.layers.4.attention.wo"
    tensors[f"{name}.qweight"] = tensors[f"{other}.qweight"].clone()
save_file(tensors, path, metadata={"format": "pt"})
write_manifest(folder)
"""


@pytest.mark.parametrize("fault", ["scale", "zeros", "layer"])
def test_a_planted_fault_stops_the_run(quantised, tmp_path, fault):
    gptq = tmp_path / "gptq"
    shutil.copytree(quantised / "build/gptq", gptq)
    command = [python_of("lmdeploy"), "-c", BROKEN, gptq, SCRIPTS, fault]
    subprocess.run([str(word) for word in command], check=True)
    done = check(quantised, gptq, tmp_path / "check.json")
    assert done.returncode == 1, done.stderr
    assert "error: check gptq: on held-out text the outputs of 40 layers" in done.stderr
    if fault != "zeros":
        assert "in model.layers.3.attention.wo (limit 1.0; " in done.stderr


SAMPLES = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from butler.calibration_text import samples_of
from butler.lmdeploy.on_cpu import without_cuda, write_calibration_text
without_cuda()
from lmdeploy.lite.utils import get_calib_loaders
from transformers import AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[2], trust_remote_code=True)
texts = ["西红柿切块，鸡蛋打散。" * 5 + str(n) for n in range(40)]
write_calibration_text(texts, Path())
theirs, _ = get_calib_loaders("ptb", tokenizer, nsamples=4, seqlen=64)
ours = samples_of(tokenizer, texts, 4, 64)
print(json.dumps([[one[0][0].tolist() for one in theirs], ours.tolist()]))
"""


def test_the_samples_are_those_that_awq_is_calibrated_on(quantised, tmp_path):
    command = [python_of("lmdeploy"), "-c", SAMPLES, str(SCRIPTS), str(quantised / "build/merged")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    theirs, ours = json.loads(done.stdout.splitlines()[-1])
    assert theirs == ours


def test_the_table_of_4_bit_folders_is_printed(quantised):
    command = [python_of("lmdeploy"), str(ROOT / "benchmarks/int4_schemes.py")]
    command += ["--merged", str(quantised / "build/merged"), "--samples", "2"]
    command += ["--held-out", str(quantised / "build/corpus/test.jsonl")]
    command += ["--chat-template", "internlm2_chat", str(quantised / "build/gptq")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "| plain rounding |" in done.stdout and "| gptq |" in done.stdout
