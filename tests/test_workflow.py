"""Only what is stale runs again: asked of the DAG of the real rules."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from butler.benchmarks.registry import KINDS
from butler.devices import gpu_present
from butler.imports import code_of
from butler.rerun import KEPT_CONFIG, rerun_command
from butler.settings.run import read_settings
from workflow_state import (
    CONFIG,
    ROOT,
    copy_state,
    demo_benchmarks,
    finish,
    outputs_in,
    overlay,
    plan,
    snakemake,
    stale,
)

OVERLAYS = sorted(path.name for path in (ROOT / "config").glob("*_7b.yaml"))
VARIANTS = tuple(CONFIG["variants"])
BENCHMARKS = CONFIG["benchmarks"]
REPORT = {
    f"results/{name}"
    for name in ("summary.csv", "decision.json", "report.html", "sha256.txt", "provenance.json")
}
CONFIG_COPY = {"results/config.yaml"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    finish(folder)
    return folder


@pytest.fixture
def state(finished, tmp_path_factory):
    # Beside the original: paths from here to the repository are recorded too.
    return copy_state(finished, tmp_path_factory.mktemp("state"))


def evaluations(benchmark, variants):
    return {f"results/{benchmark}_{variant}.csv" for variant in variants}


def edited(folder, file, text):
    """Copy the demo's C-Eval into `folder` with the text of one file changed; return its path."""
    data = folder / "ceval"
    if not data.exists():
        shutil.copytree(ROOT / "data" / "demo" / "ceval", data)
    path = data / file
    path.write_text(text(path.read_text(encoding="utf-8")), encoding="utf-8")
    return str(data)


def test_a_finished_run_has_nothing_to_do(state):
    assert stale(state) == set()


def test_other_memory_of_a_rule_makes_nothing_anew(state):
    assert stale(state, "--set-resources", "train:mem_mb=5", "merge:mem_mb=5", "--") == set()


@pytest.mark.parametrize(
    "name", ["workspaces/kv8", "results/ceval_w4.csv", "results/checks/awq.json"]
)
def test_what_is_missing_of_a_finished_run_is_made_again(state, name):
    path = state / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert name in stale(state)


def test_a_hint_of_ours_plans_the_named_artefact_by_the_configuration_of_the_run(tmp_path):
    arguments = overlay(tmp_path, seed=7, variants=["fp16", "w4"], train={"max_steps": 20})
    finish(tmp_path, *arguments)
    settings = read_settings(CONFIG | yaml.safe_load((tmp_path / "overlay.yaml").read_text()))
    kept = yaml.safe_dump(settings.model_dump(mode="json"), allow_unicode=True)
    (tmp_path / KEPT_CONFIG).write_text(kept, encoding="utf-8")
    plan(tmp_path, "--touch", "--forceall", *arguments, "all")
    words = shlex.split(rerun_command(["results/ceval_w4.csv"], tmp_path))
    assert words[0] == "snakemake"
    made = outputs_in(plan(tmp_path, *words[1:-2], "--dry-run", *words[-2:]))
    assert made == outputs_of_evaluation(["w4"], ["ceval"]) | REPORT


def test_a_changed_learning_rate_leaves_corpus_and_base_alone(state):
    found = stale(state, *overlay(state, train={"learning_rate": 1e-4}))
    assert "build/train/checkpoint" in found
    assert evaluations("ceval", VARIANTS) <= found
    assert not any(name.startswith(("build/corpus", ".envs")) for name in found)
    assert not found & {"build/base", "build/workspace/base", "workspaces/base"}
    assert not found & evaluations("ceval", ["base"])


def test_another_order_of_the_same_settings_trains_nothing_anew(state):
    settings = dict(reversed(CONFIG["train"].items()))
    assert "build/train/config.py" not in stale(state, *overlay(state, train=settings))


def test_another_limit_judges_the_training_again_and_repeats_none(state):
    found = stale(state, *overlay(state, checks={"training_nll": None}))
    assert "results/checks/training.json" in found
    assert not any(name.startswith(("build/train", "build/adapter", "build/m")) for name in found)


