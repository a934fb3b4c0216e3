"""Many runs side by side: what is planned once, what again, and what is refused."""

import re
import shlex
from collections import Counter
from pathlib import Path

import pytest
import yaml

from butler.errors import ButlerError
from butler.rerun import rerun_command
from butler.scenario_folders import run_of
from butler.settings.overlays import configuration
from butler.settings.scenarios import read_scenarios
from workflow_state import ROOT, leave_placeholder, outputs_in, plan

pytestmark = pytest.mark.workflow

DEMO = "config/scenarios_demo.yaml"
STAGE = re.compile(r"runs/stages/[^/]+/")


def given(folder, scenarios, name="scenarios.yaml", **common):
    """Write a scenario file and what is common; return the arguments that apply them."""
    path = folder / name
    text = scenarios if isinstance(scenarios, str) else yaml.safe_dump(scenarios, sort_keys=False)
    path.write_text(text, encoding="utf-8")
    (folder / "common.yaml").write_text(yaml.safe_dump(common), encoding="utf-8")
    return ["--config", f"scenarios={path}", f"overlays={folder / 'common.yaml'}", "--"]


def planned(folder, *arguments):
    """Return how often each artefact would be made, by the name that it has in a plain run."""
    outputs = outputs_in(plan(folder, "--dry-run", *arguments, "scenarios"))
    return Counter(STAGE.sub("", name) for name in outputs)


def rates(**others):
    return {"slow": {"train": {"learning_rate": 1e-3}, **others}, "fast": {**others}}


OF_THE_BASE = {
    "build/corpus/train.jsonl",
    "build/base",
    "build/benchmarks/ceval.jsonl",
    "build/workspace/base",
    "workspaces/base",
    "results/checks/workspace_base.json",
    "results/ceval_base.csv",
    "results/recipe_base.csv",
}
OF_THE_TRAINING = {
    "build/train/config.py",
    "build/train/checkpoint",
    "build/adapter",
    "build/merged",
    "results/checks/training.json",
    "build/workspace/fp16",
    "workspaces/fp16",
    "results/ceval_fp16.csv",
    "results/efficiency_fp16.csv",
}
OF_THE_QUANTISATION = {
    "build/awq",
    "results/checks/awq.json",
    "build/workspace/w4",
    "workspaces/w4kv8",
    "results/ceval_w4kv8.csv",
    "results/divergence_w4kv8.csv",
}
OF_EACH = {"results/report.html", "results/decision.json", "results/sha256.txt"}


def test_two_learning_rates_share_corpus_base_environments_and_the_bases_evaluation(tmp_path):
    arguments = given(tmp_path, rates(variants=["fp16", "w4kv8"]), environments="envs")
    found = planned(tmp_path, *arguments)
    assert {name: found[name] for name in OF_THE_BASE} == dict.fromkeys(OF_THE_BASE, 1)
    environments = {f"envs/{tool}.json" for tool in ("xtuner", "lmdeploy", "opencompass")}
    assert {name: found[name] for name in environments} == dict.fromkeys(environments, 1)
    twice = OF_THE_TRAINING | OF_THE_QUANTISATION | OF_EACH
    assert {name: found[name] for name in twice} == dict.fromkeys(twice, 2)


def test_two_schemes_share_all_but_the_quantisation(tmp_path):
    scenarios = {"plain": {}, "searched": {"awq": {"search_scale": True}}}
    found = planned(tmp_path, *given(tmp_path, scenarios, variants=["fp16", "w4kv8"]))
    once = OF_THE_BASE | OF_THE_TRAINING
    assert {name: found[name] for name in once} == dict.fromkeys(once, 1)
    twice = OF_THE_QUANTISATION | OF_EACH
    assert {name: found[name] for name in twice} == dict.fromkeys(twice, 2)


def test_a_choice_of_variants_makes_only_the_variants_that_another_scenario_has_not(tmp_path):
    scenarios = {"two": {"variants": ["fp16", "w4"]}, "three": {"variants": ["fp16", "w4", "kv8"]}}
    found = planned(tmp_path, *given(tmp_path, scenarios))
    made = OF_THE_BASE | OF_THE_TRAINING | {"build/awq", "workspaces/w4", "workspaces/kv8"}
    assert {name: found[name] for name in made} == dict.fromkeys(made, 1)


