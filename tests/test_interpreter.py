"""A script run with a Python that lacks its packages says which one has them."""

import subprocess
import sys

import pytest

from butler import interpreter

SCRIPTS = sorted(path.name for path in interpreter.SCRIPTS.glob("*.py"))
OWN = "install what Snakemake needs there: pip install -r requirements.txt"


def bare(script: str) -> subprocess.CompletedProcess[str]:
    """Run a script with no package but Python's own: -S looks for none."""
    command = [sys.executable, "-S", str(interpreter.SCRIPTS / script), "--help"]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("script", SCRIPTS)
def test_no_script_ends_in_a_traceback_where_packages_are_missing(script):
    done = bare(script)
    if done.returncode == 0:
        return  # its help needs none
    tool = interpreter.tool_of(script)
    told = f"run this with .envs/{tool}/bin/python (made by: snakemake" if tool else OWN
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: the package ") and told in done.stderr


@pytest.mark.parametrize(
    ("script", "tool"),
    [
        ("train.py", "xtuner"),
        ("check_kv_cache.py", "lmdeploy"),
        ("measure_efficiency.py", "lmdeploy"),
        ("chat.py", "lmdeploy"),
        ("corpus.py", None),
        ("evaluate_model.py", None),
    ],
)
def test_the_tool_is_that_of_the_rule(script, tool):
    assert interpreter.tool_of(script) == tool


def test_an_environment_of_older_locks_is_to_be_built_anew(monkeypatch):
    monkeypatch.setattr(sys, "prefix", "/run/.envs/xtuner")
    told = interpreter.lacking("prompt_toolkit", "lmdeploy")
    assert "build it anew: snakemake environments" in told
