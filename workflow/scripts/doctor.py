"""Say what this machine can do for a run, with nothing built: GPU, memory, network, environments.

A line each, and a verdict last. The exit code is 1 only if something is certain to fail.
"""

import argparse
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from build_environment import is_built_from, lock_of, pins, site_packages, torch_lock
from butler.devices import cpu_name, gpu_present, serving_engine
from butler.driver import (
    LEAST_DRIVER,
    Driver,
    Serving,
    check_lmdeploy,
    check_torch,
    read_driver,
    serving_of,
)
from butler.errors import ButlerError, run_cli
from butler.plan.machine import host_memory
from butler.plan.model_size import HUB_ADDRESSES, hub_endpoint
from butler.shared_libraries import missing_libraries, torch_cuda
from butler.tools import find_python
from butler.versions import dotted, numbers

GIB = 2**30
WAIT_S = 15  # for the index and the hub
REFERENCE = "the reference engine, on the CPU: for small models"
OF_PYPI = max(LEAST_DRIVER)  # the CUDA that PyPI's build of the locked torch is for


@dataclass
class MachineFindings:
    """What was said, and what is certain to fail."""

    failures: list[str] = field(default_factory=list)

    def say(self, about: str, text: str) -> None:
        """Print a line."""
        print(f"{about + ':':14}{text}", flush=True)

    def fail(self, about: str, text: str) -> None:
        """Print a line about what is certain to fail."""
        self.failures.append(about)
        self.say(about, f"FAILS: {text}")

    def told(self, about: str, function: Callable[[], str]) -> None:
        """Print what a function returns, or the sentence of its ButlerError as a failure."""
        try:
            self.say(about, function())
        except ButlerError as error:
            self.fail(about, str(error))


def look_at_gpu(arguments: argparse.Namespace, findings: MachineFindings) -> None:
    """Say which GPUs and which driver there are, and which engine will serve."""
    if not gpu_present():
        findings.say("GPU", "none here" + _elsewhere(arguments.device))
        findings.say("engine", engine_without_gpu(arguments))
        return
    served = serving_engine(arguments.engine, arguments.device, present=True) == "lmdeploy"
    used = served or arguments.device != "cpu"
    try:
        driver = read_driver()
    except ButlerError as error:
        (findings.fail if used else findings.say)("GPU", str(error))
        return
    for card in driver.cards:
        findings.say("GPU", f"{card}, {card.memory_mib / 1024:.0f} GiB")
    runs = [cuda for cuda, least in LEAST_DRIVER.items() if numbers(driver.version) >= least]
    builds = " and ".join(f"CUDA {cuda}" for cuda in runs) or "no CUDA that torch is built for"
    findings.say("driver", f"{driver.version}, which runs {builds}")
    if not used:
        findings.say("torch", "device: cpu is set; nothing is trained on the GPU")
    elif OF_PYPI not in runs and runs:
        findings.say(
            "torch",
            f"PyPI's build needs a driver of {dotted(LEAST_DRIVER[OF_PYPI])}; update it, or ask an "
            f"index that has one for CUDA {max(runs)}",
        )
    else:
        findings.told("torch", lambda: _torch(driver))
    if served:
        findings.told("engine", lambda: _lmdeploy(driver, serving_of(arguments.serving)))
    else:
        findings.say("engine", REFERENCE)


def _elsewhere(device: str) -> str:
    return "; device: cuda says that the jobs run where there is one" if device == "cuda" else ""


def _torch(driver: Driver) -> str:
    check_torch(driver, OF_PYPI)
    return f"PyPI's build, for CUDA {OF_PYPI}, has kernels for it"


def _lmdeploy(driver: Driver, serving: Serving) -> str:
    check_lmdeploy(driver.cards, *serving)
    return f"LMDeploy {serving[0]} will serve"


def engine_without_gpu(arguments: argparse.Namespace) -> str:
    """Return which engine serves where this machine has no GPU."""
    if serving_engine(arguments.engine, arguments.device, present=False) == "lmdeploy":
        return "LMDeploy, on the machine that has the GPU"
    return REFERENCE


def look_at_machine(arguments: argparse.Namespace, findings: MachineFindings) -> None:
    """Say what processor, memory and disk there are."""
    usable = len(os.sched_getaffinity(0))
    findings.say("processor", f"{cpu_name()}, {usable} cores usable")
    memory, whole = host_memory(), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = f" (a limit; the machine has {whole / GIB:.0f})" if memory < whole else ""
    findings.say("memory", f"{memory / GIB:.0f} GiB{limit}")
    folders = {"this folder": Path(), "the environments": arguments.environments}
    for name, folder in folders.items():
        there = next(one for one in (folder.resolve(), *folder.resolve().parents) if one.is_dir())
        findings.say("disk", f"{shutil.disk_usage(there).free / GIB:.0f} GiB free for {name}")


