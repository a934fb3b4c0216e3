"""What this machine has: host memory, GPU memory, free disk. Nothing here needs torch."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

MIB = 2**20
CONTROL_GROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Machine:
    """Bytes of host memory, of each GPU (free, of how many), and free in the folder of the run.

    `gpus` is None where the driver's nvidia-smi cannot tell.
    """

    memory: int
    gpus: list[tuple[int, int]] | None
    disk: int

    def least_free(self, count: int) -> int | None:
        """Return the bytes that the fullest of the first `count` GPUs has left, if known."""
        return min(free for free, _ in self.gpus[:count]) if self.gpus else None


def this_machine(folder: Path, on_gpu: bool) -> Machine:
    """Return what there is, for a run in `folder`; GPUs are asked for only if they are used."""
    gpus = _gpus() if on_gpu else []
    return Machine(host_memory(), gpus, shutil.disk_usage(folder).free)


def host_memory(root: Path = CONTROL_GROUPS, own: Path = Path("/proc/self/cgroup")) -> int:
    """Return the bytes of memory of this machine, or of this process's control group if less.

    Version 2 of control groups says memory.max, version 1 memory.limit_in_bytes; the groups above
    count too. A container sees its own group as the root.
    """
    least = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    lines = own.read_text(encoding="utf-8").splitlines() if own.is_file() else []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top = root / "memory" if controllers else root
        name = "memory.limit_in_bytes" if controllers else "memory.max"
        group = top / path.lstrip("/")
        for folder in (group, *group.parents):
            file = folder / name
            limit = file.read_text(encoding="utf-8").strip() if file.is_file() else ""
            least = min(least, int(limit)) if limit.isdigit() else least
            if folder == top:
                break
    return least


def _gpus() -> list[tuple[int, int]] | None:
    """Return free and total bytes of the GPUs that CUDA may use, in its order."""
    command = ["nvidia-smi", "--query-gpu=memory.free,memory.total"]
    command += ["--format=csv,noheader,nounits"]
    if visible := os.environ.get("CUDA_VISIBLE_DEVICES"):
        command += [f"--id={visible}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        rows = [line.split(",") for line in done.stdout.splitlines()]
        return [(int(free) * MIB, int(total) * MIB) for free, total in rows] or None
    except (OSError, ValueError, subprocess.SubprocessError):
        return None  # said in the plan
