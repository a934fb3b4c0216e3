"""Memory and disk of a running Snakemake, by stage, read from /proc, NVML and the run's folder.

A process belongs to the stage to whose log it, or its nearest such ancestor, writes: every rule of
ours sends what it runs to logs/STAGE.log.
"""

import os
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

MIB = 2**20
INTERVAL = 0.5  # seconds between two looks at the memory
DISK_INTERVAL = 2.0
SHARE = 0.1  # of the time, at most, that looking may take: page tables of a large process are long
FOLDERS = ("build", "workspaces", "results")


@dataclass
class Peaks:
    """The largest figures seen: MiB of memory by stage and of all together, bytes on disk."""

    host: dict[str, float] = field(default_factory=dict)
    gpu: dict[str, float] = field(default_factory=dict)
    host_total: float = 0.0
    gpu_total: float = 0.0
    disk: int = 0
    samples: int = 0
    cut_short: str = ""  # why sampling ended before the run did


class Sampler(threading.Thread):
    """Samples the descendants of process `root`, whose run lies in `folder`, until `stop`.

    Attributes:
        peaks: what was seen so far.
    """

    def __init__(self, root: int, folder: Path) -> None:
        super().__init__(daemon=True)
        self._root, self._folder, self._done = root, folder, threading.Event()
        self._kinds = counted_kinds(folder)
        self._cards = _cards()
        self._idle = sum(_used(card) for card in self._cards)
        self.peaks = Peaks()

    def run(self) -> None:
        """Sample until `stop` is called; what goes wrong ends the sampling, and not the run."""
        try:
            self._loop()
        except Exception as error:
            self.peaks.cut_short = f"{type(error).__name__}: {error}"

    def _loop(self) -> None:
        looked = 0.0
        while not self._done.is_set():
            start = time.monotonic()
            self._sample()
            if start - looked >= DISK_INTERVAL:
                self.peaks.disk = max(self.peaks.disk, allocated(self._folder, FOLDERS))
                looked = start
            took = time.monotonic() - start
            self._done.wait(max(INTERVAL - took, took * (1 / SHARE - 1)))

    def stop(self) -> dict[str, Any]:
        """End the sampling and return the peaks."""
        self._done.set()
        self.join()
        return asdict(self.peaks)

    def _sample(self) -> None:
        stages = processes(self._root, self._folder / "logs")
        host = host_memory(stages, self._kinds)
        gpu: Counter[str] = Counter()
        for card in self._cards:
            for pid, used in _on_gpu(card):
                if pid in stages:
                    gpu[stages[pid]] += used / MIB
        peaks = self.peaks
        _raise(peaks.host, host)
        _raise(peaks.gpu, gpu)
        peaks.host_total = max(peaks.host_total, sum(host.values()))
        if self._cards:
            taken = sum(_used(card) for card in self._cards) - self._idle
            peaks.gpu_total = max(peaks.gpu_total, taken / MIB)
        peaks.samples += 1


def processes(root: int, logs: Path) -> dict[int, str]:
    """Return the stage of `root` and of each process below it, `snakemake` where it works for none.

    `logs` is the folder of the run's logs, absolute.
    """
    parents = _descendants(root)
    return {pid: _stage(pid, parents, logs) for pid in parents}


def counted_kinds(folder: Path) -> tuple[str, ...]:
    """Return which memory of a process counts, as smaps_rollup calls it: no files of a disk.

    On a tmpfs the run's own files are shared memory too, so that this does not count there.
    """
    command = ["stat", "--file-system", "--format=%T", str(folder)]
    kind = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    return ("Pss_Anon:",) if kind == "tmpfs" else ("Pss_Anon:", "Pss_Shmem:")


def host_memory(stages: Mapping[int, str], kinds: tuple[str, ...]) -> Counter[str]:
    """Return the MiB that the processes of each stage hold, of the kinds of memory given.

    What several share is divided among them (Pss of the kernel).
    """
    total: Counter[str] = Counter()
    for pid, stage in stages.items():
        total[stage] += _resident_kib(pid, kinds) / 1024
    return total


def allocated(folder: Path, names: Iterable[str]) -> int:
    """Return the bytes that the files below `folder`/`names` take on the disk, each inode once."""
    sizes: dict[tuple[int, int], int] = {}
    for name in names:
        for at, _, files in os.walk(folder / name):
            for file in files:
                with suppress(OSError):  # a job may move it meanwhile
                    found = os.lstat(os.path.join(at, file))
                    sizes[found.st_dev, found.st_ino] = found.st_blocks * 512
    return sum(sizes.values())


def _raise(peaks: dict[str, float], seen: Mapping[str, float]) -> None:
    for stage, value in seen.items():
        peaks[stage] = max(peaks.get(stage, 0.0), value)


def _descendants(root: int) -> dict[int, int]:
    """Return the parent of `root` and of each process below it."""
    parents: dict[int, int] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with suppress(OSError):
                stat = Path(entry.path, "stat").read_text(encoding="utf-8", errors="replace")
                parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    ours: dict[int, int] = {}
    for pid in parents:
        chain = [pid]
        while chain[-1] != root and chain[-1] in parents and chain[-1] not in ours:
            chain.append(parents[chain[-1]])
        if chain[-1] == root or chain[-1] in ours:
            ours |= {each: parents[each] for each in chain if each in parents}
    return ours


def _stage(pid: int, parents: Mapping[int, int], logs: Path) -> str:
    """Return the stage that a process works for; what works for none is Snakemake's own."""
    while pid in parents:
        with suppress(OSError):
            target = Path(os.readlink(f"/proc/{pid}/fd/1"))
            if target.parent == logs:
                return target.stem
        pid = parents[pid]
    return "snakemake"


def _resident_kib(pid: int, kinds: tuple[str, ...]) -> int:
    """Return a process' share of memory of these kinds, in KiB; 0 once it has ended."""
    total = 0
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith(kinds):
                total += int(line.split()[1])
    return total


def _cards() -> list[Any]:
    """Return NVML's handle of each GPU, none where there is no driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    return [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]


def _used(card: Any) -> int:
    """Return the bytes of a GPU's memory in use."""
    import pynvml

    return pynvml.nvmlDeviceGetMemoryInfo(card).used


def _on_gpu(card: Any) -> list[tuple[int, int]]:
    """Return (pid, bytes) of each process on a GPU; none where the driver does not tell bytes."""
    import pynvml

    try:
        found = pynvml.nvmlDeviceGetComputeRunningProcesses(card)
    except pynvml.NVMLError_NotSupported:
        return []
    return [(each.pid, each.usedGpuMemory) for each in found if each.usedGpuMemory]
