"""Build the virtual environment of one tool from its locks, and prove that it imports.

TOOL.lock is installed exactly, each file by its hash and without looking at dependencies: the
tools' own metadata contradict each other. TOOL.torch.lock comes after it, by version alone: which
file it is, and which CUDA libraries come with it, depends on what the machine's index offers.
"""

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from butler.errors import ButlerError, run_cli
from butler.files import atomic_dir, atomic_write_json, discard
from butler.progress import progress
from butler.tools import check_python

OURS = ".recipe-butler"  # marks a folder that this script made, however far it came
PIN = re.compile(r"^[\w.-]+==[^\s;\\]+", re.MULTILINE)
WRONG_HASH = re.compile(r"DO NOT MATCH THE HASHES.*?\n +(\S+==\S+)", re.DOTALL)


def make_venv(into: Path) -> None:
    """Make an empty virtual environment.

    Raises:
        ButlerError: if this Python cannot.
    """
    command = [check_python(), "-m", "venv", str(into)]
    if subprocess.run(command).returncode != 0:
        raise ButlerError(
            f"{sys.executable} cannot make virtual environments; install the system's package for "
            "it (python3-venv) or use another Python"
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


def torch_lock(lock: Path) -> Path:
    """Return the lock of what depends on the machine, which lies beside `lock`."""
    return lock.with_suffix(".torch.lock")


def install(lock: Path, into: Path) -> None:
    """Install what `lock` and the torch lock beside it name into the environment `into`."""
    run_pip(into, ["install", "--require-hashes", "--no-deps", "--requirement", str(lock)])
    if (torch := torch_lock(lock)).is_file():
        held = into / "pins.txt"  # pip would ask for hashes of torch too if they were in here
        held.write_text("\n".join(pins(lock)) + "\n", encoding="utf-8")
        run_pip(into, ["install", "--constraint", str(held), "--requirement", str(torch)])


def build(lock: Path, into: Path, extra: list[Path], imports: list[str]) -> dict[str, object]:
    """Build `into` from `lock`, copy `extra` packages beside the rest and import `imports`."""
    if into.is_dir() and any(into.iterdir()):
        if not any((into / name).is_file() for name in ("pyvenv.cfg", OURS)):
            raise ButlerError(f"{into} is there and no virtual environment; move it away")
        discard(into)
    # With its mark from the start: venv makes folders before it writes its own.
    with atomic_dir(into) as folder:
        (folder / OURS).touch()
    make_venv(into)
    install(lock, into)
    site = _site(into)
    for package in extra:
        shutil.copytree(package, site / package.name)
    python = str(into / "bin" / "python")
    for module in imports:
        done = subprocess.run([python, "-c", f"import {module}"], capture_output=True, text=True)
        if done.returncode != 0:
            raise ButlerError(
                f"environment {into} was built but cannot import {module}: "
                f"{done.stderr.strip().splitlines()[-1]}"
            )
    return {
        "lock": str(lock.name),
        "lock_sha256": hashlib.sha256(lock.read_bytes()).hexdigest(),
        "python": ".".join(map(str, sys.version_info[:3])),
    }


def _site(environment: Path) -> Path:
    return next((environment / "lib").glob("python3.*/site-packages"))


def status(lock: Path, into: Path) -> str:
    """Return how many of the lock's packages are there; pip downloads all before it installs."""
    wanted = len(pins(lock))
    made = (into / "pyvenv.cfg").is_file() and any((into / "lib").glob("python3.*/site-packages"))
    done = len(list(_site(into).glob("*.dist-info"))) if made else 0
    return f"{min(done, wanted)} of {wanted} packages installed"


def main() -> None:
    """Build one environment; the stamp is written last, so a half-built one is built again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lock", type=Path, required=True, help="envs/TOOL.lock")
    parser.add_argument("--into", type=Path, required=True, help="folder of the environment")
    parser.add_argument("--stamp", type=Path, required=True, help="JSON that says it is complete")
    parser.add_argument("--extra", type=Path, nargs="*", default=[], help="package folders to add")
    parser.add_argument("--imports", nargs="*", default=[], help="modules that must import")
    args = parser.parse_args()
    args.stamp.unlink(missing_ok=True)
    with progress(f"environment {args.into.name}", lambda: status(args.lock, args.into)):
        built = build(args.lock, args.into, args.extra, args.imports)
    atomic_write_json(args.stamp, built)
    print(json.dumps(built))


if __name__ == "__main__":
    run_cli(main)
