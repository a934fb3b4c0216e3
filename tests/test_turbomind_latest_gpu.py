"""LMDeploy's newest release on a real GPU: it serves model folders, which are checked and measured.

Needs build/merged, build/awq and build/corpus of the demo (`snakemake all`), in this repository or
in the folder that BUTLER_RUN names, .envs/lmdeploy and .envs/lmdeploy-latest (`lmdeploy: latest`).
"""

import csv
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from butler import schemes
from butler.families import FAMILIES
from butler.settings.judging_stage import EfficiencySettings
from real_tools import python_of, script
from toys import TOYS
from turbomind_server import compare_on_our_page, post, serve, wait_for_port
from workflow_state import ROOT

pytestmark = pytest.mark.gpu

RUN = Path(os.environ.get("BUTLER_RUN", ROOT)).resolve()
TOOL = "lmdeploy-latest"
CONVERTER = "lmdeploy"
SERVED = ("fp16", "w4kv8", "w4kv4", "fp8", "fp8kv8", "kvfp8", "w8a8", "w8a8kv8", "w8a8fp8")
VARIANTS = {name: schemes.VARIANTS[name] for name in SERVED}
MADE = {"fp8", *schemes.W8A8}  # here, of build/merged


def why_not() -> str | None:
    """Return what is missing here, in words; None if nothing is."""
    if not Path("/dev/nvidia0").exists():
        return "no NVIDIA GPU here"
    for tool in (TOOL, CONVERTER):
        if not Path(python_of(tool)).exists():
            return f"{python_of(tool)} is missing: run `snakemake environments`, lmdeploy: latest"
    kept = {one.weights.folder for one in VARIANTS.values()} - MADE
    for folder in (RUN / "build" / one for one in kept):
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
    models = out / "models"
    models.mkdir()
    for folder in {one.weights.folder for one in VARIANTS.values()} - MADE:
        subprocess.run(["cp", "-r", str(RUN / "build" / folder), str(models / folder)], check=True)
    merged = ("--model", models / "merged", "--device", "cuda")
    text = ("--text", RUN / "build" / "corpus" / "train.jsonl", "--chat-template", "internlm2_chat")
    text += ("--calibration", '{"samples": 16, "length": 256}')
    making = [script(CONVERTER, "quantise_fp8.py", *merged, "--out", models / "fp8")]
    making += [
        script(
            CONVERTER, "quantise_w8a8.py", *merged, *text, "--dtype", one.codes,
            "--out", models / one.folder,
        )
        for one in schemes.W8A8.values()
    ]  # fmt: skip
    for done in making:
        assert done.returncode == 0, done.stderr[-3000:]
    for name, one in VARIANTS.items():
        model = models / one.weights.folder
        done = script(
            TOOL, "variant.py", "--model", model, "--lmdeploy", "latest", "--kv", one.kv.name,
            "--backend", one.backend, "--cache-max-entry-count", 0.05, "--session-len", 1024,
            "--out", out / name,
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


def test_our_page_compares_two_model_folders(served, tmp_path):
    compare_on_our_page([served["fp16"], served["fp8kv8"]], tmp_path, "--trust-remote-code")


def checked(name: str, folder: Path, *words: object, template: str = "internlm2_chat") -> dict:
    """Return what a check found that asks this release, run where the workflow runs it."""
    out = folder / "check.json"
    server = ("--lmdeploy", "latest", "--server-python", python_of(TOOL), "--trust-remote-code")
    held_out = ("--held-out", RUN / "build" / "corpus" / "test.jsonl", "--engine", "lmdeploy")
    words = (*words, *server, *held_out, "--chat-template", template)
    done = script(CONVERTER, name, *words, "--check" if name == "divergence.py" else "--out", out)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(out.read_text(encoding="utf-8"))["measured"]


@pytest.mark.parametrize("name", ["fp16", "w4kv8", "fp8", "w8a8", "w8a8fp8"])
def test_held_out_text_is_as_likely_as_in_transformers(served, tmp_path, name, capsys):
    weights = VARIANTS[name].weights
    model = served[name].parent / "models" / weights.folder
    found = checked(
        "check_workspace.py", tmp_path, "--workspace", model, "--model", model,
        "--format", weights.format, "--backend", weights.backends[0], "--limit", 0.002,
        "--lmdeploy-limit", max(0.02, weights.agreement),
    )  # fmt: skip
    with capsys.disabled():
        print(f"\n{name}: {found}")
    assert found["engine"] == weights.backends[0]


SERVED_TOYS = [toy for toy in TOYS.values() if "latest" in FAMILIES[toy.architecture].served_by]


@pytest.mark.parametrize("toy", SERVED_TOYS, ids=str)
def test_turbomind_computes_each_base_as_transformers_does(toy, tmp_path, capsys):
    folder = toy.base(tmp_path / "toy")
    found = checked(
        "check_workspace.py", tmp_path, "--workspace", folder, "--model", folder,
        "--format", "hf", "--limit", 0.002, "--lmdeploy-limit", 0.002, template=toy.template,
    )  # fmt: skip
    with capsys.disabled():
        print(f"\n{toy}: {found}")


@pytest.mark.parametrize("name", ["w4kv8", "w4kv4", "fp8kv8", "kvfp8"])
def test_a_quantised_cache_is_checked_in_the_engine(served, tmp_path, name, capsys):
    weights = VARIANTS[name].weights
    found = checked(
        "check_kv_cache.py", tmp_path, "--workspace", served[name], "--limit", 0.5,
        "--backend", weights.backends[0],
    )  # fmt: skip
    assert found["engine_fp16"] == weights.backends[0]
    with capsys.disabled():
        print(f"\n{name}: {found}")
    kv = VARIANTS[name].kv
    assert 0 < found[f"nll_{kv.name}"] < found["nll_fp16"] + kv.limit
    # The plain cache computed other numbers than the quantised one, so both were asked.
    assert found["difference"] != 0
    assert found[f"bytes_per_token_{kv.name}"] < found["bytes_per_token_fp16"]


@pytest.mark.parametrize("name", ["fp16", "w4kv8", "fp8", "kvfp8", "w8a8", "w8a8fp8"])
def test_divergence_from_fp16_in_the_engine(served, tmp_path, name, capsys):
    found = checked(
        "divergence.py", tmp_path, "--workspace", served[name], "--baseline", served["fp16"],
        "--variant", name, "--out", tmp_path / "table.csv",
    )  # fmt: skip
    with capsys.disabled():
        print(f"\n{name}: {found}")
    if name == "fp16":
        assert found["kl_mean"] < 1e-4 and found["same_top"] > 99.9
    else:
        assert 1e-5 < found["kl_mean"] < 0.1 and found["same_top"] > 90


def measured(served, name, folder):
    out = folder / f"{name}.csv"
    # 1,024 requests of 144 tokens, 3 blocks each: enough of a cache to be seen in the memory.
    settings = EfficiencySettings(prompt_tokens=128, new_tokens=16, concurrency=[1, 8, 1024])
    done = script(
        TOOL, "measure_efficiency.py", "--workspace", served[name], "--out", out,
        "--engine", "lmdeploy", "--settings", settings.to_argument(), "--trust-remote-code",
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
        # The other engine keeps graphs of each load beside its cache.
        if VARIANTS[name].backend == schemes.TURBOMIND:
            assert values["kv_bytes_per_token_by_memory"] == pytest.approx(
                values["kv_bytes_per_token"], rel=0.25
            ), name
        assert values["tokens_per_s_median_1024"] > values["tokens_per_s_median_8"] > 0
        assert values["between_tokens_s_p99_8"] > 0
    for figure in ("kv_bytes_per_token", "peak_memory_bytes"):
        assert found["w4kv4"][figure] < found["w4kv8"][figure] < found["fp16"][figure]
    sizes = [found[name]["weight_bytes"] for name in ("w4kv8", "fp8", "fp16")]
    assert sizes == sorted(sizes)
