"""Build the virtual environment of one tool from its locks, and prove that it loads.

TOOL.lock is installed exactly, each file by its hash and without looking at dependencies: the
tools' own metadata contradict each other. TOOL.torch.lock comes after it, by version alone: which
file it is, and which CUDA libraries come with it, depends on what the machine's index offers. Where
that is a build for CUDA, TOOL.cuda.lock brings what the tool needs of CUDA 12 beside it.
"""

import argparse
import hashlib
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from butler.devices import gpu_present
from butler.driver import Serving, check_lmdeploy, check_torch, read_driver, serving_of
from butler.errors import ButlerError, run_cli
from butler.files import atomic_dir, atomic_write_json, discard
from butler.progress import progress
from butler.shared_libraries import missing_libraries, torch_cuda
from butler.tools import find_python

ENVS = Path(__file__).resolve().parents[2] / "envs"
OURS = ".recipe-butler"  # marks a folder that this script made, however far it came
PIN = re.compile(r"^[\w.-]+==[^\s;\\]+", re.MULTILINE)
CUDA_PACKAGE = re.compile(r"(?:nvidia-\w+-cu|cuda-toolkit\S*==)(\d+)")
WRONG_HASH = re.compile(r"DO NOT MATCH THE HASHES.*?\n +(\S+==\S+)", re.DOTALL)


def make_venv(into: Path) -> None:
    """Make an empty virtual environment.

    Raises:
        ButlerError: if this Python cannot.
    """
    python = find_python()
    if subprocess.run([python, "-m", "venv", str(into)]).returncode != 0:
        raise ButlerError(
            f"{python} cannot make virtual environments; install the system's package for it "
            "(python3-venv) or use another Python"
        )


