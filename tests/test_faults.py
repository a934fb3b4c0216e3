"""Single faults: what a stage, its tools and a working folder make of them."""

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import time
import venv
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

import build_environment
import train
from butler.errors import ButlerError, run_cli
from corpus_settings import stage_options
from workflow_state import ROOT, snakemake

SCRIPTS = ROOT / "workflow" / "scripts"
PARENTS = {
    "run_tool": "run_tool(command, dict(os.environ))",
    "model_server": "with running_process(command, Path(os.devnull), os.environ) as p: p.wait()",
}


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux tells a process of its parent's end"
)
@pytest.mark.parametrize("line", PARENTS.values(), ids=PARENTS)
def test_a_tool_ends_with_the_stage_that_is_killed(line, tmp_path):
    # Stage and tool are in two process groups: what kills the one does not reach the other.
    told = tmp_path / "pid"
    tool = f"import os, time; open({str(told)!r}, 'w').write(f'{{os.getpid()}} '); time.sleep(60)"
    code = f"""
import os, sys
from pathlib import Path
from butler.process import running_process
from butler.tools import run_tool
command = [sys.executable, "-c", {tool!r}]
{line}
"""
    stage = subprocess.Popen([sys.executable, "-c", code], cwd=SCRIPTS)
    deadline = time.monotonic() + 30
    while not (told.exists() and told.read_text().endswith(" ")) and time.monotonic() < deadline:
        time.sleep(0.02)
    pid = int(told.read_text())
    assert alive(pid)
    stage.kill()
    stage.wait()
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(pid)


def checkpoint(work, step, whole=True):
    path = work / f"iter_{step}.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.pkl", os.urandom(1000))
    if not whole:
        os.truncate(path, path.stat().st_size // 2)
    (work / "last_checkpoint").write_text(f"somewhere/{path.name}", encoding="utf-8")
    return path


def test_training_resumes_from_the_checkpoint_before_a_truncated_one(tmp_path, capsys):
    before = checkpoint(tmp_path, 9)
    checkpoint(tmp_path, 12, whole=False)
    assert train.last_checkpoint(tmp_path) == before
    assert "iter_12.pth is not whole" in capsys.readouterr().out


def test_training_resumes_from_the_checkpoint_before_a_flipped_bit(tmp_path):
    before, last = checkpoint(tmp_path, 9), checkpoint(tmp_path, 12)
    data = bytearray(last.read_bytes())
    data[300] ^= 1
    last.write_bytes(data)
    assert train.last_checkpoint(tmp_path) == before


def test_training_does_not_resume_from_a_checkpoint_that_was_being_written(tmp_path):
    checkpoint(tmp_path, 12)
    before = checkpoint(tmp_path, 9)  # named last; the other's name had not been written yet
    assert train.last_checkpoint(tmp_path) == before


def test_a_name_of_the_last_checkpoint_that_was_cut_is_its_newest(tmp_path):
    last = checkpoint(tmp_path, 12)
    (tmp_path / "last_checkpoint").write_text("", encoding="utf-8")
    assert train.last_checkpoint(tmp_path) == last


def test_training_without_a_whole_checkpoint_starts_anew(tmp_path):
    checkpoint(tmp_path, 3, whole=False)
    assert train.last_checkpoint(tmp_path) is None


def test_a_finished_training_whose_last_checkpoint_broke_goes_on_from_the_one_before(tmp_path):
    checkpoint(tmp_path, 9)
    checkpoint(tmp_path, 12, whole=False)
    (tmp_path / train.FINISHED).write_text(json.dumps({"iter": 12}), encoding="utf-8")
    with pytest.raises(ButlerError, match="start again, and it goes on from there"):
        train.finished_checkpoint(tmp_path)
    assert not (tmp_path / train.FINISHED).exists()


def test_deepspeed_alone_needs_no_port_that_was_looked_up_before(tmp_path, monkeypatch):
    # One that was free as the stage began was another job's once DeepSpeed was loaded.
    distributed = pytest.importorskip("torch.distributed")
    arguments = SimpleNamespace(deepspeed="deepspeed_zero2", threads=1, work=tmp_path)
    given = train.environment(arguments, SimpleNamespace(world=1), on_gpu=False)
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, given[name])
    with socket.socket() as other:
        other.bind(("", int(given["MASTER_PORT"])))
        other.listen()
        distributed.init_process_group("gloo")
        distributed.destroy_process_group()


def use_of(*imports):
    return build_environment.Use(list(imports), [], False, None)


def bare_venv(into):
    """Make an environment without pip, which takes most of the time and is not called here."""
    venv.create(into)