def test_two_bases_share_the_corpus_and_the_questions(tmp_path):
    hub = {"model": "Qwen/Qwen2.5-0.5B-Instruct", "revision": "0" * 40}
    hub |= {"remote_code": False, "chat_template": "qwen_chat"}
    scenarios = {"tiny": {}, "qwen": {"base": hub}}
    arguments = given(tmp_path, scenarios, variants=["fp16", "w4kv8"])
    found = planned(tmp_path, *arguments)
    once = {"build/corpus/train.jsonl", "build/benchmarks/ceval.jsonl"}
    once |= {"build/benchmarks/recipe.jsonl"}
    assert {name: found[name] for name in once} == dict.fromkeys(once, 1)
    twice = OF_THE_BASE - once | OF_THE_TRAINING | OF_THE_QUANTISATION
    assert {name: found[name] for name in twice} == dict.fromkeys(twice, 2)
    # What a stage of a hub's base holds is known once that base is fetched.
    text = plan(tmp_path, "--dry-run", *arguments, "scenarios")
    jobs = dict(re.findall(r"^Job \d+: (\w+_train): .*?memory: (\S+) MB", text, re.M | re.S))
    assert jobs["qwen_train"] == "<TBD>" and jobs["tiny_train"].isdigit()


def test_two_corpora_never_share_a_training(tmp_path):
    scenarios = {"all": {}, "some": {"corpus": {"sample": 500}}}
    found = planned(tmp_path, *given(tmp_path, scenarios))
    assert found["build/base"] == 1
    assert found["build/corpus/train.jsonl"] == found["build/train/config.py"] == 2
    assert found["build/train/checkpoint"] == 2


def test_each_job_takes_what_its_own_scenario_made(tmp_path):
    arguments = given(tmp_path, rates(variants=["fp16", "w4kv8"]))
    text = plan(tmp_path, "--dry-run", "--printshellcmds", *arguments, "scenarios")
    rendered = dict(
        re.findall(r'render_training.*?"learning_rate": ([\d.]+).*?--out runs/stages/(\S+?)/', text)
    )
    assert set(rendered) == {"0.001", "0.002"}
    trained = dict(
        re.findall(r"train\.py --config runs/stages/([^/]+)/.*?--out runs/stages/([^/]+)/", text)
    )
    adapted = set(
        re.findall(r"adapter\.py --config runs/stages/([^/]+)/\S+ --checkpoint (\S+)", text)
    )
    assert set(trained) == set(rendered.values())
    assert adapted == {
        (config, f"runs/stages/{train}/build/train/checkpoint") for config, train in trained.items()
    }


def finish(folder, *arguments):
    """Leave placeholders of every output of `scenarios` but its links, recorded as up to date."""
    links = [f"runs/{name}/links.txt" for name in ("slow", "fast")]
    plan(folder, *arguments, *links)
    for name in outputs_in(plan(folder, "--dry-run", *arguments, "scenarios")):
        leave_placeholder(folder, name, STAGE.sub("", name))
    plan(folder, "--touch", "--forceall", *arguments, "scenarios")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    finish(folder, *given(folder, rates(variants=["fp16", "w4kv8"])))
    return folder


def test_an_edited_scenario_makes_its_own_stages_again_and_no_others(finished):
    assert not planned(finished, *given(finished, rates(variants=["fp16", "w4kv8"])))
    edited = rates(variants=["fp16", "w4kv8"])
    edited["slow"]["train"]["learning_rate"] = 5e-4
    found = planned(finished, *given(finished, edited, "edited.yaml"))
    again = OF_THE_TRAINING | OF_THE_QUANTISATION | OF_EACH
    assert {name: found[name] for name in again} == dict.fromkeys(again, 1)
    assert not OF_THE_BASE & set(found)


def test_a_scenario_that_goes_takes_nothing_from_those_that_shared_with_it(finished):
    alone = {"fast": rates(variants=["fp16", "w4kv8"])["fast"]}
    found = planned(finished, *given(finished, alone, "alone.yaml"))
    assert not {name for name in found if not name.startswith("runs/")}


def test_an_edited_way_of_quantising_trains_nothing_anew(finished):
    edited = rates(variants=["fp16", "w4kv8"])
    edited["fast"]["awq"] = {"search_scale": True}
    found = planned(finished, *given(finished, edited, "edited.yaml"))
    assert found["build/awq"] == found["workspaces/w4kv8"] == 1
    assert not (OF_THE_BASE | OF_THE_TRAINING) & set(found)


