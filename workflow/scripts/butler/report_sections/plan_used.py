"""What the plan gave each stage, and what its jobs used."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from butler.errors import ButlerError
from butler.plan.host_memory import asked_mb
from butler.plan.measured import MB
from butler.report_sections.job_costs import JobCost
from butler.results import read_table
from butler.schemes import VARIANTS

COLUMNS = ("stage", "jobs", "host", "seconds")  # that write_plan.py writes and are compared
BY_VARIANT = "check_kv_cache"  # its jobs are called check_VARIANT
UNPLANNED = "base-hf"  # how names of jobs end that are asked for by name alone


@dataclass(frozen=True)
class StageUse:
    """A stage by the plan and as it ran: bytes at the peak of a job, seconds of all its jobs.

    `jobs` ran, and the plan's seconds are for so many. The used bytes are None where all of them
    were too short to be told.
    """

    stage: str
    jobs: int
    planned_bytes: float
    used_bytes: float | None
    planned_seconds: float
    used_seconds: float

    @property
    def over(self) -> bool:
        """Whether a job took more memory than it asked for by the plan."""
        asked = MB * asked_mb(self.planned_bytes)
        return self.used_bytes is not None and self.used_bytes > asked


def stage_uses(plan: Path, jobs: Sequence[JobCost]) -> list[StageUse]:
    """Return the planned stages of which a job ran, in the plan's order.

    Raises:
        ButlerError: if the plan is missing or is none.
    """
    table = read_table(plan, COLUMNS)
    try:
        table = table.astype({"jobs": int, "host": float, "seconds": float})
    except ValueError as error:
        raise ButlerError(f"{plan} has a figure that is no number: {error}") from error
    own: dict[str, list[JobCost]] = {}
    for job in jobs:
        own.setdefault(stage_of(job.job, table["stage"].tolist()), []).append(job)
    rows = zip(*(table[name].tolist() for name in COLUMNS), strict=True)
    return [_use(*row, own[row[0]]) for row in rows if row[0] in own]


def stage_of(job: str, stages: Sequence[str]) -> str:
    """Return the stage of a job by its log's name, which is the stage's or begins with it."""
    if job.endswith(f"_{UNPLANNED}"):
        return ""
    variant = VARIANTS.get(job.removeprefix("check_"))
    if job.startswith("check_") and variant and variant.kv.quantised:
        return BY_VARIANT
    found = [one for one in stages if job == one or job.startswith(f"{one}_")]
    return max(found, key=len, default="")


def _use(stage: str, planned: int, host: float, seconds: float, jobs: list[JobCost]) -> StageUse:
    told = [job.peak_bytes for job in jobs if job.peak_bytes is not None]
    return StageUse(
        stage=stage,
        jobs=len(jobs),
        planned_bytes=host,
        used_bytes=max(told, default=None),
        planned_seconds=seconds / planned * len(jobs),
        used_seconds=sum(job.seconds for job in jobs),
    )
