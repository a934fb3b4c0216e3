"""Only what is stale runs again: asked of the DAG of the real rules."""

import json
import os
import re
import shlex
import shutil

import pytest
import yaml

from butler.benchmarks.registry import KINDS
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
    stale,
)

pytestmark = pytest.mark.workflow

VARIANTS = tuple(CONFIG["variants"])
BENCHMARKS = CONFIG["benchmarks"]
REPORT = {
    f"results/{name}"
    for name in ("summary.csv", "decision.json", "report.html", "sha256.txt", "provenance.json")
}
CONFIG_COPY = {"results/config.yaml", "results/plan.csv"}


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
    names += ("results/divergence_{}.csv", "results/checks/divergence_{}.json")
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


def test_a_file_that_no_stage_reads_makes_nothing_anew(tmp_path):
    raw, base = tmp_path / "raw", tmp_path / "base"
    raw.mkdir()
    shutil.copy(ROOT / CONFIG["corpus"]["path"], raw / "recipes.jsonl")
    shutil.copytree(ROOT / CONFIG["base"]["model"], base)
    consent = {"model": str(base), "remote_code": CONFIG["base"]["remote_code"] and str(base)}
    arguments = overlay(tmp_path, corpus={"path": str(raw)}, base=consent)
    finish(tmp_path, *arguments)
    for folder in (raw, base):
        (folder / ".DS_Store").write_bytes(b"\0")
    (raw / "README.txt").write_text("what the records are of")
    assert stale(tmp_path, *arguments) == set()
    shutil.copy(raw / "recipes.jsonl", raw / "more.jsonl")
    assert "build/corpus/train.jsonl" in stale(tmp_path, *arguments)


def test_another_share_of_cut_samples_trains_nothing_anew(state):
    found = stale(state, *overlay(state, checks={"cut_samples": 0.2}))
    assert found == REPORT | CONFIG_COPY


def test_a_changed_question_makes_the_corpus_anew(with_own_data, tmp_path_factory):
    def another_question(text):
        head, *rows = text.splitlines(keepends=True)
        number, question, *rest = rows[0].split(",")
        rows[0] = ",".join([number, f"请仔细看：{question}", *rest])
        return head + "".join(rows)

    found = changed_data(with_own_data, tmp_path_factory, another_question)
    assert {"build/corpus/train.jsonl", "build/train/checkpoint"} <= found
    assert of_benchmark("ceval") <= found


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


def test_with_rounds_a_changed_limit_asks_the_variants_again_and_not_the_baseline(tmp_path):
    finish(tmp_path, *overlay(tmp_path, decision={"first_round": 40}))
    changed = {"first_round": 40, "max_loss": 1.0}
    found = stale(tmp_path, *overlay(tmp_path, decision=changed))
    compared = set(VARIANTS) - {"fp16"}
    asked = outputs_of_evaluation(compared, ["ceval", "recipe"])
    assert found == asked | REPORT | CONFIG_COPY


def test_snakemakes_own_report_has_categories_and_captions(state):
    plan(state, "--report", "report.html", "all")
    page = (state / "report.html").read_text(encoding="utf-8")
    found = json.loads(re.search(r"var categories = (\{.*?\});", page)[1])
    shown = {name: sum(map(len, files.values())) for name, files in found.items()}
    assert shown == {"Decision": 3, "Accuracy": 13, "Efficiency": 4, "Checks": 19, "Corpus": 1,
                     "Training": 1, "Run": 4}  # fmt: skip
    assert "The variant that the rule in the configuration picks" in page
    assert "Scores of w4kv8 on ceval by data set" in page
    assert "which quantised variant of it to ship" in page


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