def test_a_changed_awq_setting_remakes_the_w4_variants_only(state):
    found = stale(state, *overlay(state, awq={"search_scale": True}))
    models = {"w4", "w4kv8"}
    assert found == (
        {"build/awq", "build/workspace/w4", "results/checks/awq.json"}
        | {"results/checks/workspace_w4.json", "results/checks/w4kv8.json"}
        | {f"workspaces/{m}" for m in models}
        | measurements(models)
        | outputs_of_evaluation(models, ["ceval", "recipe"])
        | REPORT
        | CONFIG_COPY
    )


def measurements(models):
    names = ("results/efficiency_{}.csv", "results/checks/efficiency_{}.json")
    return {name.format(model) for name in names for model in models}


def outputs_of_evaluation(models, benchmarks):
    return {
        name.format(b=b, m=m)
        for b in benchmarks
        for m in models
        for name in (
            "results/{b}_{m}.csv",
            "results/checks/evaluation_{b}_{m}.json",
            "build/evaluate/{b}_{m}/details.jsonl",
        )
    }


def of_benchmark(name):
    """Return all that a change in one benchmark makes anew."""
    questions = {f"build/benchmarks/{name}.jsonl"}
    return questions | outputs_of_evaluation(("base", *VARIANTS), [name]) | REPORT


def test_a_changed_choice_of_parts_repeats_that_benchmark_and_the_report_only(state):
    parts = BENCHMARKS[0]["parts"][:2]
    found = stale(state, *overlay(state, benchmarks=demo_benchmarks(ceval={"parts": parts})))
    assert found == of_benchmark("ceval") | CONFIG_COPY


def test_a_benchmark_more_asks_its_questions_and_trains_nothing(state):
    kitchen = {"name": "kitchen", "kind": "qa", "max_new_tokens": 32}
    found = stale(state, *overlay(state, benchmarks=[*BENCHMARKS, kitchen]))
    assert found == of_benchmark("kitchen") | CONFIG_COPY


def test_a_label_of_a_benchmark_is_the_reports_alone(state):
    found = stale(state, *overlay(state, benchmarks=demo_benchmarks(recipe={"label": "dishes"})))
    assert found == REPORT | CONFIG_COPY


SUBJECT = "middle_school_chemistry_val.csv"


@pytest.fixture(scope="module")
def with_own_data(tmp_path_factory):
    """A finished run whose C-Eval lies in a folder of the user's."""
    folder = tmp_path_factory.mktemp("own_data")
    path = edited(folder, f"val/{SUBJECT}", str)
    arguments = overlay(folder, benchmarks=demo_benchmarks(ceval={"path": path}))
    finish(folder, *arguments)
    return folder, arguments


def changed_data(with_own_data, tmp_path_factory, change):
    folder, _ = with_own_data
    state = copy_state(folder, tmp_path_factory.mktemp("state"))
    path = edited(folder, f"val/{SUBJECT}", change)
    return stale(state, *overlay(state, benchmarks=demo_benchmarks(ceval={"path": path})))


def test_a_changed_answer_repeats_the_evaluation_and_not_the_training(
    with_own_data, tmp_path_factory
):
    def another_letter(text):
        lines = text.splitlines(keepends=True)
        *cells, answer = lines[1].rstrip("\n").split(",")
        lines[1] = ",".join([*cells, "B" if answer != "B" else "C"]) + "\n"
        return "".join(lines)

    assert changed_data(with_own_data, tmp_path_factory, another_letter) == of_benchmark("ceval")


def test_the_same_questions_in_another_folder_train_nothing_anew(with_own_data, tmp_path_factory):
    folder, _ = with_own_data
    state = copy_state(folder, tmp_path_factory.mktemp("state"))
    moved = state / "moved"
    shutil.copytree(folder / "ceval", moved)
    (moved / ".DS_Store").write_bytes(b"\0")
    found = stale(state, *overlay(state, benchmarks=demo_benchmarks(ceval={"path": str(moved)})))
    assert found == of_benchmark("ceval") | CONFIG_COPY


