"""Where a TurboMind workspace of LMDeploy 0.7.3 keeps its weights, and how large they are."""

from pathlib import Path

WEIGHTS = Path("triton_models") / "weights"
CONFIG = WEIGHTS / "config.yaml"


def weight_bytes(workspace: Path) -> int:
    """Return the size of all weight files together, in bytes; KV parameters are no weights."""
    return sum(
        path.stat().st_size
        for path in (workspace / WEIGHTS).iterdir()
        if path.is_file() and path.name != CONFIG.name and "past_kv_scale" not in path.name
    )


def how_to_make(folder: Path) -> str:
    """Return what to do where a folder to serve is not there, for an error message.

    Snakemake knows it by its path in the run, wherever it was looked for from.
    """
    name = folder.name if folder.parent.name == "workspaces" else "VARIANT"
    return f"make it with: snakemake workspaces/{name} (and your run's own options)"
