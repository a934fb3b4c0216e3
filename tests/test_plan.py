"""What a run needs, counted before it starts: held against files, measurements and the rules."""

import http.server
import json
import math
import re
import shutil
import sys
import threading
from pathlib import Path

import pytest
import yaml

import plan as plan_script
from butler.benchmarks.question_sheet import Question, write_sheet
from butler.errors import ButlerError
from butler.model_folder import read_shapes
from butler.plan.fit import misfits
from butler.plan.gpu_memory import gpu_bytes
from butler.plan.host_memory import (
    BOUND,
    BY_SIZE,
    Task,
    host_bytes,
)
from butler.plan.machine import Machine, host_memory
from butler.plan.measured import CUDA_HOST, GB, PROCESS
from butler.plan.model_size import ModelSize, hub_size
from butler.plan.stage_needs import CHECKPOINTS, PACKED, needs, raw_bytes, read_texts
from butler.schemes import BASE_MODEL, KV_CACHES, WEIGHTS
from butler.settings.corpus_stage import CorpusSettings
from butler.settings.overlays import configuration
from butler.settings.run import Settings
from butler.xtuner.memory import DecoderShape
from workflow_state import CONFIG, ROOT, copy_state, overlay, plan

TINY = ROOT / "data" / "base" / "tiny"
SHAPE_7B = DecoderShape(32, 4096, 14336, 32, 8, 128, 92544, fused_qkv=True, lora_on_head=True)
SIZE_7B = ModelSize(SHAPE_7B, tied=False, stored=2 * 7_737_708_544, eager=True)
MIB, GIB = 2**20, 2**30


def settings(**changed):
    """The settings of a 7B, some of them changed."""
    return Settings.check(configuration(ROOT, "config/7b.yaml", changed))


def task(on_gpu, size=SIZE_7B, free=None, **changed):
    return Task(settings(**changed), size, on_gpu, free)


def told(one, machine):
    """What of a whole run does not fit."""
    return misfits(needs(one, read_texts(one, ROOT), True, 0, machine), one, machine)


def test_the_bytes_of_the_demos_base_are_those_of_its_files():
    size = ModelSize.read(TINY)
    shapes = read_shapes(TINY / "model.safetensors", "tiny")
    assert size.fp16 == 2 * sum(math.prod(shape) for shape in shapes.values())
    assert size.stored == (TINY / "model.safetensors").stat().st_size
    # Of the workspaces that LMDeploy wrote for it.
    assert size.served(WEIGHTS["fp16"], 128) == 14_688_768
    assert size.served(WEIGHTS["w4"], 128) == 5_448_192


def test_the_bytes_of_a_7b_are_those_that_were_measured():
    assert SIZE_7B.parameters == 7_737_708_544
    mib = [SIZE_7B.served(WEIGHTS[name], 128) / MIB for name in ("fp16", "w4")]
    assert mib == pytest.approx([14_759, 4_983], abs=1)
    kv = [SIZE_7B.kv_bytes(KV_CACHES[name]) for name in ("fp16", "int8", "int4")]
    assert kv == [131_072, 67_584, 34_816]


