"""Training with the real XTuner: killed and resumed, crashed, and with DeepSpeed."""

import json
import os
import shutil
import signal
import subprocess
import time
import zipfile
from pathlib import Path

import pytest

from butler.xtuner import FINISHED
from real_tools import ENVIRONMENTS, SCRIPTS, python_of, script
from toys import TOYS
from workflow_state import ROOT

STEPS, INTERVAL = 6, 2  # updates

needs_xtuner = pytest.mark.skipif(
    not (ENVIRONMENTS / "xtuner").exists(), reason="the XTuner environment is not built"
)
pytestmark = [pytest.mark.e2e, needs_xtuner]


def long(name: str) -> object:
    """A case that is left to `pytest -m long`, as another of the same test runs before."""
    return pytest.param(name, marks=pytest.mark.long)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base") / "base"
    done = script(
        "xtuner",
        "base_model.py",
        *("--model", "data/base/tiny", "--repository", ROOT, "--remote-code"),
        *("--chat-template", "internlm2_chat", "--out", folder),
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "train.jsonl"
    records = []
    for number in range(60):
        steps = "\n".join(f"把第{number}份萝卜切成{i}厘米的块，放入锅中。" for i in range(1, 7))
        turn = {"system": "你是厨师", "input": f"萝卜{number}号的做法", "output": steps}
        records.append(json.dumps({"conversation": [turn]}, ensure_ascii=False))
    path.write_text("\n".join(records) + "\n", encoding="utf-8")
    return path


def settings(**changed):
    small = {"max_steps": STEPS, "checkpoint_interval": INTERVAL, "max_length": 128}
    return small | {"batch_size": 2, "log_interval": 1} | changed


def command(folder, base, data, **changed):
    folder.mkdir(exist_ok=True)
    done = script(
        "xtuner",
        "render_training.py",
        *("--settings", json.dumps(settings(**changed)), "--chat-template", "internlm2_chat"),
        *("--remote-code", "--base", base, "--data", data, "--seed", 42),
        *("--out", folder / "config.py", "--plan", folder / "plan.json"),
    )
    assert done.returncode == 0, done.stderr
    line = [python_of("xtuner"), str(SCRIPTS / "train.py"), "--config", folder / "config.py"]
    line += ["--plan", folder / "plan.json"]
    line += ["--data", data, "--base", base, "--work", folder / "work", "--threads", 2]
    line += ["--out", folder / "checkpoint", "--loss", folder / "loss.csv"]
    if changed.get("deepspeed"):
        line += ["--deepspeed", changed["deepspeed"]]
    return list(map(str, line))


def train(folder, base, data, **changed):
    line = command(folder, base, data, **changed)
    return subprocess.run(line, capture_output=True, text=True)


def adapter_of(folder, *more):
    done = script(
        "xtuner",
        "adapter.py",
        *("--config", folder / "config.py", "--checkpoint", folder / "checkpoint"),
        *("--out", folder / "adapter", *more),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    from safetensors.torch import load_file

    return load_file(folder / "adapter" / "adapter_model.safetensors")


@pytest.fixture(scope="module")
def undisturbed_run(base, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    done = train(folder, base, data)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def undisturbed(undisturbed_run):
    return adapter_of(undisturbed_run)


def kill_after_a_checkpoint(folder, base, data, **changed):
    """Start a training and kill all of it once its first checkpoint is there."""
    process = subprocess.Popen(command(folder, base, data, **changed), start_new_session=True)
    mark = folder / "work" / "last_checkpoint"
    deadline = time.monotonic() + 300
    while not mark.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert mark.exists(), "no checkpoint within five minutes"
    # The trainer has a process group of its own, found through its parent.
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    children = listed.read_text(encoding="ascii").split()
    os.kill(process.pid, signal.SIGKILL)
    for child in children:
        os.killpg(int(child), signal.SIGKILL)
    process.wait()
    assert not (folder / "work" / FINISHED).exists(), "the run was over before it was killed"
    assert not (folder / "checkpoint").exists()


@pytest.mark.parametrize("deepspeed", [None, long("deepspeed_zero2")])
def test_a_killed_training_resumes_to_the_same_adapter(base, data, deepspeed, request, tmp_path):
    if deepspeed is None:
        undisturbed = request.getfixturevalue("undisturbed")
    else:
        done = train(tmp_path / "whole", base, data, deepspeed=deepspeed)
        assert done.returncode == 0, done.stderr[-3000:]
        undisturbed = adapter_of(tmp_path / "whole")
    folder = tmp_path / "run"
    kill_after_a_checkpoint(folder, base, data, deepspeed=deepspeed)
    done = train(folder, base, data, deepspeed=deepspeed)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "resuming from iter_" in done.stdout
    resumed = adapter_of(folder)
    assert resumed.keys() == undisturbed.keys()
    assert all((resumed[name] == undisturbed[name]).all() for name in resumed)


def test_a_training_that_was_done_when_its_job_was_cut_is_not_made_again(base, data, tmp_path):
    folder = tmp_path / "run"
    assert train(folder, base, data).returncode == 0
    (checkpoint,) = (folder / "checkpoint").iterdir()
    before, made = checkpoint.read_bytes(), checkpoint.stat().st_mtime_ns
    # Slurm takes a job that ends past its limit for cut, and Snakemake removes what it has made.
    shutil.rmtree(folder / "checkpoint")
    (folder / "loss.csv").unlink()
    assert train(folder, base, data).returncode == 0
    assert (checkpoint.read_bytes(), checkpoint.stat().st_mtime_ns) == (before, made)
    assert (folder / "loss.csv").is_file()
    # The stage after it says that it was noticed; then a training that is asked for is a new one.
    adapter_of(folder, "--discard", folder / "work")
    assert not (folder / "work").exists()


def test_an_adapter_is_the_same_file_each_time(undisturbed, undisturbed_run):
    path = undisturbed_run / "adapter" / "adapter_config.json"
    before = path.read_bytes()
    shutil.rmtree(path.parent)
    adapter_of(undisturbed_run)
    assert path.read_bytes() == before


def test_a_crashed_training_fails_and_leaves_nothing(base, tmp_path):
    data = tmp_path / "train.jsonl"
    data.write_text('{"conversation": [{"input": "缺了回答"\n', encoding="utf-8")
    done = train(tmp_path / "run", base, data)
    assert done.returncode == 1
    assert "error:" in done.stderr
    for name in ("checkpoint", "loss.csv"):
        assert not (tmp_path / "run" / name).exists()


def test_a_training_that_made_the_model_worse_is_told_and_judged_again_at_once(
    base, data, tmp_path
):
    folder = tmp_path / "run"
    assert train(folder, base, data, learning_rate=0.3).returncode == 0
    adapter_of(folder)
    both = ("--base", base, "--adapter", folder / "adapter")
    assert script("xtuner", "merge.py", *both, "--out", folder / "merged").returncode == 0
    line = ("xtuner", "check_training.py", "--config", folder / "config.py", *both)
    line += ("--merged", folder / "merged", "--held-out", data, "--samples", 12)
    line += ("--out", folder / "check.json")
    done = script(*line, "--limit", 0.0)
    assert done.returncode == 1
    assert "error: check training: the mean NLL of 12 held-out answers went from" in done.stderr
    assert "raise checks.training_nll" in done.stderr
    assert script(*line).returncode == 0
    measured = json.loads((folder / "check.json").read_text(encoding="utf-8"))["measured"]
    assert measured["change"] > measured["change_se"] > 0


def as_pth_to_hf_does(folder):
    """Return the adapter that XTuner's own converter makes of a training's checkpoint."""
    (checkpoint,) = (folder / "checkpoint").iterdir()
    line = [python_of("xtuner"), "-m", "xtuner.tools.model_converters.pth_to_hf"]
    line += [folder / "config.py", checkpoint, folder / "converted", "--safe-serialization"]
    given = {"PYTHONPATH": str(SCRIPTS), "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
    given |= {"HF_HOME": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        list(map(str, line)), capture_output=True, text=True, env=os.environ | given
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "converted"


def check_same_adapter(folder):
    """Compare adapter.py's files with XTuner's own: every tensor and every setting."""
    from safetensors.torch import load_file

    ours, theirs = folder / "adapter", as_pth_to_hf_does(folder)
    name = "adapter_model.safetensors"
    found, expected = load_file(ours / name), load_file(theirs / name)
    assert found.keys() == expected.keys()
    assert all(found[name].dtype == expected[name].dtype for name in found)
    assert all(found[name].equal(expected[name]) for name in found)
    name = "adapter_config.json"
    settings, wanted = (json.loads((one / name).read_text("utf-8")) for one in (ours, theirs))
    wanted["target_modules"].sort()
    assert settings == wanted


def test_the_adapter_is_the_one_that_xtuner_would_write(undisturbed, undisturbed_run):
    assert undisturbed
    check_same_adapter(undisturbed_run)


def contents(checkpoint):
    """Return the pickles of a checkpoint's archives, one after the other."""
    found = []
    for path in sorted(checkpoint.rglob("*.pt")):
        with zipfile.ZipFile(path) as archive:
            found += [archive.read(name) for name in archive.namelist() if name.endswith(".pkl")]
    assert found
    return b"".join(found)


@pytest.mark.parametrize("stage", [long("deepspeed_zero1"), "deepspeed_zero2", "deepspeed_zero3"])
def test_deepspeed_trains_and_its_checkpoint_becomes_an_adapter(base, data, stage, tmp_path):
    done = train(tmp_path / "run", base, data, deepspeed=stage)
    assert done.returncode == 0, done.stderr[-3000:]
    checkpoint = next((tmp_path / "run" / "checkpoint").glob("iter_*.pth"))
    assert checkpoint.is_dir()
    text = contents(checkpoint)
    assert checkpoint.name.encode() in text
    assert f"/{checkpoint.name}".encode() not in text, "it tells where it lay on this machine"
    assert adapter_of(tmp_path / "run")
    check_same_adapter(tmp_path / "run")


def zero3(trainer, base, form, processes):
    line = [python_of(trainer), "-m", "torch.distributed.run", f"--nproc_per_node={processes}"]
    line += ["--standalone", str(ROOT / "tests" / "zero3_check.py"), str(base), form]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(next(text for text in done.stdout.splitlines() if text.startswith("{")))


@pytest.mark.parametrize("name", ["internlm2", long("qwen3")])
def test_the_fast_path_trains_the_same_on_sharded_weights(name, tmp_path):
    toy = TOYS[name]
    base = toy.base(tmp_path)
    whole, sharded = (zero3(toy.trainer, base, *how) for how in (("whole", 1), ("sharded", 2)))
    assert sharded["sharded"] and not whole["sharded"]
    assert sharded["replaced"] == whole["replaced"] and sharded["replaced"]["lora"]
    assert sharded["losses"] == pytest.approx(whole["losses"], rel=1e-4)
    assert whole["losses"][-1] < whole["losses"][0] - 0.1
