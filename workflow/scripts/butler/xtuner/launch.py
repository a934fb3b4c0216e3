"""How XTuner's processes are started: alone, by torchrun, or by torchrun on each node of a job."""

import os
import shutil
import socket
import sys

from butler.errors import ButlerError


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def launch(nodes: int, processes: int, threads: int) -> list[str]:
    """Return the words before a Python module's name that start it on all `nodes`.

    On several nodes Slurm starts one torchrun on each, which starts `processes` there; they meet at
    this machine, the first of the job. The module runs nodes · processes times.

    Raises:
        ButlerError: if several nodes are asked for outside a Slurm job.
    """
    if nodes * processes == 1:
        return [sys.executable]
    torchrun = [sys.executable, "-m", "torch.distributed.run"]
    torchrun += [f"--nnodes={nodes}", f"--nproc_per_node={processes}"]
    if nodes == 1:
        return [*torchrun, f"--master_port={free_port()}"]
    job = os.environ.get("SLURM_JOB_ID")
    if job is None or shutil.which("srun") is None:
        raise ButlerError(
            f"train.nodes is {nodes}, but this is no Slurm job; set it to 1, or run with "
            "--workflow-profile profiles/slurm"
        )
    # --overlap: whoever called us may be a step of this job that holds its memory and its GPUs.
    srun = ["srun", "--overlap", "--kill-on-bad-exit=1", f"--nodes={nodes}", f"--ntasks={nodes}"]
    srun += ["--ntasks-per-node=1", f"--cpus-per-task={threads}"]
    meeting = [f"--rdzv_endpoint={socket.gethostname()}:{free_port()}", f"--rdzv_id={job}"]
    return [*srun, *torchrun, "--rdzv_backend=c10d", *meeting]