def test_a_workspace_holds_the_head_of_a_tied_model_too(tmp_path):
    tied = json.loads((TINY / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(tied | {"tie_word_embeddings": True}))
    size, own = ModelSize.read(tmp_path), ModelSize.read(TINY)
    assert own.fp16 - size.fp16 == 2 * 2048 * 256
    assert size.served(BASE_MODEL.weights, 128) == own.served(BASE_MODEL.weights, 128)
    assert size.stored == size.fp16, "without weights beside it config.json says"


@pytest.mark.parametrize(
    ("stage", "changed", "measured"),
    [
        ("train", {"train": {"kernels": "stock"}}, 12.5 * GIB),
        (
            "train",
            {"train": {"kernels": "stock", "activation_checkpointing": False}},
            54.4 * GIB,
        ),
        ("awq", {"calibration": {"samples": 64}}, 13_135 * MIB),
    ],
)
def test_gpu_memory_is_what_docs_benchmarks_measured(stage, changed, measured):
    assert gpu_bytes(stage, task(True, **changed)) == pytest.approx(measured, rel=0.05)


@pytest.mark.parametrize("layers", [32, 400])
@pytest.mark.parametrize("on_gpu", [False, True])
def test_checks_and_conversions_keep_to_the_bound_whatever_the_size(layers, on_gpu):
    shape = DecoderShape(layers, 4096, 14336, 32, 8, 128, 92544, True, True)
    size = ModelSize(shape, False, 0)
    one = task(on_gpu, ModelSize(shape, False, size.fp16))
    bound = max(BOUND, size.fp16 / 4)
    for stage in ("base_model", "merge", "check_merge", "check_awq", "workspace"):
        cuda = CUDA_HOST if on_gpu else 0
        assert host_bytes(stage, one) <= PROCESS[stage] + cuda + bound, stage
    assert host_bytes("check_kv_cache", one) < host_bytes("awq", one)


def test_a_training_is_planned_for_the_memory_that_is_free():
    small, large = (gpu_bytes("train", task(True, free=free * GB)) for free in (24, 140))
    assert gpu_bytes("train", task(True)) < small <= 24 * GB and large > 2 * small
    two = task(True, free=24 * GB, train={"processes": 2})
    assert gpu_bytes("train", two) > 24 * GB, "on both GPUs together"


def test_quantising_holds_the_model_in_the_host_only_if_the_gpu_cannot():
    held = [host_bytes("awq", task(True, free=free)) for free in (None, 24 * GB, 80 * GB)]
    assert held[0] == held[1] > SIZE_7B.fp16 > held[2]


BIG = Machine(10**12, [(141 * GB, 141 * GB)], 10**12)


@pytest.mark.parametrize(
    ("on_gpu", "machine", "changed", "sentences"),
    [
        (True, BIG, {}, []),
        (
            True,
            Machine(10**12, [(24 * GB, 24 * GB)], 10**12),
            {"efficiency": {"concurrency": [1, 64, 256]}},
            [r"efficiency needs some 35\.3 GB of GPU memory and 24\.0 GB are free; lower "
             r"efficiency\.concurrency"],
        ),
        (
            True,
            Machine(32 * 10**9, [(24 * GB, 24 * GB)], 100 * 10**9),
            {},  # what config/7b.yaml promises
            [],
        ),
        (
            True,
            Machine(16 * 10**9, [(24 * GB, 24 * GB)], 40 * 10**9),
            {},
            [r"awq needs some 17\.5 GB of memory and this machine has 16\.0 GB; lower calibration",
             r"the run leaves some 61 GB of files and 40 GB are free here; free some"],
        ),
        (
            True,
            Machine(10**12, [(9 * GB, 141 * GB)], 10**12),
            {"variants": ["fp16"], "train": {"activation_checkpointing": False}},
            [r"training needs .* lower train\.max_length or train\.lora_r, or set "
             r"train\.activation_checkpointing: auto",
             r"check_workspace needs .* lower workspace\.session_len",
             r"evaluate needs .* lower workspace\.session_len",
             r"efficiency needs"],
        ),
        (
            False,
            Machine(25 * 10**9, [], 10**12),
            {"variants": ["fp16"]},
            [r"train needs some 6\d\.\d GB of memory and this machine has 25\.0 GB; lower train\.m",
             r"evaluate needs .* the reference engine holds the weights in fp32",
             r"efficiency needs .* take a machine with a GPU and engine: lmdeploy"],
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_with_the_number_and_the_key(
    on_gpu, machine, changed, sentences
):
    found = told(task(on_gpu, **changed), machine)
    assert len(found) == len(sentences), found
    for sentence, wanted in zip(found, sentences, strict=True):
        assert re.match(wanted, sentence), sentence


def test_gpu_memory_that_nvidia_smi_does_not_tell_refuses_nothing():
    assert told(task(True), Machine(10**12, None, 10**12)) == []


def test_the_checkpoints_that_a_training_keeps_are_counted():
    template = (ROOT / "workflow/templates/xtuner_config.py.jinja").read_text(encoding="utf-8")
    assert f"max_keep_ckpts={CHECKPOINTS}," in template


def test_every_stage_whose_size_matters_has_a_process():
    assert BY_SIZE.keys() <= PROCESS.keys()


@pytest.mark.parametrize(
    ("groups", "files"),
    [
        ("0::/job/step\n", {"job/memory.max": "1000000", "job/step/memory.max": "max"}),
        ("4:memory:/job/step\n0::/\n", {"memory/job/step/memory.limit_in_bytes": "1000000"}),
        ("0::/\n", {"memory.max": "1000000"}),
    ],
)
def test_the_limit_of_a_control_group_is_this_machines_memory(groups, files, tmp_path):
    own = tmp_path / "own"
    own.write_text(groups)
    for name, limit in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{limit}\n")
    assert host_memory(tmp_path, own) == 1_000_000
    assert host_memory(tmp_path / "none", own) > 1_000_000


def test_a_hubs_model_is_counted_by_its_config_alone(tmp_path, monkeypatch):
    folder = tmp_path / "org" / "model" / "resolve" / ("0" * 40)
    folder.mkdir(parents=True)
    shutil.copy(TINY / "config.json", folder)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(tmp_path))

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}/")
        base = settings(base={"model": "org/model", "revision": "0" * 40}).base
        assert hub_size(base).shape == ModelSize.read(TINY).shape
        absent = settings(base={"model": "org/other", "revision": "0" * 40}).base
        with pytest.raises(
            ButlerError, match=r"org/other has no config.json at base.revision 0+ .* 404"
        ):
            hub_size(absent)
        server.shutdown()


@pytest.fixture
def printed(tmp_path, monkeypatch, capsys):
    """Return the lines that plan.py prints in an empty folder."""
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"device": "cpu"}))
    monkeypatch.chdir(tmp_path)

    def lines(*arguments):
        given = ["plan.py", "--repository", str(ROOT), "--overlays", "mine.yaml", *arguments]
        monkeypatch.setattr(sys, "argv", given)
        plan_script.main()
        return capsys.readouterr().out.splitlines()

    return lines


