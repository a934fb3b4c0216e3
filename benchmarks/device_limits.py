"""Limits of this GPU: the rate of matrix products and of copies in its memory.

usage: .envs/lmdeploy/bin/python benchmarks/device_limits.py [--size 8192] [--out limits.json]
"""

import argparse
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
