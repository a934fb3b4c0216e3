"""Resolve envs/TOOL.in into the full lock envs/TOOL.lock, in a throw-away virtual environment.

Lines after the comment that begins with `# --no-deps` are installed without their dependencies,
because their metadata contradicts the pins above them.
"""

import argparse
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
    # A local version (+cpu) or a CUDA library belongs to one machine's build of torch.
    names = [re.sub(r"\+[a-z0-9.]+$", "", line) for line in frozen.splitlines()]
    return [name for name in names if not OF_ONE_MACHINE.match(name)]


def main() -> None:
    """Write the lock beside the intent file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("intent", type=Path, help="envs/TOOL.in")
    args = parser.parse_args()
    if not args.intent.is_file():
        raise ButlerError(f"no intent file {args.intent}; name one of envs/*.in")
    with tempfile.TemporaryDirectory() as folder:
        packages = resolve(args.intent, Path(folder) / "venv")
    header = (
        f"# Made by: python workflow/scripts/lock_environment.py {args.intent}\n"
        f"# The reasons for each pin stand in {args.intent.name}.\n"
    )
    atomic_write_text(args.intent.with_suffix(".lock"), header + "\n".join(packages) + "\n")


if __name__ == "__main__":
    run_cli(main)
