"""What the benchmark of the whole chain reads off a run: memory by stage, and the disk."""

import subprocess
import sys
import time

import pytest

from workflow_state import ROOT

MIB = 2**20
# As a stage that starts a server: the server has a session and a log of its own.
SERVER = f"memory = bytearray(32 * {MIB}); print('up', flush=True); input()"
STAGE = f"""
import subprocess, sys
memory = bytearray(64 * {MIB})
with open("server.log", "w") as log:
    subprocess.run([sys.executable, "-c", {SERVER!r}], stdout=log, start_new_session=True)
"""


@pytest.fixture
def sampler(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    import chain_sampler

    return chain_sampler


def test_memory_is_of_the_stage_to_whose_log_a_process_or_its_parent_writes(sampler, tmp_path):
    logs = tmp_path / "logs"
    logs.mkdir()
    (tmp_path / "stage.py").write_text(STAGE)
    # The shell stays, as Snakemake's does, and writes to no log.
    shell = f"{sys.executable} stage.py > logs/train.log 2>&1; true"
    running = subprocess.Popen(["bash", "-c", shell], cwd=tmp_path, stdin=subprocess.PIPE)
    try:
        until = time.monotonic() + 20
        while time.monotonic() < until and not (tmp_path / "server.log").exists():
            time.sleep(0.01)
        while time.monotonic() < until and not (tmp_path / "server.log").read_text():
            time.sleep(0.01)
        stages = sampler.processes(running.pid, logs)
        found = sampler.host_memory(stages, sampler.counted_kinds(logs))
    finally:
        running.communicate(b"\n")
    assert set(found) == {"train", "snakemake"}
    assert 96 < found["train"] < 160
    assert found["snakemake"] < 8


def test_a_hard_linked_file_takes_its_place_on_the_disk_once(sampler, tmp_path):
    for name in ("build", "workspaces", "elsewhere"):
        (tmp_path / name).mkdir()
    (tmp_path / "build" / "weights").write_bytes(bytes(MIB))
    (tmp_path / "workspaces" / "weights").hardlink_to(tmp_path / "build" / "weights")
    (tmp_path / "elsewhere" / "weights").write_bytes(bytes(MIB))
    taken = sampler.allocated(tmp_path, ["build", "workspaces", "not there"])
    assert MIB <= taken < 1.1 * MIB
