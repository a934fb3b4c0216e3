"""The demo chain with the real tools, and checks that bite when something is broken in it."""

import hashlib
import os
import shutil
import subprocess
import sys

import pandas as pd
import pytest

from butler.decision_texts import MOST_NEEDED
from evaluation_data import read_lines
from real_tools import SCRIPTS, python_of, read_json, run_chain, script
from workflow_state import CONFIG

pytestmark = pytest.mark.e2e
VARIANTS = CONFIG["variants"]
WEIGHTS = "triton_models/weights"


def average(demo, benchmark, model):
    table = pd.read_csv(demo / f"results/{benchmark}_{model}.csv")
    return float(table[table.dataset == "average"].score.iloc[0])


def test_a_second_run_has_nothing_to_do(demo):
    assert "Nothing to be done" in run_chain(demo, "all")


def test_every_record_is_accounted_for(demo):
    stats = read_json(demo / "build/corpus/stats.json")
    assert stats["read"] == stats["kept"] + stats["rejected"]
    assert stats["kept"] == stats["train"] + stats["test"]
    lines = {name: read_lines(demo / f"build/corpus/{name}.jsonl") for name in ("train", "test")}
    assert {name: len(found) for name, found in lines.items()} == {
        "train": stats["train"],
        "test": stats["test"],
    }
    assert len(read_lines(demo / "build/corpus/rejected.jsonl")) == stats["rejected"]


def test_every_check_passed(demo):
    checks = [read_json(path) for path in (demo / "results/checks").glob("*.json")]
    assert all(check["passed"] for check in checks)
    names = {check["check"] for check in checks}
    assert {"training", "merge", "awq", "template", "kv8", "w4kv8"} <= names
    assert {"workspace_base", "workspace_fp16", "workspace_w4"} <= names


def test_the_fine_tuned_model_learnt_what_the_base_cannot(demo):
    assert average(demo, "recipe", "base") < 5
    assert average(demo, "recipe", "fp16") > 25


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_is_clearly_above_chance(demo, variant):
    # 100 questions, chance 25: 50 is more than five standard errors above.
    assert average(demo, "ceval", variant) > 50


def test_the_variants_weigh_what_they_should(demo):
    def value(variant, metric):
        table = pd.read_csv(demo / f"results/efficiency_{variant}.csv").set_index("metric")
        return float(table.value[metric])

    assert value("w4", "weight_bytes") < 0.5 * value("fp16", "weight_bytes")
    assert value("kv8", "weight_bytes") == value("fp16", "weight_bytes")
    assert value("kv8", "kv_bytes_per_token") < 0.6 * value("fp16", "kv_bytes_per_token")


def test_the_variants_share_their_weights_on_disk(demo):
    name = f"{WEIGHTS}/tok_embeddings.0.weight"
    inodes = {(demo / f"workspaces/{v}/{name}").stat().st_ino for v in ("fp16", "kv8")}
    assert len(inodes) == 1


def test_of_so_few_questions_nothing_is_shown_and_fp16_ships(demo):
    """100 unchanged answers leave room for a loss of more than the 2 points that are allowed."""
    decision = read_json(demo / "results/decision.json")
    assert decision["variant"] == "fp16"
    verdicts = {one["variant"]: one for one in decision["verdicts"]}
    assert list(verdicts) == VARIANTS
    open_ones = [name for name, one in verdicts.items() if one["outcome"] == "undecided"]
    assert "kv8" in open_ones and not any(one["outcome"] == "within" for one in verdicts.values())
    # What would be smallest is what to settle, and how, of those that a benchmark can settle.
    can_be = [
        name
        for name in open_ones
        if all((one["needed"] or 0) <= MOST_NEEDED for one in verdicts[name]["benchmarks"].values())
    ]
    first = min(can_be or open_ones, key=lambda name: verdicts[name]["memory_bytes"])
    assert f"To settle {first} (" in decision["sentence"] and "about" in decision["sentence"]
    for found in verdicts["kv8"]["benchmarks"].values():
        assert found["low"] < -2 < found["high"] and found["needed"] > found["change"]["questions"]


def test_the_report_says_what_is_shown_and_how_sure(demo):
    decision = read_json(demo / "results/decision.json")
    page = (demo / "results/report.html").read_text(encoding="utf-8")
    assert all(name in page for name in ("base", *VARIANTS))
    assert 'data-chart="forest"' in page and "at most 5 of 100 such runs" in page
    said = "\n".join(decision["remarks"])
    assert "Fine-tuning gained" in said and "points on recipe" in said
    assert "Of the 40 questions of recipe only" in said  # as dishes repeat
    assert "guessing" not in said
    summary = pd.read_csv(demo / "results/summary.csv").set_index("variant")
    assert set(VARIANTS) <= set(summary.index)
    assert summary.ceval_verdict["kv8"] == "undecided"
    assert not any("per_s" in name for name in summary), "no speed of the reference engine"