@pytest.mark.parametrize("left", [(), (".recipe-butler", "lib/python"), ("pyvenv.cfg", "lib/half")])
def test_an_environment_that_was_cut_is_built_anew(left, tmp_path, monkeypatch):
    into, lock = tmp_path / "tool", tmp_path / "tool.lock"
    lock.write_text("", encoding="utf-8")
    for name in left:
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        (into / name).write_text("", encoding="utf-8")
    monkeypatch.setattr(build_environment, "make_venv", bare_venv)
    monkeypatch.setattr(build_environment, "run_pip", lambda *_: None)
    build_environment.build(lock, into, [], use_of("json"))
    assert (into / "pyvenv.cfg").is_file()
    assert not (into / "lib" / "half").exists()


def test_a_cut_during_the_making_of_an_environment_leaves_a_folder_that_is_ours(
    tmp_path, monkeypatch
):
    def killed(into):
        (into / "lib").mkdir(parents=True)
        raise KeyboardInterrupt

    lock = tmp_path / "tool.lock"
    lock.write_text("", encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(build_environment, "make_venv", killed)
        with pytest.raises(KeyboardInterrupt):
            build_environment.build(lock, tmp_path / "tool", [], use_of())
    monkeypatch.setattr(build_environment, "run_pip", lambda *_: None)
    build_environment.build(lock, tmp_path / "tool", [], use_of("json"))
    assert (tmp_path / "tool" / "pyvenv.cfg").is_file()


def test_a_folder_of_someone_elses_is_no_environment_to_remove(tmp_path):
    (tmp_path / "thesis.txt").write_text("", encoding="utf-8")
    with pytest.raises(ButlerError, match="no virtual environment"):
        build_environment.build(tmp_path / "no.lock", tmp_path, [], use_of())
    assert (tmp_path / "thesis.txt").exists()


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("no file system can be mounted here (it takes root)")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk, free_kib):
    """Leave so much free on a disk."""
    state = os.statvfs(disk)
    with (disk / "ballast").open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, state.f_bavail * state.f_bsize - free_kib * 1024)


@pytest.mark.parametrize("free_kib", [8, 200, 800])
def test_a_full_disk_is_one_sentence_and_no_half_corpus(free_kib, small_disk):
    fill(small_disk, free_kib)
    raw = ROOT / "data/demo/recipes.jsonl"
    command = [sys.executable, "corpus.py", *stage_options(raw, small_disk / "corpus")]
    command += ["--processes", "2"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=SCRIPTS)
    assert done.returncode == 1
    assert "error: No space left on device" in done.stderr and "Traceback" not in done.stderr
    left = [path for path in small_disk.rglob("*") if path.is_file()]
    assert left == [small_disk / "ballast"]


@pytest.mark.parametrize("name", ["TMPDIR", "TMP"])
def test_a_full_temporary_folder_is_one_sentence_before_the_first_job(
    name, small_disk, tmp_path, monkeypatch
):
    fill(small_disk, 0)
    monkeypatch.setenv(name, str(small_disk))
    said = snakemake(tmp_path, "--", "results/config.yaml", check=False)
    (sentence,) = [line for line in said.splitlines() if str(small_disk) in line]
    assert "No space left on device" in sentence and f"another folder with {name}=" in sentence
    assert "Traceback" not in said and not (tmp_path / "results/config.yaml").exists()
    assert not any((tmp_path / ".snakemake/locks").glob("*"))


@pytest.mark.parametrize(("limit", "whole"), [(10_000, True), (100, False)])
def test_a_configuration_that_does_not_fit_leaves_the_one_before(limit, whole, tmp_path):
    out = tmp_path / "config.yaml"
    out.write_text('{"seed": 1}\n', encoding="utf-8")
    config = {"seed": 2, "corpus": {"system": "厨师" * 100}}
    command = [sys.executable, str(SCRIPTS / "keep_config.py"), "--config", json.dumps(config)]
    done = subprocess.run(
        [*command, "--out", str(out)],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert (done.returncode == 0) == whole
    assert done.stderr == "" if whole else done.stderr.startswith("error: File too large")
    assert yaml.safe_load(out.read_text(encoding="utf-8")) == (config if whole else {"seed": 1})
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(
    "text",
    [
        "1000000 requested and 262144 written",  # NumPy's tofile
        "[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598",  # torch.save
        "basic_ios::clear: iostream error",  # torch.save, of a small file
        "Error while serializing: I/O error: No space left on device (os error 28)",  # safetensors
    ],
)
def test_every_librarys_word_for_a_full_disk_is_the_same_sentence(text, capsys):
    def write():
        raise RuntimeError(text)

    with pytest.raises(SystemExit) as end:
        run_cli(write)
    assert end.value.code == 1
    assert capsys.readouterr().err.startswith("error: No space left on device; free some")


def test_a_copy_onto_a_full_disk_names_the_copy(capsys):
    def copy():
        raise OSError(28, "No space left on device", "data/model", None, "build/model")

    with pytest.raises(SystemExit):
        run_cli(copy)
    assert "(build/model)" in capsys.readouterr().err