def look_at_environments(arguments: argparse.Namespace, findings: MachineFindings) -> bool:
    """Say which environments are built; return whether all are."""
    built = True
    for tool in arguments.tools:
        stamp, folder = (arguments.environments / name for name in (f"{tool}.json", tool))
        if not is_built_from(stamp, lock_of(tool)):
            findings.say(tool, "built from another lock" if stamp.is_file() else "not built yet")
            built = False
        else:
            findings.told(tool, lambda folder=folder: _environment(folder))
    return built


def _environment(folder: Path) -> str:
    site = site_packages(folder)
    if missing := missing_libraries(site):
        first = missing[0]
        needed_by = first.needed_by.relative_to(site)
        raise ButlerError(
            f"{first.library} is missing, which {needed_by} needs; delete {folder}.json, and "
            "`snakemake prepare` builds it again"
        )
    cuda = torch_cuda(site)
    build = f"a torch for CUDA {cuda}" if cuda else "a torch for the CPU alone"
    if not cuda and gpu_present():
        build += ", though there is a GPU; ask an index that has one for CUDA and build it anew"
    return f"built, with {build}; every library is found"


def look_at_network(arguments: argparse.Namespace, built: bool, findings: MachineFindings) -> None:
    """Say whether the package index and the hub answer; a failure only if they are needed yet."""
    said, answers = ask_index(pins(torch_lock(lock_of(arguments.tools[0])))[0])
    (findings.say if answers or built else findings.fail)("index", said)
    if arguments.model_is_folder:
        findings.say("hub", "not needed: base.model is a folder")
        return
    variable, address = hub_endpoint(arguments.hub)
    said, answers = ask_hub(address)
    if not answers:
        said += f"; set {variable} to a mirror, or give a folder as base.model"
    fetched = Path("build/base").is_dir()
    (findings.say if answers or fetched else findings.fail)("hub", said)


def ask_index(torch: str) -> tuple[str, bool]:
    """Return what to say of the package index, and whether it has torch, given as `torch==2.13.0`.

    pip itself is asked, since where it looks is its own configuration.
    """
    name, version = torch.split("==")
    command = [sys.executable, "-m", "pip", "index", "versions", name, "--retries", "0"]
    command += ["--timeout", str(WAIT_S), "--disable-pip-version-check"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=8 * WAIT_S)
    except subprocess.TimeoutExpired:
        return "pip got no answer from the package index", False
    if "No module named pip" in done.stderr:
        return "cannot be asked: this Python has no pip", True
    lines = [one for one in done.stdout.splitlines() if one.startswith("Available versions:")]
    if version in lines[0].replace(",", " ").split() if lines else False:
        return f"answers, and has torch {version}", True
    errors = [one for one in done.stderr.splitlines() if one.startswith("ERROR")] or ["no answer"]
    return (f"answers, but has no torch {version}" if lines else errors[-1]), False


def ask_hub(address: str) -> tuple[str, bool]:
    """Return what to say of a hub, and whether it answers; any answer to HTTP is one."""
    request = urllib.request.Request(address, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=WAIT_S):
            pass
    except urllib.error.HTTPError as error:
        error.close()
    except (OSError, ValueError) as error:
        return f"{address} does not answer ({getattr(error, 'reason', error)})", False
    return f"{address} answers", True


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--environments", type=Path, required=True, help="folder of the tools' environments")
    add("--tools", nargs="+", required=True, help="the environments that the run uses")
    add("--device", required=True, help="as the configuration has it")
    add("--engine", required=True, help="as the configuration has it")
    add("--serving", nargs=3, required=True, metavar=("RELEASE", "NEWEST", "LEAST"), help="the "
        "LMDeploy that serves, the newest compute capability that it has kernels for, and the "
        "least that the chosen variants need")  # fmt: skip
    add("--hub", choices=HUB_ADDRESSES, required=True, help="where the base model comes from")
    add("--model-is-folder", action="store_true", help="it comes from no hub")
    return parser.parse_args()


def main() -> None:
    """Look, say, judge."""
    arguments, findings = parse_arguments(), MachineFindings()
    look_at_gpu(arguments, findings)
    look_at_machine(arguments, findings)
    findings.told("Python", lambda: f"{sys.version.split()[0]}; environments with {find_python()}")
    built = look_at_environments(arguments, findings)
    look_at_network(arguments, built, findings)
    if findings.failures:
        raise ButlerError(f"a run here will fail by: {', '.join(findings.failures)} (above)")
    print("verdict:      nothing here is certain to fail" + ("" if built else _next()))


def _next() -> str:
    return "; `snakemake prepare` builds and fetches what is missing"


if __name__ == "__main__":
    run_cli(main)