def test_a_plain_run_has_the_paths_that_it_has_without_scenarios(tmp_path):
    arguments = given(tmp_path, rates())
    text = plan(tmp_path, "--dry-run", *arguments, "all")
    assert "results/ceval_w4kv8.csv" in outputs_in(text)
    assert not [name for name in outputs_in(text) if name.startswith("runs/")]


def test_what_needs_a_network_is_prepared_for_the_scenarios_and_no_plain_run(tmp_path):
    hub = {"model": "Qwen/Qwen3-8B", "revision": "0" * 40, "remote_code": False}
    hub |= {"chat_template": "qwen3_chat", "architecture": "Qwen3ForCausalLM"}
    scenarios = {"tiny": {}, "hub": {"base": hub}}
    arguments = given(
        tmp_path, scenarios, variants=["fp16"], environments="envs", engine="reference"
    )
    made = outputs_in(plan(tmp_path, "--dry-run", *arguments, "prepare"))
    found = Counter(STAGE.sub("", name) for name in made)
    assert found["build/base"] == 2 and found["build/benchmarks/ceval.jsonl"] == 1
    assert found["envs/xtuner.json"] == found["envs/xtuner-qwen3.json"] == 1
    assert "build/base" not in made and "build/train/checkpoint" not in found


def test_the_plan_is_of_each_scenario(tmp_path):
    scenarios = {"short": {"train": {"max_steps": 7}}, "more": {"variants": ["fp16", "kv8", "w4"]}}
    said = plan(tmp_path, *given(tmp_path, scenarios, variants=["fp16"]), "plan")
    _, short, more = said.split("Scenario ")
    assert short.startswith("short, as if it were alone") and more.startswith("more, as if")
    assert "\nawq " in more and "\nawq " not in short


def test_a_link_that_is_asked_for_is_told_by_what_it_shows(tmp_path):
    arguments = given(tmp_path, rates(variants=["fp16"]))
    target = "runs/slow/results/ceval_fp16.csv"
    said = plan(tmp_path, "--dry-run", *arguments, target, check=False)
    shown = re.search(rf"{target} is a link; ask for (runs/stages/evaluate-[^,]+)", said)
    assert shown and "Traceback" not in said
    assert "evaluate" in plan(tmp_path, "--dry-run", *arguments, shown[1])


def test_the_example_plans_two_scenarios(tmp_path):
    arguments = ["--config", f"scenarios={DEMO}", "--"]
    found = planned(tmp_path, *arguments)
    assert found["build/train/checkpoint"] == 2 and found["build/corpus/train.jsonl"] == 1
    assert len(yaml.safe_load((ROOT / DEMO).read_text(encoding="utf-8"))) == 2


def test_what_the_command_line_asks_of_a_rule_holds_for_each_scenarios(tmp_path):
    arguments = given(tmp_path, rates(variants=["fp16"]))
    text = plan(
        tmp_path, "--dry-run", "--set-resources", "train:mem_mb=77", *arguments, "scenarios"
    )
    jobs = re.findall(r"^Job \d+: (\w+): .*?memory: (\d+) MB", text, re.MULTILINE | re.DOTALL)
    assert {name for name, memory in jobs if memory == "77"} == {"slow_train", "fast_train"}


