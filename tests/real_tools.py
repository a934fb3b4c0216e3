"""Running the real tools in tests: where they are, and a run of the whole chain."""

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

from workflow_state import ROOT

ENVIRONMENTS = Path(os.environ.get("BUTLER_ENVIRONMENTS", ROOT / ".envs")).resolve()
SCRIPTS = ROOT / "workflow" / "scripts"
SHARED = Path(os.environ.get("RECIPE_BUTLER_SHARED", ROOT.parent / "shared")).resolve()


def python_of(tool: str) -> str:
    """Return the interpreter of a tool's environment."""
    return str(ENVIRONMENTS / tool / "bin" / "python")


def script(tool: str, name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run one of our scripts in a tool's environment."""
    command = [python_of(tool), str(SCRIPTS / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def run_chain(folder: Path, *targets: str, **sections: object) -> str:
    """Run the workflow in `folder` to `targets` with an overlay; return what it printed."""
    overlay = folder / "overlay.yaml"
    sections["environments"] = str(ENVIRONMENTS)
    overlay.write_text(yaml.safe_dump(sections, allow_unicode=True), encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--directory", str(folder), "--cores", "all", "--resources", "mem_mb=6000"]
    command += ["--show-failed-logs", "--configfile", str(overlay), "--", *targets]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    text = done.stdout + done.stderr
    if done.returncode != 0:
        raise AssertionError(text[-8000:])
    return text


def read_json(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))
