"""Limits of this machine: matrix products, copies in the GPU's memory, reading and writing files.

usage: .envs/lmdeploy/bin/python benchmarks/device_limits.py [--size 8192] [--out limits.json]
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from common import ButlerError, publish, record

from butler.errors import run_cli

WARM = 3


def matmul_tflops(size: int, dtype: str, repeats: int, device: str) -> float:
    """Return the best rate of `size`³ products of random matrices, in 10¹² operations a second.

    Random, because a GPU runs faster, and cooler, on zeros.
    """
    import torch

    kind = getattr(torch, dtype)
    a, b = (torch.randn(size, size, device=device, dtype=kind) for _ in range(2))
    out = torch.empty(size, size, device=device, dtype=kind)
    seconds = _best(lambda: torch.mm(a, b, out=out), repeats)
    return 2 * size**3 / seconds / 1e12


def copy_gb_per_s(mib: int, repeats: int, device: str) -> float:
    """Return the best rate of a copy within the GPU's memory, bytes read and written, in 10⁹/s."""
    import torch

    source = torch.randn(mib * 2**18, device=device)
    target = torch.empty_like(source)
    seconds = _best(lambda: target.copy_(source), repeats)
    return 2 * source.nbytes / seconds / 1e9


def _best(work: Any, repeats: int) -> float:
    """Return the shortest time of one call, in seconds, by the GPU's own clock."""
    import torch

    for _ in range(WARM):
        work()
    torch.cuda.synchronize()
    times = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1000)
    return min(times)


def measure(size: int = 8192, copy_mib: int = 4096, repeats: int = 20) -> dict[str, float]:
    """Return both rates in fp16 and bf16 on GPU 0.

    Raises:
        ButlerError: if there is no CUDA GPU.
    """
    import torch

    if not torch.cuda.is_available():
        raise ButlerError("torch finds no CUDA GPU; run this where there is one")
    rates = {
        f"matmul_{dtype}_tflops": round(matmul_tflops(size, dtype, repeats, "cuda"), 1)
        for dtype in ("float16", "bfloat16")
    }
    return rates | {"copy_gb_per_s": round(copy_gb_per_s(copy_mib, repeats, "cuda"), 1)}


def cpu_matmul_tflops(size: int, repeats: int) -> float:
    """Return the best rate of fp32 products of `size`³ on all cores, in 10¹² operations/s."""
    import torch

    a, b = (torch.randn(size, size) for _ in range(2))
    seconds = min(_seconds(lambda: torch.mm(a, b)) for _ in range(WARM + repeats))
    return 2 * size**3 / seconds / 1e12


def file_gb_per_s(folder: Path, mib: int) -> dict[str, float]:
    """Return the rates of writing a file of `mib` below `folder`, and of reading it, in 10⁹ B/s.

    Written until it is on the disk, and read from there: the system is told to forget it between.
    """
    block = os.urandom(2**20)
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:

        def write() -> None:
            for _ in range(mib):
                file.write(block)
            os.fsync(file.fileno())

        def read() -> None:
            file.seek(0)
            while file.read(2**23):
                pass

        written = _seconds(write)
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        seconds = {"disk_read": _seconds(read), "disk_write": written}
    return {f"{name}_gb_per_s": round(mib * 2**20 / s / 1e9, 2) for name, s in seconds.items()}


def _seconds(work: Any) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure_machine(folder: Path) -> dict[str, float]:
    """Return the rates of GPU 0, or of the CPU where there is none, and of the disk of `folder`."""
    import torch

    if torch.cuda.is_available():
        rates = measure()
    else:
        rates = {"matmul_float32_tflops": round(cpu_matmul_tflops(2048, 5), 3)}
    return rates | file_gb_per_s(folder, 2048)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=8192, help="rows of the square matrices")
    parser.add_argument("--copy-mib", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    publish(record(limits=measure(args.size, args.copy_mib, args.repeats)), args.out)


if __name__ == "__main__":
    run_cli(main)