def test_a_hub_that_does_not_answer_is_not_taken_for_the_base_of_an_earlier_run(
    printed, monkeypatch
):
    shutil.copytree(TINY, "build/base")
    base = {"model": "org/model", "revision": "0" * 40, "remote_code": False}
    Path("mine.yaml").write_text(yaml.safe_dump({"base": base}))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ButlerError, match="the size of org/model is not known"):
        printed()


def test_raw_bytes_are_those_of_the_files_that_are_read(tmp_path):
    for name in ("a.jsonl", "b.jsonl.gz", ".DS_Store", ".hidden.jsonl", "picture.png"):
        (tmp_path / name).write_bytes(bytes(10))
    assert raw_bytes(CorpusSettings(path="."), tmp_path) == 10 + PACKED * 10
    with pytest.raises(ButlerError, match="no such corpus file; give a file or a folder"):
        raw_bytes(CorpusSettings(path="nowhere"), tmp_path)


def test_the_plan_is_a_table_with_peaks_and_what_does_not_fit(printed):
    lines = printed("--disk-gb", "0.001", "--memory-gb", "1000")
    assert lines[0].startswith("data/base/tiny: 0.0073 billion weights, 15 MB in fp16; CPU")
    (train,) = [line.split() for line in lines if line.startswith("train ")]
    assert train == ["train", "1", "2.9", "GB", "–", "57", "MB", "3", "min"]
    (peak,) = [line for line in lines if line.startswith("in all ")]
    assert "2.9 GB" in peak and "min" in peak
    (sentence,) = [line for line in lines if line.startswith("Does not fit: ")]
    assert "GB of files and 0 GB are free here" in sentence
    assert printed("--disk-gb", "1000", "--memory-gb", "1000")[-1] == "All of it fits."


def test_a_gpu_that_is_asked_for_and_not_here_does_not_fit(printed, monkeypatch):
    monkeypatch.setattr(plan_script, "gpu_present", lambda: False)
    Path("mine.yaml").write_text("device: cuda")
    roomy = ("--disk-gb", "1000", "--memory-gb", "1000")
    assert [line for line in printed(*roomy) if line.startswith("Does not fit: device is cuda")]
    assert printed(*roomy, "--gpu-gb", "24")[-1] == "All of it fits."


def test_what_runs_on_a_cluster_is_not_held_against_this_machine(printed):
    lines = printed("--disk-gb", "0.001", "--elsewhere")
    assert lines[-1] == "The jobs run on other machines, which this one cannot see."
    assert not [line for line in lines if "fit" in line or "This machine" in line]


def test_names_of_scenarios_and_their_settings_go_in_pairs(printed, capsys):
    with pytest.raises(SystemExit) as end:
        printed("--scenarios", "a", "b")
    assert end.value.code == 2
    assert "--scenarios has 2 names for 1 of --config" in capsys.readouterr().err


def test_the_plan_tells_what_the_questions_can_exclude(printed):
    # z of 0.05 / 3 and of 80 % power: (2.128 + 0.842) · 100 · √(0.1 / 40)
    lines = printed("--memory-gb", "1000")
    said = lines.index(
        "recipe: 40 questions can exclude a loss of 14.8 points if 10% of the answers change"
        " (assumed)"
    )
    assert lines[said + 1] == "  decision.max_loss 2 takes some 2,205"
    assert lines[said + 2].startswith("Most runs would end undecided: ")
    assert "ceval: known after snakemake prepare reads its questions" in lines


