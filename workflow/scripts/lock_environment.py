"""Resolve envs/TOOL.in into the full lock envs/TOOL.lock, in a throw-away virtual environment.

Lines after the comment that begins with `# --no-deps` are installed without their dependencies,
because their metadata contradicts the pins above them. `--dry-run` resolves without installing, for
an environment whose packages are many gigabytes or fit another machine.
"""

import argparse
import json
import re
import subprocess
import tempfile
from pathlib import Path

from build_environment import make_venv, run_pip
from butler.errors import ButlerError, run_cli
from butler.files import atomic_write_text

NO_DEPS = "# --no-deps"
OF_ONE_MACHINE = re.compile(r"(nvidia-(?!ml-py)|cuda-|triton==|setuptools==)")


def requirements(text: str) -> list[str]:
    """Return the requirement of each line that holds one."""
    lines = (line.split("#", 1)[0].strip() for line in text.splitlines())
    return [line for line in lines if line]


def resolve(intent: Path, into: Path) -> list[str]:
    """Install what `intent` asks for into a new environment; return its frozen packages."""
    resolved, marker, rest = intent.read_text(encoding="utf-8").partition(NO_DEPS)
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
    text = intent.read_text(encoding="utf-8")
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
    named = {re.split(r"[=<>!\[ ]", r)[0] for r in requirements(intent.read_text("utf-8"))}
    names = [re.sub(r"\+[a-z0-9.]+$", "", line) for line in frozen]
    return [n for n in names if n.split("==")[0] in named or not OF_ONE_MACHINE.match(n)]


def main() -> None:
    """Write the lock beside the intent file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("intent", type=Path, help="envs/TOOL.in")
    parser.add_argument("--dry-run", action="store_true", help="resolve and install nothing")
    args = parser.parse_args()
    if not args.intent.is_file():
        raise ButlerError(f"no intent file {args.intent}; name one of envs/*.in")
    with tempfile.TemporaryDirectory() as folder:
        packages = (dry_run if args.dry_run else resolve)(args.intent, Path(folder) / "venv")
    how = " --dry-run" if args.dry_run else ""
    header = (
        f"# Made by: python workflow/scripts/lock_environment.py{how} {args.intent}\n"
        f"# The reasons for each pin stand in {args.intent.name}.\n"
    )
    atomic_write_text(args.intent.with_suffix(".lock"), header + "\n".join(packages) + "\n")


if __name__ == "__main__":
    run_cli(main)
