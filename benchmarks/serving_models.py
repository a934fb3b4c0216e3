"""What the serving benchmark measures: random models, made to what a release serves."""

import json
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Maker:
    """Makes what is missing of variants below `work`, each of `session_len` tokens a session.

    `shape` is given to random_model.py as it stands. A variant of another shape, session or release
    is made anew. `keep_models` leaves the Hugging Face folders of converted models there.
    """

    work: Path
    shape: Sequence[str]
    environments: Path
    session_len: int
    release: Release
    keep_models: bool = False

    def make(self, variants: Sequence[str]) -> dict[str, float]:
        """Make the variants, those of two schemes of weights at a time; return seconds by step."""
        kinds: dict[str, list[str]] = {}
        for name in variants:
            kinds.setdefault(VARIANTS[name].weights.name, []).append(name)
        missing = {kind: names for kind, names in kinds.items() if not all(map(self._made, names))}
        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(self._make, missing, missing.values()))
        return {step: seconds for times in found for step, seconds in times.items()}

    def _wanted(self) -> dict[str, object]:
        """Return what a made variant is to be of."""
        of = {"shape": list(self.shape), "session_len": self.session_len}
        return of | {"lmdeploy": self.release.name}

    def _mark(self, name: str) -> Path:
        return self.work / "workspaces" / f"{name}.json"

    def _made(self, name: str) -> bool:
        mark = self._mark(name)
        return mark.is_file() and json.loads(mark.read_text()) == self._wanted()

    def _make(self, kind: str, names: Sequence[str]) -> dict[str, float]:
        """Make a model of random weights, its folder as the release takes it, and its variants."""
        times: dict[str, float] = {}

        def step(name: str, command: Sequence[object]) -> None:
            start = time.perf_counter()
            run(command, self.work, name)
            times[name] = round(time.perf_counter() - start, 1)

        weights = WEIGHTS[kind]
        # A folder for each kind: two are made at a time, and each removes its own.
        model, source = self.work / "models" / kind, self.work / "converted" / kind
        plain = self.work / "models" / f"plain_{kind}" if weights.bits == 8 else model
        make = [python_of("xtuner", self.environments), ROOT / "benchmarks" / "random_model.py"]
        make += ["--out", plain, *self.shape, *(["--awq"] if weights.grouped else [])]
        step(f"random_{kind}", make)
        if plain != model:
            quantise = _to_eight_bits(weights, self.work, self.environments)
            step(f"quantise_{kind}", [*quantise, "--model", plain, "--out", model])
            _remove(plain)
        if self.release.workspaces:
            convert = [sys.executable, SCRIPTS / "workspace.py", "--model", model, "--out", source]
            group = ["--group-size", AwqSettings().group_size] if weights.grouped else []
            # Random 4-bit weights are written as AWQ's; a workspace of GPTQ's holds them alike.
            form = WEIGHTS["w4"].format if weights.grouped else weights.format
            step(f"convert_{kind}", [*convert, "--format", form, *group])
            if not self.keep_models:
                _remove(model)
        else:
            source = model
        for name in names:
            step(f"variant_{name}", self._variant(name, source))
            self._mark(name).write_text(json.dumps(self._wanted()))
        return times

    def _variant(self, name: str, source: Path) -> list[object]:
        """Return the command that makes a variant of a workspace or a model folder."""
        kv, release = VARIANTS[name].kv, self.release
        share = (KVCacheSettings() if kv.quantised else WorkspaceSettings()).cache_max_entry_count
        command: list[object] = [sys.executable, SCRIPTS / "variant.py"]
        command += ["--workspace" if release.workspaces else "--model", source]
        command += ["--lmdeploy", release.name, "--backend", VARIANTS[name].backend]
        command += ["--kv", kv.name, "--cache-max-entry-count", share]
        command += ["--session-len", self.session_len, "--out", self.work / "workspaces" / name]
        return command


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