def details(folder, benchmark, variant, scores):
    path = folder / "build" / "evaluate" / f"{benchmark}_{variant}" / "details.jsonl"
    path.parent.mkdir(parents=True)
    records = [
        {"dataset": "law", "index": n, "question": f"{n}?", "score": score}
        for n, score in enumerate(scores)
    ]
    path.write_text("".join(json.dumps(one) + "\n" for one in records))


def test_earlier_results_say_how_many_answers_change(printed, tmp_path):
    questions = [Question("law", n, f"{n // 2}?", "A") for n in range(4000)]
    write_sheet(tmp_path / "build" / "benchmarks" / "ceval.jsonl", questions)
    details(tmp_path, "ceval", "fp16", [100] * 50 + [0] * 50)
    details(tmp_path, "ceval", "w4", [100] * 49 + [0] * 50 + [100])
    lines = printed("--memory-gb", "1000")
    (said,) = [line for line in lines if line.startswith("ceval: ")]
    # 2.970 · 100 · √(0.02 / 2000)
    assert said == (
        "ceval: 2,000 questions can exclude a loss of 0.9 points if 2% of the answers change"
        " (as in earlier results)"
    )
    assert "max_loss" not in lines[lines.index(said) + 1]


def test_the_plan_has_as_many_jobs_as_the_run(tmp_path):
    text = plan(tmp_path, "--dry-run", "all")
    counted = dict(re.findall(r"^(\w+) +(\d+)$", text, re.MULTILINE))
    one = Task(Settings.check(CONFIG), ModelSize.read(TINY), False)
    rows = [row for row in needs(one, read_texts(one, ROOT), True, 3) if row.stage in counted]
    assert len(rows) >= 16
    for row in rows:
        assert row.jobs == int(counted[row.stage]), row.stage


def test_a_rule_asks_for_memory_by_the_bytes_of_the_base(tmp_path):
    def asked(*arguments):
        text = plan(tmp_path, "--dry-run", *arguments)
        return dict(re.findall(r"^Job \d+: (\w+): .*\n.*\n    memory: (.*) MB$", text, re.M))

    small = asked("build/merged", "--config", "device=cpu")
    assert int(small["merge"]) == 1500 and int(small["train"]) > 4000
    hub = {"model": "org/model", "revision": "0" * 40, "remote_code": False}
    waiting = asked(*overlay(tmp_path, base=hub), "build/merged")
    assert waiting["merge"] == waiting["train"] == "<TBD>"
    assert waiting["corpus"] == small["corpus"] and int(waiting["base_model"]) == 12000
    # Once it is fetched, the sizes are known.
    (tmp_path / "build" / "base").mkdir(parents=True)
    large = json.loads((TINY / "config.json").read_text(encoding="utf-8"))
    large |= {"hidden_size": 4096, "intermediate_size": 14336, "vocab_size": 92544}
    (tmp_path / "build" / "base" / "config.json").write_text(json.dumps(large))
    assert int(asked(*overlay(tmp_path, base=hub), "build/merged")["merge"]) > 5000


def large_base(folder):
    """The demo's base as if it had thousands of layers, which no machine holds."""
    base = copy_state(TINY, folder / "large")
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    (base / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 2_000_000}))
    return {"model": str(base), "remote_code": str(base)}


def test_a_run_that_cannot_fit_stops_before_the_first_job(tmp_path):
    arguments = overlay(tmp_path, base=large_base(tmp_path), device="cpu", engine="reference")
    text = plan(tmp_path, *arguments, "build/merged", check=False)
    assert re.search(r"train needs some \d+\.\d GB of memory and this machine has", text), text
    assert "`snakemake plan` shows all that the run needs" in text
    assert not (tmp_path / "build").exists() and not list(tmp_path.glob("logs/*"))
    # What does not take it is not refused.
    assert "needs some" not in plan(tmp_path, *arguments, "results/config.yaml")


def test_jobs_beside_each_other_share_this_machines_memory(tmp_path):
    text = plan(tmp_path, "results/config.yaml")
    cap = int(re.search(r"mem_mb.*?(\d+)", text)[1])
    assert cap == int(0.9 * host_memory() / 1e6)
    assert '"mem_mb", 700)' in plan(
        tmp_path, "--forceall", "results/config.yaml", "--resources", "mem_mb=700"
    )
