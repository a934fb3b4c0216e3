"""What Snakemake plans for a configuration, a target or an overlay, and what it refuses."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from butler.devices import gpu_present
from butler.families import FAMILIES
from butler.plan.gpu_memory import ENGINE
from workflow_state import (
    BASE_OVERLAYS,
    CONFIG,
    ROOT,
    finish,
    overlay,
    plan,
    snakemake,
    stale,
)

pytestmark = pytest.mark.workflow

OVERLAYS = [path.name for path in BASE_OVERLAYS]
VARIANTS = tuple(CONFIG["variants"])


def test_questions_are_read_with_the_session_that_they_must_fit(tmp_path):
    text = plan(tmp_path, "--dry-run", "--printshellcmds", "build/benchmarks/ceval.jsonl")
    assert "--session-len 2048" in text


@pytest.mark.parametrize(("first_round", "waits"), [(None, False), (40, True)])
def test_a_variant_waits_for_the_baselines_answers_where_it_is_asked_in_rounds(
    tmp_path, first_round, waits
):
    arguments = overlay(tmp_path, decision={"first_round": first_round})
    target = "results/ceval_w4kv8.csv"
    text = plan(tmp_path, "--dry-run", "--printshellcmds", *arguments, target)
    asked = {
        re.search(r"--variant (\w+)", line)[1]: line
        for line in text.splitlines()
        if "evaluate_model.py" in line and "--variant " in line
    }
    assert set(asked) == {"w4kv8", "fp16"} if waits else {"w4kv8"}
    rule = "--limit 2.0 --error 0.05 --variants 3 --benchmarks 2 "
    against = f"--against build/evaluate/ceval_fp16/details.jsonl {rule}"
    assert (against in asked["w4kv8"]) == waits
    assert not any("--against" in line for name, line in asked.items() if name == "fp16")
    assert ("--first-round 40 --seed 42" in text) == waits


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("results/ceval_w4kv9.csv", "no variant w4kv9, only base, fp16, kv8, kv4, "),
        ("workspaces/w5", "there is no variant w5, only base, "),
        ("results/efficiency_w5.csv", "there is no variant w5, only base, "),
        ("results/cevall_w4.csv", "there is no benchmark cevall, only ceval, recipe"),
        ("results/checks/evaluation_recipes_w4.json", "no benchmark recipes, only ceval, recipe"),
        ("results/cevall_base-hf.csv", "there is no benchmark cevall, only ceval, recipe"),
    ],
)
def test_a_word_of_a_target_that_is_none_is_told_with_those_there_are(tmp_path, target, told):
    text = plan(tmp_path, "--dry-run", target, check=False)
    (sentence,) = [line for line in text.splitlines() if target in line]
    assert sentence.startswith(f"error: {target} cannot be made: ") and told in sentence
    assert not re.search(r"Exception|Traceback|WorkflowError|\.smk", text), "ours alone is told"


def test_two_words_of_a_target_that_are_none_are_both_told(tmp_path):
    target = "results/cevall_w4kv9.csv"
    text = plan(tmp_path, "--dry-run", target, check=False)
    told = f"{target} cannot be made: there is no benchmark cevall, only ceval, recipe, and no "
    assert f"{told}variant w4kv9, only base, fp16, " in text and "Exception" not in text


@pytest.mark.parametrize(
    ("target", "meant"),
    [
        ("al", "all"),
        ("doctr", "doctor"),
        ("scenario", "scenarios"),
        ("results/report.htm", "results/report.html"),
        ("result/report.html", "results/report.html"),
    ],
)
def test_a_slip_in_a_target_is_told_with_the_nearest_that_there_is(tmp_path, target, meant):
    text = plan(tmp_path, "--dry-run", target, check=False)
    assert f"there is no target {target}; did you mean {meant}?" in text
    assert "Exception" not in text and "No rule to produce" not in text


def test_a_word_like_a_target_that_is_an_options_value_or_a_file_is_none(tmp_path):
    assert "did you mean" not in plan(tmp_path, "--dry-run", "--shadow-prefix", "al", "plan")
    (tmp_path / "al").touch()
    assert "did you mean" not in plan(tmp_path, "--dry-run", "al", check=False)


def test_what_is_like_no_target_is_left_to_snakemake(tmp_path):
    text = plan(tmp_path, "--dry-run", "cake", check=False)
    assert "No rule to produce cake" in text and "did you mean" not in text


@pytest.mark.parametrize(
    "target",
    ["results/ceval_base.csv", "results/ceval_base-hf.csv", "plan", "logs/corpus.log"]
    + [".envs/xtuner-qwen3.json"],
)
def test_a_target_that_there_is_is_planned(tmp_path, target):
    assert "cannot be made" not in plan(tmp_path, "--dry-run", target)


def test_variants_are_a_choice_of_schemes(tmp_path):
    chosen = {"variants": ["fp16", "kv4", "w4kv4"]}
    text = plan(tmp_path, "--dry-run", "--printshellcmds", *overlay(tmp_path, **chosen), "all")
    made = set(re.findall(r"makes: workspaces/(\w+)", text))
    assert made == {"base", "fp16", "kv4", "w4kv4"}
    assert "results/checks/kv4.json" in text and "results/checks/w4kv4.json" in text
    assert "--kv int4" in text and "kv8" not in text
    assert "static_kv" not in text, "no engine reads static parameters: they are an option"


def test_a_variant_more_of_other_weights_makes_neither_base_nor_training_anew(tmp_path):
    few = overlay(tmp_path, variants=["fp16", "kv8"])
    finish(tmp_path, *few)
    found = stale(tmp_path, *overlay(tmp_path, variants=["fp16", "kv8", "w4"]))
    assert {"build/awq", "workspaces/w4", "results/ceval_w4.csv"} <= found
    assert not found & {"build/base", "build/train/checkpoint", "results/ceval_kv8.csv"}


def test_static_parameters_are_made_where_they_are_asked_for(tmp_path):
    arguments = overlay(tmp_path, kv_cache={"static_parameters": True})
    text = plan(tmp_path, "--dry-run", "--printshellcmds", *arguments, "all")
    assert "makes: build/static_kv" in text
    assert len(re.findall(r"--kv int8 --kv-parameters build/static_kv", text)) == 2


def test_a_variant_that_is_not_chosen_is_made_by_its_name(tmp_path):
    text = plan(tmp_path, "--dry-run", "results/ceval_w4kv4.csv")
    assert "makes: workspaces/w4kv4" in text and "makes: results/checks/w4kv4.json" in text


def test_a_variant_by_its_name_is_checked_like_a_chosen_one(tmp_path):
    base = tmp_path / "base"
    shutil.copytree(ROOT / "data" / "base" / "tiny", base)
    sizes = json.loads((base / "config.json").read_text(encoding="utf-8"))
    (base / "config.json").write_text(json.dumps(sizes | {"intermediate_size": 200}))
    named = {"model": str(base), "remote_code": str(base)}
    arguments = overlay(tmp_path, variants=["fp16"], base=named)
    text = plan(tmp_path, "--dry-run", *arguments, "results/ceval_w4.csv", check=False)
    assert "intermediate_size 200 is no multiple of awq.group_size 128" in text
    plan(tmp_path, "--dry-run", *arguments, "results/ceval_kv8.csv")


def test_a_cache_of_another_engine_is_compared_with_the_weights_as_they_were_checked(tmp_path):
    cuda = {"lmdeploy": "latest", "engine": "lmdeploy", "device": "cuda"}
    targets = ["results/checks/kvfp8.json", "results/checks/w8a8kv8.json"]
    text = plan(tmp_path, "--dry-run", "--printshellcmds", *overlay(tmp_path, **cuda), *targets)
    asked = dict(
        re.findall(r"check_kv_cache.py --workspace workspaces/(\w+) .* --backend (\w+)", text)
    )
    assert asked == {"kvfp8": "turbomind", "w8a8kv8": "pytorch"}


@pytest.mark.parametrize(
    "target", ["build/workspace/fp8", "results/checks/workspace_w8a8.json", "workspaces/kvfp8"]
)
def test_what_the_release_does_not_serve_is_refused_before_the_first_job(tmp_path, target):
    text = plan(tmp_path, "--dry-run", target, check=False)
    assert "is asked for, but lmdeploy: 0.7.3 does not serve it; set lmdeploy: latest" in text


def test_the_base_is_judged_through_its_own_folder_by_name(tmp_path):
    text = plan(tmp_path, "--dry-run", "results/ceval_base-hf.csv")
    assert "evaluate_hugging_face: " in text and "workspaces/" not in text


def test_a_run_says_of_each_job_what_it_does_what_it_makes_and_why(tmp_path):
    text = plan(tmp_path, "--dry-run", "workspaces/w4kv8")
    assert (
        "variant: Hard-link a workspace and give it the engine's settings of one variant." in text
    )
    assert "    log: logs/variant_w4kv8.log\nReason: Missing output files: workspaces/w4kv8" in text
    assert "butler/" not in text, "the modules of each stage make it unreadable"


def test_one_target_makes_only_what_it_needs(tmp_path):
    text = plan(tmp_path, "--dry-run", "results/ceval_w4kv8.csv")
    rules = set(re.findall(r"^Job \d+: (\w+): ", text, re.MULTILINE))
    assert "evaluate" in rules
    assert "efficiency" not in rules and "report" not in rules
    assert "makes: workspaces/w4kv8" in text and "makes: workspaces/fp16" not in text
    assert "results/recipe" not in text


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_rules_take_every_base_model_by_configuration(name, tmp_path):
    pinned = tmp_path / "pinned.yaml"
    pinned.write_text(f"base: {{revision: '{'0' * 40}'}}", encoding="utf-8")
    given = ["--config", f"overlays=config/{name},{pinned}"]
    text = plan(tmp_path, "all", "--dry-run", "--printshellcmds", *given)
    expected = yaml.safe_load((ROOT / "config" / name).read_text(encoding="utf-8"))
    asked = f"--model {expected['base']['model']} --hub huggingface --revision {'0' * 40}"
    assert asked in text
    assert f"--chat-template {expected['base']['chat_template']}" in text
    trainer = FAMILIES[expected["base"].get("architecture", "LlamaForCausalLM")].trainer
    assert f".envs/{trainer}/bin/python" in text and f"--trainer {trainer} " in text
    # Nothing of the demo's short training is left.
    assert '"max_steps": null' in text and '"max_length": 2048' in text


def test_a_hub_model_without_a_pinned_commit_is_refused(tmp_path):
    given = ["--config", f"overlays=config/{OVERLAYS[0]}"]
    text = plan(tmp_path, "all", "--dry-run", *given, check=False)
    assert "base.revision is missing; pin the commit of internlm/" in text


def test_paths_with_spaces_are_quoted(tmp_path):
    repository = tmp_path / "my 菜谱"
    ignored = shutil.ignore_patterns(".*", "build", "results", "workspaces", "logs", "__pycache__")
    shutil.copytree(ROOT, repository, ignore=ignored)
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(repository / "Snakefile")]
    command += ["--directory", str(tmp_path), "--cores", "2", "-n", "-p", "all"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if "--out" in line or "--into" in line]
    assert lines
    for line in lines:
        words = shlex.split(line)
        assert not [word for word in words if word.startswith("菜谱/")], line


@pytest.mark.skipif(gpu_present(), reason="there is a GPU here")
def test_a_run_here_that_is_to_use_a_gpu_stops_before_the_first_job(tmp_path):
    # A dry run says nothing: the jobs may be meant for another machine.
    given = ["results/config.yaml", "build/adapter", "--config", "device=cuda"]
    plan(tmp_path, "--dry-run", *given)
    text = plan(tmp_path, *given, check=False)
    assert "device is cuda and there is no CUDA GPU here" in text
    assert not (tmp_path / "results/config.yaml").exists()


@pytest.mark.skipif(gpu_present(), reason="there is a GPU here")
def test_what_needs_no_gpu_is_made_where_there_is_none(tmp_path):
    """As on a login node, where the profile says that the jobs will have one."""
    snakemake(tmp_path, "results/config.yaml", "--config", "device=cuda")
    assert (tmp_path / "results/config.yaml").is_file()


def test_an_overlay_that_is_no_yaml_is_told_with_its_line(tmp_path):
    (tmp_path / "mine.yaml").write_text("train: {epochs: 2\nseed: 1\n", encoding="utf-8")
    text = plan(tmp_path, "all", "--dry-run", "--config", "overlays=mine.yaml", check=False)
    assert "mine.yaml is not YAML: line 2, column " in text
    text = plan(tmp_path, "all", "--dry-run", "--config", "overlays=nowhere.yaml", check=False)
    assert "overlay nowhere.yaml is no file" in text


def test_a_wrong_configuration_stops_before_the_first_job(tmp_path):
    arguments = overlay(tmp_path, tarin={})  # a --configfile, as our profiles have
    text = plan(tmp_path, "--dry-run", *arguments, "all", check=False)
    assert f"{arguments[1]} or --config: unknown key 'tarin'; did you mean 'train'?" in text


def test_a_missing_corpus_is_named(tmp_path):
    arguments = overlay(tmp_path, corpus={"path": "data/nowhere.jsonl"})
    text = plan(tmp_path, "--dry-run", *arguments, "all", check=False)
    assert "corpus.path" in text and "data/nowhere.jsonl" in text


def test_the_newest_lmdeploy_serves_the_model_folders(tmp_path):
    cuda = {"engine": "lmdeploy", "device": "cuda"}
    arguments = overlay(tmp_path, lmdeploy="latest", **cuda)
    target = "results/ceval_w4kv8.csv"
    text = plan(tmp_path, "--dry-run", "--printshellcmds", *arguments, target)
    assert "--model build/awq --lmdeploy latest" in text
    assert ".envs/lmdeploy-latest/bin/python" in text
    assert "makes: .envs/lmdeploy-latest.json" in text
    # No workspace is made, and what is served is checked as a workspace is.
    assert "build/workspace" not in text
    for check in ("awq", "template", "workspace_w4", "w4kv8"):
        assert f"makes: results/checks/{check}.json" in text
    asked = [line for line in text.splitlines() if "check_kv_cache.py" in line and "--" in line]
    assert "--lmdeploy latest --server-python .envs/lmdeploy-latest/bin/python" in asked[-1]


def test_the_newest_lmdeploy_has_all_that_the_report_needs(tmp_path):
    # A base whose heads two GPUs can share; its own code is run.
    model = "internlm/internlm2-chat-7b"
    hub = {"model": model, "revision": "0" * 40, "remote_code": model}
    cuda = {"engine": "lmdeploy", "device": "cuda", "workspace": {"tp": 2}, "base": hub}
    arguments = overlay(tmp_path, lmdeploy="latest", **cuda)
    target = "results/report.html"
    text = plan(tmp_path, "--dry-run", "--printshellcmds", *arguments, target)
    lines = text.splitlines()
    measured = [line for line in lines if "measure_efficiency.py" in line and "--variant " in line]
    assert len(measured) == 4
    asked = [line for line in lines if "evaluate_model.py" in line and "--variant " in line]
    assert asked and all("--tp 2 " in line for line in [*measured, *asked])
    for line in measured:
        assert ".envs/lmdeploy-latest/bin/python " in line
        assert "--engine lmdeploy" in line and "--trust-remote-code" in line
    (report,) = [line for line in lines if "--checks " in line]
    checks = report.split("--checks ")[1].split(" --corpus-stats")[0].split()
    names = {Path(check).stem for check in checks if "/evaluation_" not in check}
    of_variants = {f"efficiency_{variant}" for variant in VARIANTS}
    of_variants |= {f"divergence_{variant}" for variant in VARIANTS if variant != "fp16"}
    of_weights = {"workspace_base", "workspace_fp16", "workspace_w4", "awq", "kv8", "w4kv8"}
    assert names == {"training", "merge", "template"} | of_weights | of_variants
    locks = report.split("--locks ")[1].split(" --logs")[0].split()
    tools = ["xtuner", "lmdeploy", "opencompass", "lmdeploy-latest"]
    kinds = {tool: ["", ".torch"] + [".cuda"] * tool.startswith("lmdeploy") for tool in tools}
    assert [Path(lock).name for lock in locks] == [
        f"{tool}{kind}.lock" for tool in tools for kind in kinds[tool]
    ]


def test_the_newest_lmdeploy_is_built_on_demand_alone(tmp_path):
    (tmp_path / "latest").mkdir()
    cuda = {"engine": "lmdeploy", "device": "cuda"}
    arguments = overlay(tmp_path / "latest", lmdeploy="latest", **cuda)
    for extra, built in (([], False), (arguments, True)):
        text = plan(tmp_path, "--dry-run", *extra, "environments")
        assert ("lmdeploy-latest" in text) == built


def test_a_split_that_does_not_fit_the_model_stops_before_the_first_job(tmp_path):
    cuda = {"engine": "lmdeploy", "device": "cuda"}
    arguments = overlay(tmp_path, workspace={"tp": 2}, **cuda)
    text = plan(tmp_path, "--dry-run", *arguments, "all", check=False)
    assert "workspace.tp 2 does not divide the model's 1 key-value heads" in text


@pytest.mark.parametrize("name", ["slurm", "kubernetes"])
def test_a_profile_gives_times_to_stages_that_exist(name):
    rules = {
        rule
        for path in (ROOT / "workflow" / "rules").glob("*.smk")
        for rule in re.findall(r"^rule (\w+):", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    profile = yaml.safe_load((ROOT / "profiles" / name / "config.yaml").read_text(encoding="utf-8"))
    assert set(profile["set-resources"]) <= rules


def test_what_the_engine_serves_asks_for_the_gpus_that_the_workspace_is_split_for(tmp_path):
    base = tmp_path / "base"
    shutil.copytree(ROOT / "data" / "base" / "tiny", base)
    sizes = json.loads((base / "config.json").read_text(encoding="utf-8"))
    (base / "config.json").write_text(json.dumps(sizes | {"num_key_value_heads": 2}))
    run = {"device": "cuda", "engine": "lmdeploy", "workspace": {"tp": 2}}
    run |= {"base": {"model": str(base), "remote_code": str(base)}}
    arguments = overlay(tmp_path, **run)
    text = plan(tmp_path, "--dry-run", "--resources", "gpu=2", *arguments, "all")
    jobs = (re.match(r"\d+: (\w+): (?:.*\n)*? *GPUs: (\d)\n", job) for job in text.split("\nJob "))
    asked = {job[1]: int(job[2]) for job in jobs if job}
    assert asked["train"] == asked["awq"] == asked["check_training"] == 1
    assert {stage: asked[stage] for stage in ENGINE} == dict.fromkeys(ENGINE, 2)


def test_every_folder_that_a_check_loaded_is_hashed_for_the_report(tmp_path):
    text = plan(tmp_path, "--dry-run", "--printshellcmds", "results/sha256.txt")
    command = next(line for line in text.splitlines() if "hash_artefacts.py" in line).split()
    checked = re.findall(r"check_\w+\.py --workspace (\S+) ", text)
    assert {"build/workspace/w4", "workspaces/w4kv8"} <= set(checked) <= set(command)
