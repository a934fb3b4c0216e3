"""One training on two nodes: an agent of torchrun for each, meeting at one rendezvous.

Both are this machine, with one CPU process each; `srun` here is a stand-in that starts the command
as often as it is told. tests/test_slurm.py does the same through a real Slurm.
"""

import csv
import os
import subprocess

import pytest

from real_tools import read_json
from test_e2e_training import (  # noqa: F401  fixtures
    adapter_of,
    base,
    command,
    data,
)

pytestmark = pytest.mark.long

SRUN = """#!/usr/bin/env bash
# Starts what follows the options once for each node, and ends with the worst of the exit codes.
nodes=1
while [[ $1 == --* ]]; do
  [[ $1 == --nodes=* ]] && nodes=${1#--nodes=}
  shift
done
echo "$nodes $*" > "$SRUN_SEEN"
for _ in $(seq "$nodes"); do "$@" & done
code=0
for job in $(jobs -p); do wait "$job" || code=$?; done
exit $code
"""
# Without dropout, whose draws depend on how many processes there are.
SAME = {"lora_dropout": 0.0, "micro_batch": 1, "max_steps": 4}


@pytest.fixture
def job(tmp_path, monkeypatch):
    """Make this look like a Slurm job; return the file that tells what srun was given."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "srun").write_text(SRUN, encoding="utf-8")
    (folder / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SRUN_SEEN", str(tmp_path / "seen"))
    return tmp_path / "seen"


def train(folder, base, data, **changed):  # noqa: F811
    line = command(folder, base, data, **SAME, **changed)
    line[line.index("--threads") + 1] = "1"
    return subprocess.run(line, capture_output=True, text=True, timeout=170)


def losses(folder):
    with (folder / "loss.csv").open(encoding="utf-8") as stream:
        return [float(row["loss"]) for row in csv.DictReader(stream)]


@pytest.mark.parametrize("deepspeed", [None, "deepspeed_zero2"])
def test_two_nodes_train_what_one_process_does(base, data, job, deepspeed, tmp_path):  # noqa: F811
    for name, nodes in (("alone", 1), ("run", 2)):
        done = train(tmp_path / name, base, data, nodes=nodes, deepspeed=deepspeed)
        assert done.returncode == 0, done.stderr[-3000:]
    plan = read_json(tmp_path / "run" / "plan.json")
    assert (plan["nodes"], plan["processes"], plan["accumulation"]) == (2, 1, 1)
    seen = job.read_text(encoding="utf-8")
    assert seen.startswith("2 ") and "--nnodes=2 --nproc_per_node=1 --rdzv_backend=c10d" in seen
    # An update is made of the same packs, so the losses and the weights are the same but for the
    # order of sums.
    assert losses(tmp_path / "run") == pytest.approx(losses(tmp_path / "alone"), rel=1e-4)
    one, two = adapter_of(tmp_path / "alone"), adapter_of(tmp_path / "run")
    assert one.keys() == two.keys()
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-4


def test_several_nodes_outside_a_slurm_job_are_one_sentence(base, data, monkeypatch, tmp_path):  # noqa: F811
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    done = train(tmp_path / "run", base, data, nodes=2)
    assert done.returncode == 1
    assert "error: train.nodes is 2, but this is no Slurm job" in done.stderr
    assert not (tmp_path / "run" / "checkpoint").exists()
