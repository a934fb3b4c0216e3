"""A working folder that Snakemake takes for a finished run, and questions about what is stale.

The outputs are placeholders: `snakemake --touch` records for each what it was made from, as after a
real run, so a dry run answers from the real DAG of the real rules.
"""

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile

import yaml

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("build/", "workspaces/")
CONFIG = yaml.safe_load((ROOT / "config" / "config.yaml").read_text(encoding="utf-8"))
# Those of a base, for a GPU: they build on config/7b.yaml.
BASE_OVERLAYS = sorted(
    path
    for path in (ROOT / "config").glob("*.yaml")
    if "overlays: 7b.yaml\n" in path.read_text(encoding="utf-8")
)


def demo_benchmarks(**changes: dict[str, object]) -> list[dict[str, object]]:
    """Return the demo's benchmarks, some of them changed, by name."""
    return [one | changes.get(one["name"], {}) for one in CONFIG["benchmarks"]]


def snakemake(folder: Path, *arguments: str, check: bool = True) -> str:
    """Run Snakemake on the repository's Snakefile in `folder`; return what it printed."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--directory", str(folder), "--cores", "2", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    text = done.stdout + done.stderr
    if check and done.returncode != 0:
        raise AssertionError(text)
    return text


@cache
def forks() -> subprocess.Popen[str]:
    """Return the process that answers questions to Snakemake, started with the first one."""
    command = [sys.executable, str(Path(__file__).with_name("snakemake_forks.py"))]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def end_forks() -> None:
    """End that process, if it was started."""
    if forks.cache_info().currsize:
        forks().communicate()


def plan(folder: Path, *arguments: str, check: bool = True) -> str:
    """Ask Snakemake for what starts no job of ours, a dry run as a rule; return what it printed."""
    command = ["--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder), "--cores", "2"]
    with NamedTemporaryFile("r", encoding="utf-8") as output:
        question = [*command, *arguments], dict(os.environ), output.name
        print(json.dumps(question), file=forks().stdin, flush=True)
        status = int(forks().stdout.readline())
        text = output.read()
    if check and status != 0:
        raise AssertionError(text)
    return text


def overlay(folder: Path, **sections: object) -> list[str]:
    """Write a configuration overlay; return the arguments that apply it."""
    path = folder / "overlay.yaml"
    path.write_text(yaml.safe_dump(sections, allow_unicode=True), encoding="utf-8")
    return ["--configfile", str(path), "--"]


def finish(folder: Path, *arguments: str) -> None:
    """Leave placeholders of every output of `all` in `folder`, recorded as up to date."""
    table = plan(folder, "--detailed-summary", *arguments, "all")
    lines = [line.split("\t")[0] for line in table.splitlines() if "\t" in line]
    for name in lines[1:]:
        leave_placeholder(folder, name, name)
    plan(folder, "--touch", "--forceall", *arguments, "all")


def leave_placeholder(folder: Path, name: str, plain: str) -> None:
    """Leave an output in `folder`: a folder if it is one where a plain run has it, else a file."""
    path = folder / name
    if plain.startswith(FOLDERS) and "." not in path.name:
        path.mkdir(parents=True, exist_ok=True)
        (path / "placeholder").write_text(name)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def stale(folder: Path, *arguments: str) -> set[str]:
    """Return the outputs that a run would make again."""
    return outputs_in(plan(folder, "--dry-run", *arguments, "all"))


def outputs_in(text: str) -> set[str]:
    """Return the outputs that a dry run of this text would make."""
    lines = [line.strip() for line in text.splitlines()]
    made = [line.removeprefix("makes: ") for line in lines if line.startswith("makes: ")]
    return {name for line in made for name in line.split()}


def copy_state(source: Path, target: Path) -> Path:
    """Copy a finished folder, with the times that Snakemake compares."""
    shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
    return target