def run_pip(environment: Path, arguments: list[str]) -> None:
    """Run the environment's pip.

    Raises:
        ButlerError: with pip's last error, if it failed.
    """
    command = [str(environment / "bin" / "python"), "-m", "pip", "--quiet", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(done.stdout, end="")
    if done.returncode != 0:
        if wrong := WRONG_HASH.search(done.stdout):
            raise ButlerError(
                f"pip could not build {environment}: the file of {wrong[1]} that the index gave "
                "has none of the hashes in the lock; ask another index, or find out who changed it"
            )
        lines = [line for line in done.stdout.splitlines() if "ERROR" in line] or ["no output"]
        raise ButlerError(f"pip could not build {environment}: {lines[-1].strip()}")


def pins(*locks: Path) -> list[str]:
    """Return `name==version` of each package in the locks, without its hashes."""
    return [pin for lock in locks for pin in PIN.findall(lock.read_text(encoding="utf-8"))]


def lock_of(tool: str) -> Path:
    """Return the lock of a tool's environment."""
    return ENVS / f"{tool}.lock"


def torch_lock(lock: Path) -> Path:
    """Return the lock of what depends on the machine, which lies beside `lock`."""
    return lock.with_suffix(".torch.lock")


def cuda_lock(lock: Path) -> Path:
    """Return the lock of the CUDA libraries beside torch's, which lies beside `lock`."""
    return lock.with_suffix(".cuda.lock")


def offered_cuda(torch: Path, into: Path) -> int | None:
    """Return the major number of CUDA that the index's torch is built for; None for a CPU's.

    pip is asked what it would install. Where the index has no metadata beside its files, pip reads
    torch's own for that, and may keep it in its cache.
    """
    report = into / "offered.json"
    only = ["--dry-run", "--no-deps", "--ignore-installed", "--report", str(report)]
    run_pip(into, ["install", *only, *pins(torch)])
    found = json.loads(report.read_text(encoding="utf-8"))["install"]
    (metadata,) = (one["metadata"] for one in found if one["metadata"]["name"] == "torch")
    return cuda_of(metadata["version"], metadata.get("requires_dist", []))


def cuda_of(version: str, requires: list[str]) -> int | None:
    """Return the major number of CUDA that a torch is built for; None for a CPU's.

    Its version says it (2.13.0+cu126), or, where an index has one build alone as PyPI, the packages
    that it asks for.
    """
    if local := re.search(r"\+(\w+)", version):
        build = re.fullmatch(r"cu(\d+)\d", local[1])
    else:
        build = CUDA_PACKAGE.search("\n".join(requires))
    return int(build[1]) if build else None


def check_offer(lock: Path, into: Path, serving: Serving | None) -> None:
    """Check, before anything is installed, that this GPU can be used.

    Args:
        lock: of the environment.
        into: the environment, with nothing but pip in it.
        serving: what is to serve on it.

    Raises:
        ButlerError: if that or the torch which is offered cannot use it.
    """
    driver = read_driver() if gpu_present() else None  # there may be none where one submits
    if driver and serving:
        check_lmdeploy(driver.cards, *serving)
    cuda = offered_cuda(torch_lock(lock), into)
    if cuda is None:
        raise ButlerError(
            "the jobs are to use a GPU, and the package index offers a torch for CPUs alone; ask "
            "one that has a build for CUDA (see: pip config list), or set device: cpu"
        )
    if driver:
        check_torch(driver, cuda)


def install(lock: Path, into: Path) -> None:
    """Install what `lock` and the locks beside it name into the environment `into`."""
    run_pip(into, ["install", "--require-hashes", "--no-deps", "--requirement", str(lock)])
    if (torch := torch_lock(lock)).is_file():
        held = into / "pins.txt"  # pip would ask for hashes of torch too if they were in here
        held.write_text("\n".join(pins(lock)) + "\n", encoding="utf-8")
        run_pip(into, ["install", "--constraint", str(held), "--requirement", str(torch)])
        cuda = torch_cuda(site_packages(into)) or ""
        # A build for CUDA 12 has brought them itself, in releases of its own.
        if (libraries := cuda_lock(lock)).is_file() and cuda and not cuda.startswith("12."):
            hashed = ["--require-hashes", "--no-deps", "--requirement", str(libraries)]
            run_pip(into, ["install", *hashed])


@dataclass(frozen=True)
class Use:
    """What an environment is for.

    `imports` must import, `gpu_imports` too where there is a GPU. `gpu` says that its jobs are to
    use one, `serving` what serves on it.
    """

    imports: list[str]
    gpu_imports: list[str]
    gpu: bool
    serving: Serving | None


def check_environment(into: Path, use: Use) -> None:
    """Check that all libraries are there and that the modules import.

    Raises:
        ButlerError: that names the first which is not.
    """
    site = site_packages(into)
    for missing in missing_libraries(site) if (site / "torch").is_dir() else []:
        raise ButlerError(
            f"environment {into} was built but lacks {missing.library}, which "
            f"{missing.needed_by.relative_to(site)} needs; a lock in envs/ lacks its package"
        )
    on_gpu = gpu_present() and (site / "torch").is_dir() and torch_cuda(site)
    python = str(into / "bin" / "python")
    for module in [*use.imports, *(use.gpu_imports if on_gpu else [])]:
        done = subprocess.run([python, "-c", f"import {module}"], capture_output=True, text=True)
        if done.returncode != 0:
            raise ButlerError(
                f"environment {into} was built but cannot import {module}: "
                f"{done.stderr.strip().splitlines()[-1]}"
            )


def build(lock: Path, into: Path, extra: list[Path], use: Use) -> dict[str, object]:
    """Build `into` from `lock`, copy `extra` packages beside the rest and check that it loads."""
    if into.is_dir() and any(into.iterdir()):
        if not any((into / name).is_file() for name in ("pyvenv.cfg", OURS)):
            raise ButlerError(f"{into} is there and no virtual environment; move it away")
        discard(into)
    # With its mark from the start: venv makes folders before it writes its own.
    with atomic_dir(into) as folder:
        (folder / OURS).touch()
    make_venv(into)
    if use.gpu and torch_lock(lock).is_file():
        check_offer(lock, into, use.serving)
    install(lock, into)
    for package in extra:
        shutil.copytree(package, site_packages(into) / package.name)
    check_environment(into, use)
    return {
        "lock": str(lock.name),
        "lock_sha256": sha256(lock),
        "python": python_version(into),
    }


def is_built_from(stamp: Path, lock: Path) -> bool:
    """Say whether the environment of a stamp was completed, and from this lock."""
    if not stamp.is_file():
        return False
    return json.loads(stamp.read_text(encoding="utf-8")).get("lock_sha256") == sha256(lock)


def sha256(path: Path) -> str:
    """Return a small file's SHA-256 in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def python_version(environment: Path) -> str:
    """Return the version of the environment's Python, as `3.12.1`."""
    code = "import platform; print(platform.python_version())"
    command = [str(environment / "bin" / "python"), "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def site_packages(environment: Path) -> Path:
    """Return the folder of an environment's packages.

    Raises:
        ButlerError: if there is none.
    """
    found = next((environment / "lib").glob("python3.*/site-packages"), None)
    if found is None:
        raise ButlerError(
            f"{environment} holds no Python environment, though its stamp says so; delete "
            f"{environment}.json, and give the same command again"
        )
    return found


def status(lock: Path, into: Path) -> str:
    """Return how many of the lock's packages are there; pip downloads all before it installs."""
    wanted = len(pins(lock))
    made = (into / "pyvenv.cfg").is_file() and any((into / "lib").glob("python3.*/site-packages"))
    done = len(list(site_packages(into).glob("*.dist-info"))) if made else 0
    return f"{min(done, wanted)} of {wanted} packages installed"


def main() -> None:
    """Build one environment; the stamp is written last, so a half-built one is built again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lock", type=Path, required=True, help="envs/TOOL.lock")
    parser.add_argument("--into", type=Path, required=True, help="folder of the environment")
    parser.add_argument("--stamp", type=Path, required=True, help="JSON that says it is complete")
    parser.add_argument("--extra", type=Path, nargs="*", default=[], help="package folders to add")
    parser.add_argument("--imports", nargs="*", default=[], help="modules that must import")
    parser.add_argument("--gpu-imports", nargs="*", default=[], help="and where there is a GPU")
    parser.add_argument("--gpu", action="store_true", help="its jobs are to use a GPU")
    parser.add_argument(
        "--serving",
        nargs=3,
        metavar=("RELEASE", "NEWEST", "LEAST"),
        help="the LMDeploy that serves on it, the newest compute capability that it has kernels "
        "for, and the least that the chosen variants need",
    )
    args = parser.parse_args()
    args.stamp.unlink(missing_ok=True)
    with progress(f"environment {args.into.name}", lambda: status(args.lock, args.into)):
        serving = serving_of(args.serving) if args.serving else None
        use = Use(args.imports, args.gpu_imports, args.gpu, serving)
        built = build(args.lock, args.into, args.extra, use)
    atomic_write_json(args.stamp, built)
    print(json.dumps(built))


if __name__ == "__main__":
    run_cli(main)
