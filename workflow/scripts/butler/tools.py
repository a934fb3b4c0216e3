"""Running another tool as a process that never outlives us."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from butler.errors import ButlerError
from butler.process import dies_with_us, stop

SUPPORTED_PYTHON = ((3, 11), (3, 12))
SCRIPTS = Path(__file__).resolve().parents[1]
# Keeps every tool from asking a hub for a model, a data set or a metric.
OFFLINE = dict.fromkeys(
    ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE", "TRANSFORMERS_OFFLINE"), "1"
)


def find_python() -> str:
    """Return an interpreter that the tools' locks are made for: this one, or the newest on PATH.

    The workflow itself runs with newer ones too.

    Raises:
        ButlerError: if there is none.
    """
    if sys.version_info[:2] in SUPPORTED_PYTHON:
        return sys.executable
    for version in sorted(SUPPORTED_PYTHON, reverse=True):
        found = shutil.which("python{}.{}".format(*version))
        if found and _makes_environments(found, version):
            return found
    raise ButlerError(
        f"the tools' locked packages are for Python 3.11 and 3.12, this is {sys.version_info[0]}."
        f"{sys.version_info[1]} and there is no python3.12 on PATH that can make environments; "
        "install one (your system's package with its -venv, or: pip install uv && "
        "uv python install 3.12) and give the same command again"
    )


def _makes_environments(python: str, version: tuple[int, int]) -> bool:
    """Say whether an interpreter starts, is what its name says and has venv and pip's wheel."""
    code = f"import ensurepip, sys, venv; sys.exit(sys.version_info[:2] != {version})"
    return subprocess.run([python, "-c", code], capture_output=True).returncode == 0


def put_python_first() -> None:
    """Let `python` be this interpreter, also where its environment is not activated."""
    folder = str(Path(sys.executable).parent)
    os.environ["PATH"] = os.pathsep.join([folder, os.environ.get("PATH", os.defpath)])


def tool_environment(cache: Path, threads: int, **extra: str) -> dict[str, str]:
    """Return an environment for a tool: offline, our package importable, caches below `cache`.

    `cache` belongs to one job alone: models' own code is copied there, and two tools with different
    releases of transformers must not share it.
    """
    environment = dict(os.environ)
    environment.update(
        **OFFLINE,
        HF_HOME=str(cache.resolve()),
        TOKENIZERS_PARALLELISM="false",
        OMP_NUM_THREADS=str(threads),
        # Idle threads that spin starve the other jobs where there are more jobs than cores.
        OMP_WAIT_POLICY="PASSIVE",
        PYTHONPATH=str(SCRIPTS),
        PYTHONUNBUFFERED="1",
        PYTHONHASHSEED="0",  # peft writes a set down: the same files from the same run
        **extra,
    )
    environment.pop("HF_MODULES_CACHE", None)
    environment.pop("HF_DATASETS_CACHE", None)
    return environment


def _exit(signum: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + signum)


def run_tool(
    command: Sequence[str], environment: Mapping[str, str], cwd: Path | None = None
) -> None:
    """Run `command` in a process group of its own and wait; end the group if we are ended.

    Raises:
        ButlerError: if it exits with another code than 0.
    """
    previous = signal.signal(signal.SIGTERM, _exit)
    process = subprocess.Popen(
        list(command),
        env=environment,
        cwd=cwd,
        start_new_session=True,
        preexec_fn=dies_with_us(),
    )
    try:
        code = process.wait()
    finally:
        stop(process, group=True)
        signal.signal(signal.SIGTERM, previous)
    if code != 0:
        raise ButlerError(f"{Path(command[0]).name} {' '.join(command[1:4])} … exited with {code}")
