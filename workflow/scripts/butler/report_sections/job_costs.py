"""What each job took, from Snakemake's benchmark files."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from butler.errors import ButlerError
from butler.results import read_table

MIB = 2**20


@dataclass(frozen=True)
class JobCost:
    """Wall time in s and peak memory in bytes of a job, None where it was too short to be told.

    `ended` is when its benchmark file was written, in seconds since 1970.
    """

    job: str
    seconds: float
    peak_bytes: float | None
    ended: float


def job_costs(logs: Path) -> list[JobCost]:
    """Return what each job took, from Snakemake's benchmarks, the longest first.

    Memory is the sum over the job's processes. The report's own, of an earlier run, is left out.

    Raises:
        ButlerError: if a benchmark file is not one.
    """
    found = []
    for path in sorted(logs.glob("*.tsv")):
        # A scenario's folder has links to those of jobs still to come, too.
        if path.stem == "report" or not path.exists():
            continue
        try:
            table = read_table(path, ("s", "max_rss"), sep="\t", na_values=["-"]).astype(
                {"s": float, "max_rss": float}
            )
        except (ButlerError, ValueError) as error:
            raise ButlerError(
                f"{path} is not a benchmark file of Snakemake ({error}); delete it"
            ) from error
        seconds, peak = table["s"].mean(), table["max_rss"].max()
        memory = None if pd.isna(peak) or peak == 0 else peak * MIB
        found.append(JobCost(path.stem, seconds, memory, path.stat().st_mtime))
    return sorted(found, key=lambda job: -job.seconds)
