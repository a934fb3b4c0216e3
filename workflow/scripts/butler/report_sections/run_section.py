"""What the run was: versions, time and memory of each stage, hashes, and how to repeat it."""

import importlib.metadata
import platform
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from butler.errors import ButlerError
from butler.plan.measured import LEAST_ASKED, MARGIN, MB
from butler.report_sections.job_costs import JobCost, job_costs
from butler.report_sections.plan_used import StageUse, stage_uses
from butler.results import CheckOutcome, read_check, read_text
from butler.yaml_files import read_yaml

_TOOLS = ("xtuner", "lmdeploy", "opencompass", "torch", "transformers", "bitsandbytes")
_MAIN_PACKAGES = ("snakemake", "pandas", "scipy", "vl-convert-python", "jinja2")
ROOT = Path(__file__).resolve().parents[4]


@dataclass(frozen=True)
class EnvironmentVersions:
    """An environment, and the versions in it that matter, as one text."""

    environment: str
    versions: str


@dataclass(frozen=True)
class ListedHash:
    """A file of the run and its SHA-256."""

    sha256: str
    path: str


@dataclass(frozen=True)
class RunSection:
    """What the run was; the longest job first, `commit` None outside git.

    `stages` holds the plan against what was used, in the plan's order.
    """

    checks: Sequence[CheckOutcome]
    jobs: Sequence[JobCost]
    stages: Sequence[StageUse]
    versions: Sequence[EnvironmentVersions]
    commit: str | None
    config: str
    hashes: Sequence[ListedHash]
    margin: float = MARGIN
    least_mb: float = LEAST_ASKED / MB

    @property
    def seconds(self) -> float:
        """Wall times of all jobs added up."""
        return sum(one.seconds for one in self.jobs)

    @property
    def clock_told(self) -> bool:
        """Whether the logs' times tell when each job ended: a copy may have lost them."""
        ends = [one.ended for one in self.jobs]
        return self.seconds < 1 or max(ends) - min(ends) >= 1

    @property
    def clock_seconds(self) -> float:
        """The time in which at least one job ran."""
        total, until = 0.0, float("-inf")
        for one in sorted(self.jobs, key=lambda job: job.ended - job.seconds):
            began = max(one.ended - one.seconds, until)
            total += max(0.0, one.ended - began)
            until = max(until, one.ended)
        return total

    @property
    def largest(self) -> JobCost | None:
        """The job with the most memory, None where none could be told."""
        told = [one for one in self.jobs if one.peak_bytes is not None]
        return max(told, key=lambda one: one.peak_bytes or 0, default=None)


def run_section(
    checks: Sequence[Path],
    logs: Path,
    locks: Sequence[Path],
    config: Path,
    hashes: Path,
    plan: Path,
) -> RunSection:
    """Return the section.

    Args:
        checks: the checks' outcomes, as butler/checks.py writes them.
        logs: folder of Snakemake's benchmark files.
        locks: lock files of the tools.
        config: YAML of the run's configuration.
        hashes: SHA-256 of the artefacts, as sha256sum writes them.
        plan: what write_plan.py wrote.

    Raises:
        ButlerError: if one of them is broken.
    """
    jobs = job_costs(logs)
    return RunSection(
        checks=[read_check(path) for path in sorted(checks)],
        jobs=jobs,
        stages=stage_uses(plan, jobs),
        versions=versions(locks),
        commit=commit(),
        config=_block_yaml(config),
        hashes=read_hashes(hashes),
    )


def _block_yaml(path: Path) -> str:
    """Return the configuration as block YAML, keys in the order given."""
    return yaml.safe_dump(read_yaml(path), allow_unicode=True, sort_keys=False, width=100)


def versions(locks: Sequence[Path]) -> list[EnvironmentVersions]:
    """Return what the tools' lock files pin, and the versions of this environment."""
    pins: dict[str, dict[str, str]] = {}
    for lock in locks:
        pinned = re.findall(r"^([\w.-]+)==([^\s;#\\]+)", lock.read_text("utf-8"), re.MULTILINE)
        pins.setdefault(environment_of(lock), {}).update(pinned)
    found = []
    for environment, versions_ in pins.items():
        listed = [f"{name} {versions_[name]}" for name in _TOOLS if name in versions_]
        found.append(EnvironmentVersions(environment, ", ".join(listed)))
    main = [f"Python {platform.python_version()}"]
    main += [f"{name} {importlib.metadata.version(name)}" for name in _MAIN_PACKAGES if _has(name)]
    return [*found, EnvironmentVersions("workflow", ", ".join(main))]


def environment_of(lock: Path) -> str:
    """Return the tool that a lock belongs to: TOOL.lock, TOOL.torch.lock or .cuda.lock."""
    return lock.name.split(".")[0]


def _has(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def read_hashes(path: Path) -> list[ListedHash]:
    """Return the artefacts and their SHA-256 from a file as `sha256sum` writes it.

    Raises:
        ButlerError: if the file is missing, not UTF-8, or a line is not of that form.
    """
    found = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        match = re.fullmatch(r"([0-9a-f]{64})  (.+)", line)
        if match is None:
            raise ButlerError(f"{path}, line {number} is not a hash and a path; make it again")
        found.append(ListedHash(match[1], match[2]))
    return found


def commit(repository: Path = ROOT) -> str | None:
    """Return the commit of the workflow, with `-dirty` if files differ; None outside git."""
    command = [
        "git",
        "-C",
        str(repository),
        "describe",
        "--always",
        "--abbrev=40",
        "--dirty",
        "--exclude=*",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
