"""Resolve envs/TOOL.in into the full lock envs/TOOL.lock, in a throw-away virtual environment.

Each package gets the hash of every file that the index has of its version, for any machine (uv asks
PyPI, or the index in UV_DEFAULT_INDEX; it comes with requirements-dev.txt). torch goes to
envs/TOOL.torch.lock without: which file of it is right depends on the machine. `--hashes` asks for
the hashes of the packages that are locked already, and changes none of their versions.

Lines after the comment that begins with `# --no-deps` are installed without their dependencies,
because their metadata contradicts the pins above them. Those after `# --cuda`, each with its exact
version, are not resolved at all: they go to envs/TOOL.cuda.lock, for machines whose torch is built
for CUDA. A first line `# --like: OTHER.in` asks for what that file does, but for the packages that
are named here. `--dry-run` resolves without installing, for an environment whose packages are many
gigabytes or fit another machine.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from build_environment import cuda_lock, make_venv, pins, run_pip, torch_lock
from butler.errors import ButlerError, run_cli
from butler.files import atomic_write_text

NO_DEPS = "# --no-deps"
CUDA = "# --cuda"
LIKE = "# --like:"
OF_ONE_MACHINE = re.compile(r"(nvidia-(?!ml-py)|cuda-|triton==|setuptools==)")
HEADER = (
    "# Made by: python workflow/scripts/lock_environment.py{how} {intent}\n"
    "# The reasons for each pin stand in {intent.name}.\n"
)
BUILT_FOR_A_MACHINE = re.compile(r"torch(vision)?==")


def requirements(text: str) -> list[str]:
    """Return the requirement of each line that holds one."""
    lines = (line.split("#", 1)[0].strip() for line in text.splitlines())
    return [line for line in lines if line]


def name_of(requirement: str) -> str:
    """Return the package that a requirement is of."""
    return re.split(r"[=<>!\[ ]", requirement)[0]


def asked_for(intent: Path) -> str:
    """Return the text of an intent file; of one that is like another, that one's with its changes.

    Raises:
        ButlerError: if it changes a package that the other does not name.
    """
    text = intent.read_text(encoding="utf-8")
    if not text.startswith(LIKE):
        return text
    other = text.partition("\n")[0].removeprefix(LIKE).strip()
    changed = {name_of(line): line for line in requirements(text)}
    lines = []
    for line in asked_for(intent.with_name(other)).splitlines():
        named = [name_of(one) for one in requirements(line)]
        lines.append(changed.pop(named[0]) if named and named[0] in changed else line)
    if changed:
        raise ButlerError(f"{intent}: {next(iter(changed))} is not in {other}; change it there")
    return "\n".join(lines) + "\n"


def split(intent: Path) -> tuple[str, list[str]]:
    """Return the text of an intent file that is resolved, and its pins for CUDA machines alone.

    Raises:
        ButlerError: if one of those has no exact version.
    """
    text, marker, rest = asked_for(intent).partition(CUDA)
    pinned = requirements(marker + rest)
    for line in pinned:
        if "==" not in line:
            raise ButlerError(f"{intent}: {line} stands below '{CUDA}' and needs a version, ==")
    return text, pinned


def resolve(intent: Path, into: Path) -> list[str]:
    """Install what `intent` asks for into a new environment; return its frozen packages."""
    resolved, marker, rest = split(intent)[0].partition(NO_DEPS)
    without_deps = marker + rest
    make_venv(into)
    torch = [line for line in requirements(resolved) if line.startswith("torch==")]
    run_pip(into, ["install", *torch])
    run_pip(into, ["install", *requirements(resolved)])
    if wanted := requirements(without_deps):
        run_pip(into, ["install", "--no-deps", *wanted])
    frozen = subprocess.run(
        [str(into / "bin" / "python"), "-m", "pip", "freeze"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return portable(frozen.splitlines(), intent)


def dry_run(intent: Path, into: Path) -> list[str]:
    """Return the packages that pip would install into a new environment; nothing is installed.

    Raises:
        ButlerError: if the intent has lines to be installed without their dependencies.
    """
    text = split(intent)[0]
    if NO_DEPS in text:
        raise ButlerError(f"{intent} has '{NO_DEPS}' lines, which a dry run cannot resolve")
    make_venv(into)
    report = into / "report.json"
    only = ["--ignore-installed", "--only-binary", ":all:"]
    run_pip(into, ["install", "--dry-run", *only, "--report", str(report), *requirements(text)])
    found = [entry["metadata"] for entry in json.loads(report.read_text())["install"]]
    return portable(sorted((f"{m['name']}=={m['version']}" for m in found), key=str.lower), intent)


def portable(frozen: list[str], intent: Path) -> list[str]:
    """Return frozen packages without what belongs to one machine's build of torch.

    That is a local version (+cpu) and CUDA's libraries, but those that the intent itself names.
    """
    named = {name_of(r) for r in requirements(split(intent)[0])}
    names = [re.sub(r"\+[a-z0-9.]+$", "", line) for line in frozen]
    return [n for n in names if n.split("==")[0] in named or not OF_ONE_MACHINE.match(n)]


def hashed(packages: list[str], folder: Path) -> str:
    """Return the packages with the hashes of their files, as pip's --require-hashes takes them.

    Raises:
        ButlerError: with uv's last line, if it is not installed or the index lacks a version.
    """
    bare = folder / "packages.in"
    bare.write_text("\n".join(packages) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-deps", "--no-header"]
    command += ["--generate-hashes", "--no-annotate", "--universal", "--python-version", "3.11"]
    done = subprocess.run([*command, str(bare)], capture_output=True, text=True)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no output"]
        raise ButlerError(f"no hashes could be had (uv is in requirements-dev.txt): {lines[-1]}")
    return done.stdout


def write(packages: list[str], cuda: list[str], lock: Path, header: str, folder: Path) -> None:
    """Write the locks with hashes and, beside them, the one of torch without."""
    torch = [package for package in packages if BUILT_FOR_A_MACHINE.match(package)]
    text = hashed([package for package in packages if package not in torch], folder)
    of_cuda = hashed(cuda, folder) if cuda else ""
    atomic_write_text(lock, header + text)
    if cuda:
        atomic_write_text(cuda_lock(lock), header + of_cuda)
    reason = "# No hashes: each machine takes the build that its index offers (docs/trust.md).\n"
    atomic_write_text(torch_lock(lock), header + reason + "\n".join(torch) + "\n")


def main() -> None:
    """Write the locks beside the intent file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("intent", type=Path, help="envs/TOOL.in")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--dry-run", action="store_true", help="resolve and install nothing")
    only.add_argument(
        "--hashes", action="store_true", help="keep every version, refresh the hashes"
    )
    args = parser.parse_args()
    if not args.intent.is_file():
        raise ButlerError(f"no intent file {args.intent}; name one of envs/*.in")
    lock = args.intent.with_suffix(".lock")
    with tempfile.TemporaryDirectory() as folder:
        if args.hashes:
            packages = pins(lock, torch_lock(lock))
            header = "".join(lock.read_text(encoding="utf-8").splitlines(keepends=True)[:2])
        else:
            packages = (dry_run if args.dry_run else resolve)(args.intent, Path(folder) / "venv")
            header = HEADER.format(how=" --dry-run" if args.dry_run else "", intent=args.intent)
        write(packages, split(args.intent)[1], lock, header, Path(folder))


if __name__ == "__main__":
    run_cli(main)
