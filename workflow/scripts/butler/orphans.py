"""Jobs that go on after their Snakemake was killed: SIGKILL leaves it no time to end them.

Two jobs of one stage would write the same files, a training its checkpoints above all. So a job's
environment names its folder, and a run looks for such processes before it starts a job.
"""

from pathlib import Path

from butler.errors import ButlerError

RUN_FOLDER = "RECIPE_BUTLER_JOB_IN"  # set for all that a job starts
PROCESSES = Path("/proc")  # where there is none, none is found


def jobs_in(folder: Path) -> dict[int, str]:
    """Return the jobs that run in a folder on this machine: a script's name by the process's id.

    Of a job and what it has started, the job alone.
    """
    mark = f"{RUN_FOLDER}={folder.resolve()}".encode()
    found: dict[int, tuple[int, str]] = {}
    for path in PROCESSES.glob("[0-9]*"):
        try:
            if mark not in (path / "environ").read_bytes().split(b"\0"):
                continue
            words = (path / "cmdline").read_bytes().decode(errors="replace").split("\0")
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has ended, or is another user's
        scripts = [Path(word).name for word in words if word.endswith(".py")]
        found[int(path.name)] = parent, (scripts or [Path(words[0]).name])[0]
    return {pid: name for pid, (parent, name) in sorted(found.items()) if parent not in found}


def check_no_orphans(folder: Path) -> None:
    """Check that no job of an earlier run goes on; to be called when no job of this one has begun.

    Raises:
        ButlerError: that names those there are.
    """
    if jobs := jobs_in(folder):
        named = ", ".join(f"{name} (process {pid})" for pid, name in jobs.items())
        raise ButlerError(
            f"of an earlier run in this folder, whose Snakemake was killed, {named} still runs and "
            "would write the same files; wait for its end or end it with "
            f"`kill {' '.join(map(str, jobs))}`, then give the same command again"
        )
