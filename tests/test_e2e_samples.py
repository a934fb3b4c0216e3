"""Samples longer than a pack: told before the training, and no fault of the chat template."""

import json

import pytest

from butler.settings.training_stage import TrainSettings
from real_tools import ENVIRONMENTS, read_json, script
from workflow_state import ROOT

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        not all((ENVIRONMENTS / tool).exists() for tool in ("xtuner", "lmdeploy")),
        reason="the environments of XTuner and LMDeploy are not built",
    ),
]
MAX_LENGTH = 128


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """A folder with a base and XTuner's configuration for packs of MAX_LENGTH tokens."""
    folder = tmp_path_factory.mktemp("stage")
    done = script(
        "xtuner",
        "base_model.py",
        *("--model", "data/base/tiny", "--repository", ROOT, "--remote-code"),
        *("--chat-template", "internlm2_chat", "--out", folder / "base"),
    )
    assert done.returncode == 0, done.stderr
    settings = TrainSettings(max_length=MAX_LENGTH).to_argument()
    done = script(
        "xtuner",
        "render_training.py",
        *("--settings", settings, "--chat-template", "internlm2_chat", "--remote-code"),
        *("--base", folder / "base", "--data", folder / "train.jsonl", "--seed", 42),
        *("--out", folder / "config.py", "--plan", folder / "plan.json"),
    )
    assert done.returncode == 0, done.stderr
    return folder


def write(path, *repeats):
    """Write a record for each number, whose question has so many parts."""
    turns = [{"system": "你是厨师", "input": "萝卜的做法" * n, "output": "切块。"} for n in repeats]
    lines = [json.dumps({"conversation": [turn]}, ensure_ascii=False) for turn in turns]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def lengths(stage, data, limit):
    return script(
        "xtuner",
        "sample_lengths.py",
        *("--config", stage / "config.py", "--data", data, "--max-length", MAX_LENGTH),
        *("--limit", limit, "--out", data.with_name("lengths.json")),
    )


def test_too_many_long_samples_stop_the_run_before_the_training(stage, tmp_path):
    data = write(tmp_path / "train.jsonl", 1, 1, 1, 200)
    assert lengths(stage, data, 0.25).returncode == 0
    assert read_json(tmp_path / "lengths.json")["cut"] == 1
    (tmp_path / "lengths.json").unlink()
    done = lengths(stage, data, 0.2)
    assert done.returncode == 1
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "1 of 4 training samples are longer than train.max_length 128" in said
    assert "checks.cut_samples 0.2" in said and "corpus.max_chars" in said
    assert not (tmp_path / "lengths.json").exists()


def check_template(stage, data):
    prompts, out = data.with_name("prompts.jsonl"), data.with_name("check.json")
    done = script(
        "xtuner",
        "training_prompts.py",
        *("--config", stage / "config.py", "--data", data, "--out", prompts),
    )
    assert done.returncode == 0, done.stderr
    asked = ("--prompts", prompts, "--workspace", stage / "base", "--out", out)
    return script("lmdeploy", "check_template.py", *asked), read_json(out)


def test_the_template_is_checked_on_what_is_not_cut(stage, tmp_path):
    done, check = check_template(stage, write(tmp_path / "train.jsonl", 1, 200, 2))
    assert done.returncode == 0, done.stderr
    assert check["measured"] == {"prompts": 2, "cut": 1, "different": 0}
    assert "2 prompts are byte for byte" in check["sentence"] and "1 more" in check["sentence"]


def test_a_template_that_nothing_can_be_compared_with_is_told(stage, tmp_path):
    done, check = check_template(stage, write(tmp_path / "train.jsonl", 200, 300))
    assert done.returncode == 1 and not check["passed"]
    assert "train.max_length cuts each of 2 prompts before its answer: raise it" in done.stderr


@pytest.mark.parametrize("name", ["sample_lengths.py", "training_prompts.py", "adapter.py"])
def test_a_configuration_of_others_is_not_run(name, tmp_path):
    other = tmp_path / "config.py"
    other.write_text("raise SystemExit('run')\n", encoding="utf-8")
    options = {
        "sample_lengths.py": ("--max-length", 9, "--limit", 1),
        "training_prompts.py": (),
        "adapter.py": ("--checkpoint", tmp_path),
    }[name]
    data = () if name == "adapter.py" else ("--data", write(tmp_path / "train.jsonl", 1))
    done = script("xtuner", name, "--config", other, *data, *options, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert f"error: {other} was not made by render_training.py; run it first" in done.stderr