REFUSED = {
    "unknown key": ("one: {trian: {}}", "unknown key 'trian'; did you mean 'train'?"),
    "wrong value": (
        "one: {train: {lora_r: many}}",
        "scenario one: config: key 'train.lora_r' takes integer, found 'many'",
    ),
    "a reserved folder": ("stages: {}", "cannot be called stages: runs/stages holds"),
    "names of rules": ("check: {}", "its jobs would have names of the workflow's own"),
    "no name": ("a/b: {}", "'a/b' cannot name a scenario"),
    "alike names": ("a: {}\na_train: {seed: 1}", "a and a_train are named too alike"),
    "twice": ("a: {seed: 1}\nb: {seed: 1}", "scenarios a and b have the same settings"),
    "twice by default": ("a: {}\nb: {seed: 42}", "scenarios a and b have the same settings"),
    "none": ("", "holds no scenario"),
    "no mapping": ("- a", "holds no scenario"),
    "no overlay": ("a: 3", "scenario a: takes a mapping of keys to values, found 3"),
    "no YAML": ("a: {", "is not YAML: line"),
    "a rule of its own": ("a: {decision: {max_loss: 1.0}}", "one rule decides over all scenarios"),
    "environments": ("a: {environments: here}", "environments cannot differ"),
    "limit of a shared stage": (
        "a: {checks: {cut_samples: 0.5}}",
        "checks.cut_samples cannot differ",
    ),
    "no file of a run": ("a: {corpus: {path: none.jsonl}}", "scenario a: config: corpus.path"),
    "a missing overlay": ("a: {overlays: [none.yaml]}", "overlay none.yaml is no file"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_scenario_is_refused_in_one_sentence(name, tmp_path):
    text, sentence = REFUSED[name]
    said = plan(tmp_path, "--dry-run", *given(tmp_path, text), "scenarios", check=False)
    assert sentence in said
    assert "Traceback" not in said
    lines = [line for line in said.splitlines() if sentence in line]
    assert len(lines) == 1 and "scenarios.yaml" in lines[0]


def test_a_missing_scenario_file_is_told_with_the_command(tmp_path):
    given_file = ["--config", f"scenarios={tmp_path / 'none.yaml'}", "--"]
    said = plan(tmp_path, "--dry-run", *given_file, "scenarios", check=False)
    assert f"none.yaml is no file; give one such as {DEMO}" in said
    assert "Traceback" not in said


def test_scenarios_without_a_file_say_how_to_give_one(tmp_path):
    said = plan(tmp_path, "--dry-run", "scenarios", check=False)
    assert f"snakemake scenarios --config scenarios={DEMO}" in said


def test_a_scenario_may_build_on_overlays_beside_its_file(tmp_path):
    (tmp_path / "few.yaml").write_text("train: {max_steps: 7}\n", encoding="utf-8")
    scenarios = {"few": {"overlays": ["few.yaml"]}, "many": {}}
    text = plan(tmp_path, "--dry-run", "--printshellcmds", *given(tmp_path, scenarios), "scenarios")
    assert set(re.findall(r'"max_steps": (\d+)', text)) == {"7", "160"}
    assert Path(tmp_path / "few.yaml").is_file()


def test_a_hint_of_ours_plans_the_stage_that_a_scenarios_link_shows(tmp_path):
    arguments = given(tmp_path, rates(variants=["fp16"]), seed=7)
    finish(tmp_path, *arguments)
    for name in ("slow", "fast"):
        assert (tmp_path / "runs" / name / "results" / "ceval_fp16.csv").is_file()
    words = shlex.split(rerun_command(["runs/slow/results/ceval_fp16.csv"], tmp_path))
    text = plan(tmp_path, *words[words.index("--cores") : -2], "--dry-run", *words[-2:])
    found = Counter(STAGE.sub("", name) for name in outputs_in(text))
    assert found["results/ceval_fp16.csv"] == 1
    assert not {"build/base", "build/merged", "results/recipe_fp16.csv"} & set(found)


def test_a_scenarios_links_are_a_runs_folder(finished):
    folder = finished / "runs" / "slow"
    assert (folder / "workspaces" / "w4kv8").is_dir()
    assert (folder / "build" / "corpus" / "train.jsonl").is_file()
    assert run_of(folder / "results" / "provenance.json") == finished.resolve()
    other = finished / "runs" / "fast"
    shared, own = "results/ceval_base.csv", "results/ceval_fp16.csv"
    assert (folder / shared).resolve() == (other / shared).resolve()
    assert (folder / own).resolve() != (other / own).resolve()


def test_what_no_scenario_has_any_more_is_listed(tmp_path):
    finish(tmp_path, *given(tmp_path, rates(variants=["fp16"])))
    alone = given(tmp_path, {"fast": {"variants": ["fp16"]}}, "alone.yaml")
    listed = plan(tmp_path, *alone, "unused_stages")
    folders = {line for line in listed.splitlines() if line.startswith("runs/stages/")}
    assert any("/train-" in name for name in folders)
    assert not any("/corpus-" in name or "/base_model-" in name for name in folders)


def test_a_wrong_key_of_a_scenarios_overlay_is_told_with_that_overlay(tmp_path):
    (tmp_path / "below.yaml").write_text("train: {lora_rr: 8}\n")
    (tmp_path / "all.yaml").write_text("one: {overlays: below.yaml, train: {lora_r: 8}}\n")
    with pytest.raises(ButlerError) as caught:
        read_scenarios("all.yaml", [tmp_path], configuration(ROOT))
    assert "all.yaml, scenario one: below.yaml: unknown key 'train.lora_rr'" in str(caught.value)