def test_another_share_of_cut_samples_trains_nothing_anew(state):
    found = stale(state, *overlay(state, checks={"cut_samples": 0.2}))
    assert found == REPORT | CONFIG_COPY


def test_questions_are_read_with_the_session_that_they_must_fit(tmp_path):
    text = plan(tmp_path, "--dry-run", "--printshellcmds", "build/benchmarks/ceval.jsonl")
    assert "--session-len 2048" in text


def test_a_changed_question_makes_the_corpus_anew(with_own_data, tmp_path_factory):
    def another_question(text):
        head, *rows = text.splitlines(keepends=True)
        number, question, *rest = rows[0].split(",")
        rows[0] = ",".join([number, f"请仔细看：{question}", *rest])
        return head + "".join(rows)

    found = changed_data(with_own_data, tmp_path_factory, another_question)
    assert {"build/corpus/train.jsonl", "build/train/checkpoint"} <= found
    assert of_benchmark("ceval") <= found


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


def test_the_base_is_judged_through_its_own_folder_by_name(tmp_path):
    text = plan(tmp_path, "--dry-run", "results/ceval_base-hf.csv")
    assert "evaluate_hugging_face: " in text and "workspaces/" not in text


def test_a_changed_kv_setting_remakes_the_kv8_variants_only(state):
    found = stale(state, *overlay(state, kv_cache={"cache_max_entry_count": 0.3}))
    models = {"kv8", "w4kv8"}
    assert found == (
        {f"workspaces/{m}" for m in models}
        | {f"results/checks/{m}.json" for m in models}
        | measurements(models)
        | outputs_of_evaluation(models, ["ceval", "recipe"])
        | REPORT
        | CONFIG_COPY
    )


def test_a_changed_rule_of_decision_remakes_the_report_only(state):
    found = stale(state, *overlay(state, decision={"max_loss": 1.0}))
    assert found == REPORT | CONFIG_COPY


def test_snakemakes_own_report_has_categories_and_captions(state):
    plan(state, "--report", "report.html", "all")
    page = (state / "report.html").read_text(encoding="utf-8")
    found = json.loads(re.search(r"var categories = (\{.*?\});", page)[1])
    shown = {name: sum(map(len, files.values())) for name, files in found.items()}
    assert shown == {"Decision": 3, "Accuracy": 10, "Efficiency": 4, "Checks": 19, "Corpus": 1,
                     "Training": 1, "Run": 3}  # fmt: skip
    assert "The variant that the rule in the configuration picks" in page
    assert "Scores of w4kv8 on ceval by data set" in page
    assert "which quantised form of it to ship" in page


def test_a_run_says_of_each_job_what_it_does_what_it_makes_and_why(tmp_path):
    text = plan(tmp_path, "--dry-run", "workspaces/w4kv8")
    assert (
        "variant: Hard-link a workspace and give it the engine's settings of one variant." in text
    )
    assert "    log: logs/variant_w4kv8.log\nReason: Missing output files: workspaces/w4kv8" in text
    assert "butler/" not in text, "the modules of each stage make it unreadable"


def test_touching_an_unrelated_file_reruns_nothing(state):
    for name in ("pyproject.toml", "requirements-dev.txt", "tests/workflow_state.py"):
        os.utime(ROOT / name)
    assert stale(state) == set()


def test_a_stage_depends_on_the_code_that_it_imports():
    files = [str(path.relative_to(ROOT)) for path in code_of("check_kv_cache.py")]
    assert files[0] == "workflow/scripts/check_kv_cache.py"
    assert "workflow/scripts/butler/reference/quant.py" in files
    assert not [name for name in files if "/butler/benchmarks/" in name]


@pytest.mark.parametrize("kind", KINDS)
def test_what_scores_a_benchmark_is_code_of_that_benchmark_alone(kind):
    own = "butler/benchmarks/recipe/steps.py"
    assert (own in KINDS[kind].code()) == (kind == "recipe")
    scripts = [code_of("evaluate_model.py"), code_of("questions.py")]
    assert not [path for files in scripts for path in files if path.match(own)]


