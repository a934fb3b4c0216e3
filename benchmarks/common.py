"""What all benchmarks share: the record of where a figure was measured, and where things are."""

import importlib.metadata
import json
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "workflow" / "scripts"
sys.path.insert(0, str(SCRIPTS))

# The package of ours, importable from here on.
from butler.errors import ButlerError  # noqa: E402
from butler.files import atomic_write_json, atomic_write_text  # noqa: E402

TOOLS = ("torch", "triton", "transformers", "lmdeploy", "xtuner", "bitsandbytes", "peft")


def python_of(tool: str, environments: Path) -> str:
    """Return the interpreter of one of the tools' environments.

    Raises:
        ButlerError: if the environment is not built.
    """
    path = environments / tool / "bin" / "python"
    if not path.is_file():
        raise ButlerError(f"{path} is missing; run `snakemake environments` first")
    return str(path)


def gpu_facts() -> list[dict[str, str]]:
    """Return name, driver and memory of each GPU, or an empty list where there is none."""
    fields = ("name", "driver_version", "memory.total")
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        return []
    values = [line.split(", ") for line in done.stdout.splitlines() if line.strip()]
    return [dict(zip(fields, row, strict=True)) for row in values]


def versions(packages: Sequence[str] = TOOLS) -> dict[str, str]:
    """Return the versions of those `packages` that this interpreter has."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def record(**figures: Any) -> dict[str, Any]:
    """Return a benchmark's JSON: where, with what, by which command and when; then the figures."""
    command = [Path(sys.argv[0]).name, *sys.argv[1:]]
    return {
        "command": " ".join(command),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "gpus": gpu_facts(),
        "versions": versions(),
        **figures,
    }


def publish(report: dict[str, Any], out: Path | None, table: str = "") -> None:
    """Print the report as one compact line, and write it, and `table` as Markdown beside it."""
    if out is not None:
        atomic_write_json(out, report)
        if table:
            atomic_write_text(out.with_suffix(".md"), table)
    if table:
        print(table)
    print(json.dumps(report, ensure_ascii=False, separators=(",", ":")))


def markdown(header: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table; the first column is text, the others are figures."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    rows = [header, rule, *[[str(cell) for cell in line] for line in lines]]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
