"""Where the scenarios of a run lie, from the run's folder."""

from pathlib import Path

FOLDER = "runs"  # of all scenarios; each has a folder by its name in it
STAGES = "stages"  # in it: what the stages of all scenarios made
STAGE_FOLDER = f"{FOLDER}/{STAGES}/"
# The configuration of the run: what its scenarios have in common, and each whole.
KEPT_COMMON, KEPT_SCENARIOS = f"{FOLDER}/common.yaml", f"{FOLDER}/scenarios.yaml"


def made(path: str, run: Path) -> str:
    """Return an artefact of a run as its rule names it: what a scenario's link shows is a stage's.

    Args:
        path: from the run's folder.
        run: that folder.
    """
    run = run.resolve()
    real = (run / path).resolve()
    inside = real.relative_to(run).as_posix() if real.is_relative_to(run) else path
    return inside if inside.startswith(STAGE_FOLDER) else path


def run_of(artefact: Path) -> Path:
    """Return the folder of the run that made an artefact, which lies in a results/ or the like.

    What a stage of a scenario made is of the run that has the scenarios.
    """
    folder = artefact.resolve().parent.parent
    of_stage = folder.parent.as_posix().endswith(f"/{FOLDER}/{STAGES}")
    return folder.parents[2] if of_stage else folder