def test_the_hashes_are_those_of_the_artefacts(demo):
    lines = (demo / "results/sha256.txt").read_text(encoding="utf-8").splitlines()
    listed = dict(reversed(line.split("  ", 1)) for line in lines)
    assert {"build/corpus/train.jsonl", "results/recipe_w4kv8.csv"} <= set(listed)
    assert any(name.startswith("workspaces/w4kv8/triton_models/") for name in listed)
    for name, digest in listed.items():
        assert hashlib.sha256((demo / name).read_bytes()).hexdigest() == digest, name


def verify(demo, *arguments):
    command = [sys.executable, str(SCRIPTS / "verify.py"), demo / "results/provenance.json"]
    return subprocess.run([*command, *arguments], capture_output=True, text=True)


def test_the_run_verifies_and_a_changed_file_is_named(demo):
    done = verify(demo, "--inputs")
    assert done.returncode == 0, done.stdout
    path = demo / "results/ceval_w4.csv"
    content, times = path.read_bytes(), path.stat()
    path.write_bytes(content.replace(b"0", b"9", 1))
    try:
        done = verify(demo)
    finally:
        path.write_bytes(content)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert done.returncode == 1
    assert done.stdout == "results/ceval_w4.csv was changed: its hash is another\n"


def test_no_file_of_the_run_says_where_it_was_made(demo):
    here = str(demo).encode()
    files = [
        path
        for folder in ("build", "results", "workspaces")
        for path in (demo / folder).rglob("*")
        if path.is_file()
    ]
    assert len(files) > 500
    assert [path for path in files if here in path.read_bytes()] == []


def check_workspace(demo, workspace, out):
    return script(
        "lmdeploy",
        "check_workspace.py",
        *("--workspace", workspace, "--model", demo / "build/merged", "--format", "hf"),
        *("--held-out", demo / "build/corpus/test.jsonl", "--chat-template", "internlm2_chat"),
        *("--samples", 2, "--limit", 0.002, "--lmdeploy-limit", 0.02, "--out", out),
    )


def test_a_flipped_byte_in_a_weight_fails_the_workspace_check(demo, tmp_path):
    broken = tmp_path / "fp16"
    shutil.copytree(demo / "build/workspace/fp16", broken)
    path = broken / WEIGHTS / "layers.3.attention.w_qkv.0.weight"
    data = bytearray(path.read_bytes())
    data[1001] ^= 0x01
    path.write_bytes(data)
    done = check_workspace(demo, broken, tmp_path / "check.json")
    assert done.returncode == 1
    assert "layers.3.attention.w_qkv.0.weight is not the file that was made" in done.stderr


def test_a_workspace_of_another_model_fails_though_its_manifest_is_right(demo, tmp_path):
    from butler.manifest import write_manifest

    broken = tmp_path / "fp16"
    shutil.copytree(demo / "build/workspace/fp16", broken)
    path = broken / WEIGHTS / "layers.3.attention.wo.0.weight"
    data = path.read_bytes()
    path.write_bytes(data[len(data) // 2 :] + data[: len(data) // 2])
    (broken / "manifest.json").unlink()
    write_manifest(broken)
    done = check_workspace(demo, broken, tmp_path / "check.json")
    assert done.returncode == 1
    assert "layers.3.attention.wo.0.weight" in done.stderr
    assert read_json(tmp_path / "check.json")["passed"] is False


@pytest.mark.parametrize("file", ["tokenizer_config.json", "chat_template.json"])
def test_a_wrong_template_fails_the_template_check(demo, tmp_path, file):
    broken = tmp_path / "fp16"
    shutil.copytree(demo / "build/workspace/fp16", broken)
    path = broken / file
    text = path.read_text(encoding="utf-8")
    assert "user\\" in text
    path.write_text(text.replace("user\\", "human\\"), encoding="utf-8")
    done = script(
        "lmdeploy",
        "check_template.py",
        *("--prompts", demo / "build/train/prompts.jsonl", "--workspace", broken),
        *("--out", tmp_path / "check.json"),
    )
    assert done.returncode == 1
    assert "check template" in done.stderr


def test_awq_weights_of_another_model_fail_the_awq_check(demo, tmp_path):
    done = script(
        "lmdeploy",
        "check_awq.py",
        *("--merged", demo / "build/base", "--awq", demo / "build/awq"),
        *("--limit", 0.75, "--out", tmp_path / "check.json"),
    )
    assert done.returncode == 1
    assert "check awq" in done.stderr


def test_a_merge_without_its_adapter_fails_the_merge_check(demo, tmp_path):
    done = script(
        "xtuner",
        "check_merge.py",
        *("--base", demo / "build/base", "--adapter", demo / "build/adapter"),
        *("--merged", demo / "build/base", "--out", tmp_path / "check.json"),
    )
    assert done.returncode == 1
    assert "check merge" in done.stderr


@pytest.mark.parametrize("bits", [(), ("--bits", "4")])
def test_the_merged_model_chats_in_the_terminal(demo, bits):
    options = ["--trust-remote-code", "--temperature", "0", "--max-new-tokens", "40", *bits]
    command = [python_of("xtuner"), str(SCRIPTS / "chat.py"), str(demo / "build/merged"), *options]
    typed = "西红柿炒鸡蛋的做法\nEXIT\n"
    done = subprocess.run(command, input=typed, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "BOT: 您需要准备以下食材" in done.stdout
