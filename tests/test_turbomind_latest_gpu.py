"""LMDeploy's newest release on a real GPU: it serves the model folders, and is measured on them.

Needs build/merged and build/awq of the demo (`snakemake all`), in this repository or in the folder
that BUTLER_RUN names, and .envs/lmdeploy-latest (`lmdeploy: latest`).
"""

import csv
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from butler import schemes
from butler.settings.judging_stage import EfficiencySettings
from real_tools import python_of, script
from turbomind_server import post, serve, wait_for_port
from workflow_state import ROOT

pytestmark = pytest.mark.gpu

RUN = Path(os.environ.get("BUTLER_RUN", ROOT)).resolve()
TOOL = "lmdeploy-latest"
VARIANTS = {name: schemes.VARIANTS[name] for name in ("fp16", "w4kv8", "w4kv4")}


def why_not() -> str | None:
    """Return what is missing here, in words; None if nothing is."""
    if not Path("/dev/nvidia0").exists():
        return "no NVIDIA GPU here"
    if not Path(python_of(TOOL)).exists():
        return f"{python_of(TOOL)} is missing: run `snakemake environments`, lmdeploy: latest"
    for folder in (RUN / "build" / one.weights.folder for one in VARIANTS.values()):
        if not (folder / "config.json").is_file():
            return f"{folder} is missing: run `snakemake all` first"
    return None


if why_not():
    pytest.skip(why_not(), allow_module_level=True)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Return the variants, made as the workflow makes them, by name."""
    # On the file system of the models: variant.py links.
    out = tmp_path_factory.mktemp("served")
    for folder in {one.weights.folder for one in VARIANTS.values()}:
        subprocess.run(["cp", "-r", str(RUN / "build" / folder), str(out / folder)], check=True)
    for name, one in VARIANTS.items():
        model = out / one.weights.folder
        done = script(
            TOOL, "variant.py", "--model", model, "--lmdeploy", "latest", "--kv", one.kv.name,
            "--cache-max-entry-count", 0.05, "--session-len", 1024, "--out", out / name,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
    return {name: out / name for name in VARIANTS}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_model_folder_is_served(served, tmp_path, name):
    more = ("--model-name", "recipes", "--trust-remote-code")
    process = serve(TOOL, served[name], tmp_path, *more)
    try:
        url = wait_for_port(process, tmp_path)
        body = {
            "model": "recipes",
            "messages": [{"role": "user", "content": "西红柿炒鸡蛋的做法"}],
            "temperature": 0,
            "top_k": 1,
            "max_tokens": 120,
        }
        whole = json.loads(post(f"{url}/v1/chat/completions", body))
        text = whole["choices"][0]["message"]["content"]
        # Noise would not be in the form that the model was trained on.
        assert text.startswith("您需要准备以下食材"), text
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def measured(served, name, folder):
    out = folder / f"{name}.csv"
    # 1,024 requests of 144 tokens, 3 blocks each: enough of a cache to be seen in the memory.
    settings = EfficiencySettings(prompt_tokens=128, new_tokens=16, concurrency=[1, 8, 1024])
    done = script(
        TOOL, "measure_efficiency.py", "--workspace", served[name], "--out", out,
        "--engine", "turbomind", "--settings", settings.to_argument(), "--trust-remote-code",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    with out.open(encoding="utf-8") as stream:
        return {row["metric"]: float(row["value"]) for row in csv.DictReader(stream)}


def test_a_model_folder_is_measured_at_the_room_that_was_asked_for(served, tmp_path, capsys):
    found = {name: measured(served, name, tmp_path) for name in VARIANTS}
    with capsys.disabled():
        print("\n" + json.dumps(found))
    for name, values in found.items():
        assert values["room_tokens"] == 1024 * 3 * 64
        assert values["kv_bytes_per_token_by_memory"] == pytest.approx(
            values["kv_bytes_per_token"], rel=0.25
        ), name
        assert values["tokens_per_s_median_1024"] > values["tokens_per_s_median_8"] > 0
        assert values["between_tokens_s_p99_8"] > 0
    for figure in ("kv_bytes_per_token", "peak_memory_bytes"):
        assert found["w4kv4"][figure] < found["w4kv8"][figure] < found["fp16"][figure]
