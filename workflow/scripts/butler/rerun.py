"""The command that makes artefacts of a run again, by the configuration that the run kept."""

from collections.abc import Iterable
from pathlib import Path
from shlex import join

from butler.scenario_folders import KEPT_COMMON, KEPT_SCENARIOS, STAGE_FOLDER, made
from butler.settings.overlays import KEY as OVERLAYS

REPOSITORY = Path(__file__).resolve().parents[3]
KEPT_CONFIG = "results/config.yaml"  # of the rule run_config: the whole configuration


def rerun_command(artefacts: Iterable[str], run: Path = Path()) -> str:
    """Return a command line that makes artefacts anew, and what is made of them.

    It works from every folder, and gives the configuration whole, so that it does not matter by
    which overlays and profiles the run got it.

    Args:
        artefacts: their paths from the run's folder.
        run: the run's folder.
    """
    run = run.resolve()
    names = [made(path, run) for path in artefacts]
    words = ["snakemake", "--snakefile", str(REPOSITORY / "Snakefile"), "--directory", str(run)]
    words += ["--cores", "all", "--config"]
    if any(name.startswith(STAGE_FOLDER) for name in names):
        words += [f"{OVERLAYS}={KEPT_COMMON}", f"scenarios={KEPT_SCENARIOS}"]
        return join([*words, "--forcerun", *names, "--", "scenarios"])
    return join([*words, f"{OVERLAYS}={KEPT_CONFIG}", "--forcerun", *names, "--", "all"])
