"""What the NVIDIA driver tells of itself and its GPUs, and what CUDA and the engines ask of them.

Read without torch and before anything is installed, so that what cannot work is told before
gigabytes are fetched for it.
"""

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from butler.errors import ButlerError
from butler.versions import dotted, numbers

# By CUDA's major number: the oldest driver (NVIDIA's table of minor version compatibility) and the
# least compute capability that torch's build of it has kernels for.
LEAST_DRIVER = {12: (525,), 13: (580,)}
LEAST_CAPABILITY = {12: (7, 0), 13: (7, 5)}
TURBOMIND_LEAST = (7, 0)  # in the wheels of 0.7.3 and 0.18
# A release of LMDeploy, the major number of the newest compute capability that it has kernels for,
# and the least that the chosen variants need.
Serving = tuple[str, int, tuple[int, ...]]
KERNEL_MODULE = Path("/proc/driver/nvidia/version")
_QUERY = ("driver_version", "name", "memory.total", "compute_cap")
_ROW = re.compile(r"([\d.]+), (.+), (\d+), (\d+\.\d+)")  # a GPU that cannot tell says [N/A]


@dataclass(frozen=True)
class Card:
    """A GPU: its name, compute capability and memory in MiB."""

    name: str
    capability: tuple[int, ...]
    memory_mib: int

    def __str__(self) -> str:
        """Return what identifies it to a reader."""
        return f"{self.name} (compute capability {dotted(self.capability)})"


@dataclass(frozen=True)
class Driver:
    """The driver's version and the GPUs that it shows; none are listed where it does not answer."""

    version: str
    cards: tuple[Card, ...]


def read_driver() -> Driver:
    """Ask nvidia-smi, or the kernel module where that does not answer.

    Raises:
        ButlerError: if neither tells a version.
    """
    command = ["nvidia-smi", f"--query-gpu={','.join(_QUERY)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        said = str(error)
    else:
        rows = [_ROW.fullmatch(line) for line in done.stdout.splitlines()]
        found = [row.groups() for row in rows if row]
        if done.returncode == 0 and found:
            cards = (Card(name, numbers(level), int(mib)) for _, name, mib, level in found)
            return Driver(found[0][0], tuple(cards))
        said = next(iter((done.stdout + done.stderr).strip().splitlines()), "nothing")
    if KERNEL_MODULE.is_file():
        text = KERNEL_MODULE.read_text(encoding="utf-8")
        if version := re.search(r"Module\b.*?\s(\d+(\.\d+)+)\s", text):
            return Driver(version[1], ())
    raise ButlerError(
        f"no NVIDIA driver answers, though there is a GPU's device file (nvidia-smi: {said}); "
        f"install one of {dotted(LEAST_DRIVER[max(LEAST_DRIVER)])} or newer, or set device: cpu"
    )


def check_torch(driver: Driver, cuda: int) -> None:
    """Check that torch's build for CUDA's major number `cuda` runs with this driver and its GPUs.

    One GPU that fits is enough: a small card for the screen may be beside it.

    Raises:
        ButlerError: with what is there and what is needed.
    """
    known = max((one for one in LEAST_DRIVER if one <= cuda), default=min(LEAST_DRIVER))
    least = LEAST_DRIVER[known]
    if numbers(driver.version) < least:
        raise ButlerError(
            f"the NVIDIA driver is {driver.version}, and torch's build for CUDA {cuda} needs "
            f"{dotted(least)} or newer; update the driver, or set device: cpu"
        )
    least = LEAST_CAPABILITY[known]
    if driver.cards and not any(card.capability >= least for card in driver.cards):
        raise ButlerError(
            f"{driver.cards[0]} is too old for torch's build for CUDA {cuda}, whose kernels begin "
            f"at {dotted(least)}; use a newer GPU, or set device: cpu"
        )


def serving_of(words: Sequence[str]) -> Serving:
    """Return what a command line says is to serve: RELEASE NEWEST LEAST."""
    version, newest, least = words
    return version, int(newest), numbers(least)


def check_lmdeploy(
    cards: Sequence[Card], version: str, newest: int, least: tuple[int, ...] = TURBOMIND_LEAST
) -> None:
    """Check that a release of LMDeploy has kernels for one of the GPUs.

    Args:
        cards: what there is; none where they are not known.
        version, newest, least: as `Serving` has them.

    Raises:
        ButlerError: with what is there and what the release has.
    """
    fits = [least <= one.capability < (newest + 1,) for one in cards]
    if not fits or any(fits):
        return
    if all(TURBOMIND_LEAST <= one.capability < least for one in cards):
        raise ButlerError(
            f"variants that compute in FP8 with LMDeploy's PyTorch engine need compute capability "
            f"{dotted(least)} or newer, and {cards[0]} is older; leave them out of variants"
        )
    raise ButlerError(
        f"LMDeploy {version} has kernels for compute capability {dotted(TURBOMIND_LEAST)} to "
        f"{newest}.x and none for {cards[0]}; set lmdeploy: latest where that is newer, "
        "or engine: reference, which serves on the CPU"
    )
