"""Base models of other families, and real recipes, through the chain with the real tools."""

import csv
import itertools
import json
import subprocess

import pandas as pd
import pytest

from real_tools import SHARED, python_of, read_json, run_chain
from toys import TOYS
from workflow_state import ROOT, demo_benchmarks

pytestmark = pytest.mark.e2e
# Two minutes each: only the one with a trainer of its own runs before each change lands.
BEFORE_EACH_CHANGE = ("qwen3",)
CHAINS = [
    pytest.param(toy, id=name, marks=[] if name in BEFORE_EACH_CHANGE else pytest.mark.long)
    for name, toy in TOYS.items()
    if toy.chain == "toy"
]
SHORT = {"max_steps": 12, "batch_size": 1, "log_interval": 1, "max_length": 320}
SMALL = {
    "calibration": {"samples": 4, "length": 128},
    "benchmarks": demo_benchmarks(recipe={"questions": 4, "max_new_tokens": 16}),
}
RECIPES = SHARED / "data" / "xiachufang" / "recipes.jsonl"
CEVAL = SHARED / "data" / "ceval"
SUBJECTS = ["computer_network", "operating_system", "college_programming", "logic"]


@pytest.mark.parametrize("toy", CHAINS)
def test_another_base_goes_from_corpus_to_w4kv8(toy, tmp_path):
    environments = run_chain(tmp_path, "environments")
    assert "error" not in environments
    model = toy.make(tmp_path / "model")
    run_chain(
        tmp_path,
        *("results/checks/w4kv8.json", "results/checks/workspace_fp16.json"),
        *("results/checks/template.json", "results/checks/awq.json", "results/checks/merge.json"),
        "results/checks/workspace_w4.json",
        base={
            "model": str(model),
            "chat_template": toy.template,
            "remote_code": str(model) if toy.remote_code else False,
        },
        engine="reference",  # what TurboMind serves of it is asked on a GPU
        # Random weights take little from twelve steps; they must take something.
        train=SHORT | {"learning_rate": 0.01, "lora_dropout": 0.0},
        **SMALL,
    )
    for name in ("merge", "awq", "template", "workspace_fp16", "workspace_w4", "w4kv8"):
        found = read_json(tmp_path / f"results/checks/{name}.json")
        assert found["passed"], name
        if name.startswith("workspace"):
            # Far below the run's limit: Llama 3's rotary embedding unstretched is 7e-4 off.
            assert abs(found["measured"]["difference"]) < 1e-5, found["measured"]
    assert (tmp_path / "workspaces" / "w4kv8" / "manifest.json").is_file()
    check_against_peft(toy, tmp_path)


def check_against_peft(toy, run):
    """Check a training without dropout, and its merge, against transformers and PEFT alone."""
    check = str(ROOT / "tests" / "rival_check.py")
    done = subprocess.run([python_of(toy.trainer), check, str(run)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["xtuner"] == pytest.approx(found["logged"], rel=1e-5)
    assert found["rival"] == pytest.approx(found["xtuner"], rel=1e-4)
    assert found["adapter_apart"] < 0.01
    assert found["logged"][0] - found["logged"][-1] > 0.1, "it learnt nothing that could differ"
    assert found["merged_apart"] < 0.02 < 0.2 < found["learnt"]


@pytest.mark.long
@pytest.mark.real_data
@pytest.mark.skipif(
    not (RECIPES.is_file() and CEVAL.is_dir()),
    reason=f"the real recipes and C-Eval are not at {SHARED / 'data'}",
)
def test_a_slice_of_real_recipes_and_real_ceval(tmp_path):
    with RECIPES.open(encoding="utf-8") as stream:
        lines = list(itertools.islice(stream, 300))
    (tmp_path / "recipes.jsonl").write_text("".join(lines), encoding="utf-8")
    ceval = tmp_path / "ceval"
    for split in ("dev", "val", "test"):
        (ceval / split).mkdir(parents=True)
        for subject in SUBJECTS:
            source = CEVAL / split / f"{subject}_{split}.csv"
            (ceval / split / source.name).symlink_to(source)
    run_chain(
        tmp_path,
        *("results/ceval_w4kv8.csv", "results/recipe_w4kv8.csv"),
        corpus={
            "path": str(tmp_path / "recipes.jsonl"),
            "test_size": 20,
            "max_chars": 1500,
        },
        train=SHORT,
        # Real recipes are longer than the packs of a training that is to be over soon.
        checks={"cut_samples": 1.0},
        calibration=SMALL["calibration"],
        benchmarks=demo_benchmarks(
            ceval={"path": str(ceval), "parts": [f"ceval-{subject}" for subject in SUBJECTS]},
            recipe={"questions": 4, "max_new_tokens": 32},
        ),
    )
    stats = read_json(tmp_path / "build/corpus/stats.json")
    assert stats["read"] == 300 == stats["kept"] + stats["rejected"]
    table = pd.read_csv(tmp_path / "results/ceval_w4kv8.csv").set_index("dataset")
    for subject in SUBJECTS:
        with (CEVAL / "val" / f"{subject}_val.csv").open(encoding="utf-8") as stream:
            questions = sum(1 for _ in csv.DictReader(stream))
        assert table.questions[f"ceval-{subject}"] == questions
