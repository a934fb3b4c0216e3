"""What the serving benchmark measures: random models, made to what a release serves."""

import json
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common import ROOT, SCRIPTS, ButlerError, python_of
from random_bases import DEFAULT, chat_template

from butler.lmdeploy.release import CONVERTER, Release
from butler.schemes import VARIANTS, WEIGHTS, WeightScheme
from butler.settings.serving_stage import (
    AwqSettings,
    CalibrationSettings,
    KVCacheSettings,
    WorkspaceSettings,
)
from butler.tools import tool_environment

WORDS = ("白菜", "豆腐", "猪肉", "鸡蛋", "土豆", "姜", "葱", "洗净", "切块", "翻炒", "出锅", "加水")
CALIBRATION = CalibrationSettings(samples=8, length=512)  # of weights that are random anyhow


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


def write_text(path: Path, chats: int, words: int) -> None:
    """Write made-up recipes in the corpus's form."""
    generator = random.Random(0)
    with path.open("w", encoding="utf-8") as stream:
        for number in range(chats):
            answer = "".join(generator.choices(WORDS, k=words))
            turn = {"system": "你是厨师", "input": f"第{number}道菜的做法", "output": answer}
            stream.write(json.dumps({"conversation": [turn]}, ensure_ascii=False) + "\n")


def make_all(
    work: Path,
    variants: Sequence[str],
    shape: Sequence[str],
    environments: Path,
    session_len: int,
    keep_models: bool,
    release: Release,
) -> dict[str, float]:
    """Make what is missing of the variants below `work`; return seconds by step.

    `shape` is given to random_model.py as it stands. A variant of another shape or release is made
    anew.
    """
    wanted = {"shape": list(shape), "session_len": session_len, "lmdeploy": release.name}
    kinds = sorted({VARIANTS[name].weights.name for name in variants})

    def chain(kind: str) -> dict[str, float]:
        names = [name for name in variants if VARIANTS[name].weights.name == kind]
        marks = [work / "workspaces" / f"{name}.json" for name in names]
        if all(m.is_file() and json.loads(m.read_text()) == wanted for m in marks):
            return {}
        return _chain(
            work, kind, names, shape, environments, session_len, keep_models, release, wanted
        )

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(chain, kinds))
    return {step: seconds for times in found for step, seconds in times.items()}


def _chain(
    work: Path,
    kind: str,
    names: Sequence[str],
    shape: Sequence[str],
    environments: Path,
    session_len: int,
    keep_models: bool,
    release: Release,
    wanted: dict[str, object],
) -> dict[str, float]:
    times: dict[str, float] = {}

    def step(name: str, command: Sequence[object]) -> None:
        start = time.perf_counter()
        run(command, work, name)
        times[name] = round(time.perf_counter() - start, 1)

    weights = WEIGHTS[kind]
    # Random 4-bit weights are written as AWQ's; a workspace of GPTQ's holds them alike.
    form = WEIGHTS["w4"].format if weights.grouped else weights.format
    # A folder for each kind: two are made at a time, and each removes its own.
    model, source = work / "models" / kind, work / "converted" / kind
    made = work / "models" / f"plain_{kind}" if weights.bits == 8 else model
    awq = ["--awq"] if weights.grouped else []
    make = [
        python_of("xtuner", environments),
        ROOT / "benchmarks" / "random_model.py",
        "--out",
        made,
        *awq,
        *shape,
    ]
    step(f"random_{kind}", make)
    if made != model:
        quantise = _to_eight_bits(weights, work, environments)
        step(f"quantise_{kind}", [*quantise, "--model", made, "--out", model])
        _remove(made)
    if release.workspaces:
        convert = [sys.executable, SCRIPTS / "workspace.py", "--model", model, "--out", source]
        group = ["--group-size", AwqSettings().group_size] if weights.grouped else []
        step(f"convert_{kind}", [*convert, "--format", form, *group])
        if not keep_models:
            _remove(model)
    else:
        source = model
    for name in names:
        kv = VARIANTS[name].kv
        share = (KVCacheSettings() if kv.quantised else WorkspaceSettings()).cache_max_entry_count
        kind_of_source = "--workspace" if release.workspaces else "--model"
        variant = [sys.executable, SCRIPTS / "variant.py", kind_of_source, source]
        variant += ["--lmdeploy", release.name, "--backend", VARIANTS[name].backend]
        variant += ["--kv", kv.name, "--cache-max-entry-count", share]
        variant += ["--session-len", session_len, "--out", work / "workspaces" / name]
        step(f"variant_{name}", variant)
        (work / "workspaces" / f"{name}.json").write_text(json.dumps(wanted))
    return times


def _to_eight_bits(weights: WeightScheme, work: Path, environments: Path) -> list[object]:
    """Return the command that quantises to such weights, but for the folders."""
    device = ["--device", "auto"]
    lite = python_of(CONVERTER.tool, environments)  # whichever release serves
    if not weights.by_row:
        return [lite, SCRIPTS / "quantise_fp8.py", *device]
    text = work / f"text_{weights.name}.jsonl"
    # A byte is a token here: three to a character.
    write_text(text, chats=2 + 2 * CALIBRATION.samples, words=CALIBRATION.length // 6)
    command = [lite, SCRIPTS / "quantise_w8a8.py", "--text", text, "--dtype", weights.codes]
    command += ["--chat-template", chat_template(DEFAULT).name, *device]
    return [*command, "--calibration", CALIBRATION.to_argument()]


def _remove(model: Path) -> None:
    """Free the memory or disk that a converted model takes."""
    for path in model.iterdir():
        path.unlink()
    model.rmdir()
