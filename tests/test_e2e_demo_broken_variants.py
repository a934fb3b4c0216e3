"""Planted broken variants: the finer evidence names each, and none of them is ever shipped.

In a run the checks stop two of them before anything is evaluated (check_workspace sees another
model and changed scales, by tensors and manifest; check_awq the scales) and checks.kv_nll may stop
the third. What is tested here is what stands if no check does: the evidence of 40 conversations and
the decision on 40 questions.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from broken_variants import doubled_scale, of_another_model, with_outliers
from butler.comparisons import change_of, common, looks_of
from butler.decision import Candidate, decide
from butler.divergence import answers_differ
from butler.results import read_divergence
from butler.rounds import Rounds
from butler.schemes import BASELINE, VARIANTS
from butler.settings.judging_stage import DecisionSettings
from butler.verdicts import Outcome
from evaluation_data import read_lines
from real_tools import SCRIPTS, python_of, run_chain, script
from workflow_state import CONFIG, ROOT

pytestmark = pytest.mark.e2e
BROKEN = {  # by what they pretend to be
    "w4": lambda demo, out: doubled_scale(demo / "workspaces/w4", out, "layers.5.attention.w_qkv"),
    "w4kv8": lambda demo, out: of_another_model(demo / "workspaces/base", out),
    "kv4": lambda demo, out: with_outliers(demo / "workspaces/kv4", out, 32),
}
TIMES = 4  # as far off as any sound variant, at least
RECIPE = next(one for one in CONFIG["benchmarks"] if one["name"] == "recipe")
QUESTIONS = 40


@pytest.fixture(scope="module")
def finished(demo: Path) -> Path:
    """The demo's run with an int4 cache beside its own variants."""
    run_chain(demo, "workspaces/kv4", variants=[*CONFIG["variants"], "kv4"])
    return demo


@pytest.fixture(scope="module")
def broken(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("broken")
    return {name: make(finished, folder / name) for name, make in BROKEN.items()}


def divergence(demo: Path, workspace: Path, folder: Path) -> dict[str, float]:
    """Run the stage on a workspace; return its figures."""
    results = folder / "results"
    (results / "checks").mkdir(parents=True, exist_ok=True)
    name = workspace.name
    done = script(
        "lmdeploy",
        "divergence.py",
        *("--workspace", workspace, "--baseline", demo / "workspaces/fp16", "--variant", name),
        *("--held-out", demo / "build/corpus/test.jsonl", "--conversations", QUESTIONS),
        *("--chat-template", "internlm2_chat", "--out", results / f"divergence_{name}.csv"),
        *("--check", results / f"checks/divergence_{name}.json"),
    )
    assert done.returncode == 0, done.stderr
    return dict(read_divergence(results, name).values)


@pytest.fixture(scope="module")
def sound(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    folder = tmp_path_factory.mktemp("sound")
    return {n: divergence(finished, finished / "workspaces" / n, folder) for n in BROKEN}


def test_no_sound_variant_is_named(sound: dict[str, dict[str, float]]) -> None:
    assert not [name for name, measured in sound.items() if answers_differ(measured)]


@pytest.mark.parametrize("name", BROKEN)
def test_each_broken_variant_is_far_beyond_the_sound_ones(
    finished: Path,
    broken: dict[str, Path],
    sound: dict[str, dict[str, float]],
    name: str,
    tmp_path: Path,
) -> None:
    measured = divergence(finished, broken[name], tmp_path)
    assert answers_differ(measured), measured
    assert measured["kl_mean_low"] > TIMES * max(one["kl_mean_high"] for one in sound.values())
    assert measured["same_top_high"] < min(one["same_top_low"] for one in sound.values())


def test_outliers_alone_change_nothing(
    finished: Path, sound: dict[str, dict[str, float]], tmp_path: Path
) -> None:
    workspace = with_outliers(finished / "workspaces/fp16", tmp_path / "kv4", 32)
    measured = divergence(finished, workspace, tmp_path)
    assert measured["kl_mean"] < sound["kv4"]["kl_mean"] / 100


def evaluated(demo: Path, name: str, workspace: Path, folder: Path) -> list[dict]:
    """Let OpenCompass ask a workspace the demo's 40 recipes; return the details."""
    command = [sys.executable, SCRIPTS / "evaluate_model.py", "--benchmark", json.dumps(RECIPE)]
    command += ["--questions", demo / "build/benchmarks/recipe.jsonl", "--repository", ROOT]
    command += ["--variant", name, "--workspace", workspace, "--engine", "reference"]
    command += ["--server-python", python_of("lmdeploy"), "--threads", 2]
    command += ["--opencompass-python", python_of("opencompass"), "--trust-remote-code"]
    command += ["--session-len", CONFIG["workspace"]["session_len"], "--max-blank-share", 1]
    command += ["--work-dir", folder / name, "--out", folder / f"{name}.csv"]
    command += ["--check", folder / f"{name}.json"]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return read_lines(folder / name / "details.jsonl")


def test_no_broken_variant_is_ever_shipped(
    finished: Path, broken: dict[str, Path], tmp_path: Path
) -> None:
    baseline = read_lines(finished / "build/evaluate/recipe_fp16/details.jsonl")
    assert len(baseline) == QUESTIONS
    candidates = [Candidate(BASELINE, {}, {}, 100.0)]
    for name, workspace in broken.items():
        pairs = common(evaluated(finished, name, workspace, tmp_path), baseline)
        assert len(pairs) == QUESTIONS
        looks = looks_of(pairs, Rounds([QUESTIONS]))
        # Each takes less than fp16: whatever may ship of them would.
        memory = 50.0 + list(VARIANTS).index(name)
        candidates.append(Candidate(name, {"recipe": change_of(pairs)}, {"recipe": looks}, memory))
    decision = decide(DecisionSettings(), candidates, {"recipe": "recipe"})
    assert decision.variant == BASELINE
    outcomes = {one.variant: one.verdict.outcome for one in decision.judged if one.verdict}
    assert set(outcomes) == set(BROKEN) and Outcome.WITHIN not in outcomes.values()
    # What answers as another model does is shown to lose, with no more than 40 questions.
    assert outcomes["w4kv8"] is Outcome.OVER
