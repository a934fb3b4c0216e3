"""What the serving benchmark measures: random models, converted to the four workspaces."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common import ROOT, SCRIPTS, ButlerError

from butler.tools import tool_environment
from butler.variants import VARIANTS

FORMATS = {"fp16": "hf", "w4": "awq"}  # by kind of weights, in the converter's words
MARK = "made.json"


def run(command: Sequence[object], work: Path, name: str) -> None:
    """Run one step, its output in a log beside the models.

    Raises:
        ButlerError: if it fails, with the last line it wrote.
    """
    work.mkdir(parents=True, exist_ok=True)
    log = work / f"{name}.log"
    with log.open("w", encoding="utf-8") as stream:
        done = subprocess.run(
            [str(part) for part in command],
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=tool_environment(work / f"cache-{name}", threads=8),
        )
    if done.returncode:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise ButlerError(f"{name} failed: {lines[-1] if lines else 'it wrote nothing'} ({log})")


def make_all(
    work: Path,
    variants: Sequence[str],
    shape: Sequence[str],
    xtuner: str,
    session_len: int,
    keep_models: bool,
) -> dict[str, float]:
    """Make what is missing of the variants' workspaces below `work`; return seconds by step.

    `shape` is given to random_model.py as it stands. A workspace of another shape is made anew.
    """
    wanted = {"shape": list(shape), "session_len": session_len}
    kinds = sorted({VARIANTS[name].weights for name in variants})
    layers = int(shape[shape.index("--layers") + 1]) if "--layers" in shape else 32
    write_kv_parameters(work / "kv8", layers)

    def chain(kind: str) -> dict[str, float]:
        names = [name for name in variants if VARIANTS[name].weights == kind]
        marks = [work / "workspaces" / f"{name}.json" for name in names]
        if all(m.is_file() and json.loads(m.read_text()) == wanted for m in marks):
            return {}
        return _chain(work, kind, names, shape, xtuner, session_len, keep_models, wanted)

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(chain, kinds))
    return {step: seconds for times in found for step, seconds in times.items()}


def _chain(
    work: Path,
    kind: str,
    names: Sequence[str],
    shape: Sequence[str],
    xtuner: str,
    session_len: int,
    keep_models: bool,
    wanted: dict[str, object],
) -> dict[str, float]:
    times: dict[str, float] = {}

    def step(name: str, command: Sequence[object]) -> None:
        start = time.perf_counter()
        run(command, work, name)
        times[name] = round(time.perf_counter() - start, 1)

    model, workspace = work / "models" / FORMATS[kind], work / "converted" / kind
    awq = ["--awq"] if kind == "w4" else []
    make = [xtuner, ROOT / "benchmarks" / "random_model.py", "--out", model, *awq, *shape]
    step(f"random_{kind}", make)
    convert = [sys.executable, SCRIPTS / "workspace.py", "--model", model, "--out", workspace]
    group = ["--group-size", 128] if kind == "w4" else []
    step(f"convert_{kind}", [*convert, "--format", FORMATS[kind], *group])
    if not keep_models:
        _remove(model)
    for name in names:
        policy, extra = 0, []
        if VARIANTS[name].kv8:
            policy, extra = 8, ["--kv-parameters", work / "kv8"]
        variant = [sys.executable, SCRIPTS / "variant.py", "--workspace", workspace, *extra]
        variant += ["--quant-policy", policy, "--cache-max-entry-count", 0.5]
        variant += ["--session-len", session_len, "--out", work / "workspaces" / name]
        step(f"variant_{name}", variant)
        (work / "workspaces" / f"{name}.json").write_text(json.dumps(wanted))
    return times


def _remove(model: Path) -> None:
    """Free the memory or disk that a converted model takes."""
    for path in model.iterdir():
        path.unlink()
    model.rmdir()


def write_kv_parameters(folder: Path, layers: int) -> None:
    """Write the static parameters that variant.py asks for; no engine since 0.4 reads them."""
    import numpy as np

    folder.mkdir(parents=True, exist_ok=True)
    for index in range(layers):
        np.array([1, 0, 1, 0], dtype="<f4").tofile(
            folder / f"layers.{index}.past_kv_scale.0.weight"
        )