def test_a_stale_environment_is_rebuilt_and_the_target_made(tmp_path):
    stamps = tmp_path / "environments"
    stamps.mkdir()
    for tool in ("xtuner", "lmdeploy", "opencompass"):
        (stamps / f"{tool}.json").write_text("{}")
        os.utime(stamps / f"{tool}.json", (1e9, 1e9))
    arguments = overlay(tmp_path, environments=str(stamps))
    text = plan(tmp_path, "--dry-run", *arguments, "results/recipe_fp16.csv")
    assert ": environment: " in text
    assert "makes: results/recipe_fp16.csv" in text


def test_the_weights_of_a_local_base_are_inputs(state):
    graph = plan(state, "--filegraph", "build/base")
    assert "data/base/tiny/model.safetensors" in graph


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
    text = plan(tmp_path, "--dry-run", *overlay(tmp_path, tarin={}), "all", check=False)
    assert "unknown key 'tarin'; did you mean 'train'?" in text


def test_a_missing_corpus_is_named(tmp_path):
    arguments = overlay(tmp_path, corpus={"path": "data/nowhere.jsonl"})
    text = plan(tmp_path, "--dry-run", *arguments, "all", check=False)
    assert "corpus.path" in text and "data/nowhere.jsonl" in text


def test_the_newest_lmdeploy_serves_the_model_folders(tmp_path):
    cuda = {"engine": "turbomind", "device": "cuda"}
    arguments = overlay(tmp_path, lmdeploy="latest", **cuda)
    target = "results/ceval_w4kv8.csv"
    text = plan(tmp_path, "--dry-run", "--printshellcmds", *arguments, target)
    assert "--model build/awq --lmdeploy latest" in text
    assert ".envs/lmdeploy-latest/bin/python" in text
    assert "makes: .envs/lmdeploy-latest.json" in text
    # No workspace, and none of what is checked in one; the rest is checked as ever.
    assert "build/workspace" not in text and "results/checks/w4kv8.json" not in text
    assert "makes: results/checks/awq.json" in text
    assert "makes: results/checks/template.json" in text


def test_the_newest_lmdeploy_has_all_that_the_report_needs(tmp_path):
    # A base whose heads two GPUs can share; its own code is run.
    model = "internlm/internlm2-chat-7b"
    hub = {"model": model, "revision": "0" * 40, "remote_code": model}
    cuda = {"engine": "turbomind", "device": "cuda", "workspace": {"tp": 2}, "base": hub}
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
        assert "--engine turbomind" in line and "--trust-remote-code" in line
    (report,) = [line for line in lines if "--checks " in line]
    checks = report.split("--checks ")[1].split(" --corpus-stats")[0].split()
    names = {Path(check).stem for check in checks if "/evaluation_" not in check}
    of_variants = {f"efficiency_{variant}" for variant in VARIANTS}
    assert names == {"training", "merge", "template", "awq"} | of_variants
    locks = report.split("--locks ")[1].split(" --logs")[0].split()
    tools = ["xtuner", "lmdeploy", "opencompass", "lmdeploy-latest"]
    kinds = {tool: ["", ".torch"] + [".cuda"] * tool.startswith("lmdeploy") for tool in tools}
    assert [Path(lock).name for lock in locks] == [
        f"{tool}{kind}.lock" for tool in tools for kind in kinds[tool]
    ]


def test_the_newest_lmdeploy_is_built_on_demand_alone(tmp_path):
    (tmp_path / "latest").mkdir()
    cuda = {"engine": "turbomind", "device": "cuda"}
    arguments = overlay(tmp_path / "latest", lmdeploy="latest", **cuda)
    for extra, built in (([], False), (arguments, True)):
        text = plan(tmp_path, "--dry-run", *extra, "environments")
        assert ("lmdeploy-latest" in text) == built


def test_a_split_that_does_not_fit_the_model_stops_before_the_first_job(tmp_path):
    cuda = {"engine": "turbomind", "device": "cuda"}
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
