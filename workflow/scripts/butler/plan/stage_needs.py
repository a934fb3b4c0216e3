"""The stages of a whole run with the memory and disk that each needs and its rough time.

A time is bytes and FLOPs over the rates of measured.py, and the start of the tool.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path

from butler.benchmarks.base import CONCURRENCY, BenchmarkSettings
from butler.benchmarks.registry import KINDS
from butler.corpus import unpack
from butler.corpus.inputs import input_files
from butler.efficiency.figures import requests_of
from butler.errors import ButlerError
from butler.lmdeploy.release import RELEASES
from butler.plan.gpu_memory import gpu_bytes
from butler.plan.host_memory import Task, host_bytes
from butler.plan.machine import Machine
from butler.plan.measured import (
    CORPUS_RATE,
    DOWNLOAD,
    ENVIRONMENT_DISK,
    HELD_OUT_TOKENS,
    OF_A_PART,
    PROMPT,
    QUESTIONS,
    RATES,
    SAMPLE_SECONDS,
    SHOTS_PROMPT,
    TOKEN_BYTES,
    Rates,
)
from butler.plan.model_size import FP16, FP32
from butler.schemes import WEIGHTS
from butler.settings.corpus_stage import CorpusSettings
from butler.settings.run import Settings

CHECKPOINT = 3 * FP32  # of a weight of the adapter: itself and Adam's two moments
CHECKPOINTS = 2  # kept while training, max_keep_ckpts of the template
PACKED = 5  # bytes of text for one of .gz or .zst
CHARACTER = 3  # bytes of a Chinese one
ANSWER = 300  # tokens of a held-out conversation; assumed


@dataclass(frozen=True)
class TextSizes:
    """Bytes of raw records and of conversations, training samples, questions by benchmark."""

    raw: int
    conversations: int
    samples: int
    questions: dict[str, int]


@dataclass(frozen=True)
class StageNeed:
    """Bytes of host and GPU memory of a stage's job; bytes left and seconds of all its jobs."""

    stage: str
    jobs: int
    host: float
    gpu: float
    disk: float
    seconds: float


def raw_bytes(corpus: CorpusSettings, repository: Path) -> int:
    """Return the bytes of the raw records, unpacked by the usual ratio.

    Raises:
        ButlerError: if there is nothing to read.
    """
    files = input_files(repository / corpus.path, corpus.format)
    packed = unpack.PACKED
    return sum(one.stat().st_size * (PACKED if one.suffix in packed else 1) for one in files)


def read_texts(task: Task, repository: Path, build: Path = Path("build")) -> TextSizes:
    """Return the sizes of the texts: as made, where they are there, or what the settings allow.

    Raises:
        ButlerError: if there is no corpus to read.
    """
    settings = task.settings
    one, made = settings.corpus, build / "corpus" / "train.jsonl"
    raw = raw_bytes(one, repository)
    # Half of the longest answer, and the question and the system prompt with it.
    usual = CHARACTER * (one.max_chars // 2 + len(one.system) + 20)
    if made.is_file():
        conversations, samples = made.stat().st_size, _lines(made)
    else:
        conversations = min(raw, one.sample * usual) if one.sample else raw
        samples = math.ceil(conversations / usual)
    asked = {b.name: _asked(b, task, build) for b in settings.benchmarks}
    return TextSizes(raw, conversations, samples, asked)


def _lines(path: Path) -> int:
    with path.open("rb") as stream:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: stream.read(2**20), b""))


def known_questions(benchmark: BenchmarkSettings, settings: Settings, build: Path) -> int | None:
    """Return how many questions a benchmark asks at most, None as long as nobody knows."""
    sheet = sheet_path(benchmark, build)
    if sheet.is_file():
        return _lines(sheet)
    held_out = KINDS[benchmark.kind].asks_held_out(benchmark)
    there = settings.corpus.test_size if held_out else None
    known = [one for one in (there, getattr(benchmark, "questions", None)) if one]
    return min(*known, settings.decision.most_questions or known[0]) if known else None


def sheet_path(benchmark: BenchmarkSettings, build: Path) -> Path:
    """Return where a benchmark's question sheet is, once it was read."""
    return build / "benchmarks" / f"{benchmark.name}.jsonl"


def _asked(benchmark: BenchmarkSettings, task: Task, build: Path) -> int:
    """Return how many questions a benchmark asks, as read or as the settings allow."""
    known = known_questions(benchmark, task.settings, build)
    if known is not None:
        return known
    parts = getattr(benchmark, "parts", None)
    there = OF_A_PART * len(parts) if parts else QUESTIONS
    return min(there, task.settings.decision.most_questions or there)


def _training(task: Task, texts: TextSizes, r: Rates) -> float:
    """Seconds of all updates, over all processes, and of tokenising."""
    train, shape = task.settings.train, task.size.shape
    steps = (train.max_steps or 0) * train.batch_size * train.max_length
    tokens = steps or train.epochs * texts.conversations / TOKEN_BYTES
    rate = r.training if train.kernels == "auto" else r.stock_training
    flops = tokens * shape.flops(train.lora_r, train.max_length)
    return texts.samples * SAMPLE_SECONDS + flops / rate / train.world


def _evaluation(task: Task, texts: TextSizes, r: Rates) -> float:
    """Seconds to ask one model one benchmark, the mean over the benchmarks.

    The prompts' arithmetic, and the weights read once for a token of each of CONCURRENCY answers,
    which are taken to be half as long as they may be.
    """
    weights, total = task.size.parameters, 0.0
    for one in task.settings.benchmarks:
        # What prompts begin with alike, the reference engine reads once.
        alike = KINDS[one.kind].own_prompts or not task.lmdeploy
        prompt = PROMPT if alike else SHOTS_PROMPT
        reading = min(prompt, task.settings.workspace.session_len) * 2 * weights / r.forward
        tokens = (one.max_new_tokens or PROMPT) / 2
        writing = tokens * task.served_bytes * weights / r.memory / CONCURRENCY
        total += texts.questions[one.name] * (reading + writing)
    return r.start + total / len(task.settings.benchmarks)


def _efficiency(task: Task, r: Rates) -> float:
    """Seconds of the requests, as efficiency/measure_engine.py has them; of the engine for CPUs
    of the one that fills its memory.
    """
    one, weights = task.settings.efficiency, task.size.parameters
    read = one.prompt_tokens * 2 * weights / r.forward
    write = one.new_tokens * task.served_bytes * weights / r.memory
    if not task.lmdeploy:
        return read + write
    asked = {n: requests_of(n) for n in one.concurrency}
    loads = sum((n + m) * read + m / n * write for n, m in asked.items())
    return (one.repeats + 1) * (read + write) + one.repeats * loads


def needs(
    task: Task, texts: TextSizes, local: bool, tools: int, machine: Machine | None = None
) -> list[StageNeed]:
    """Return the stages of a whole run that take memory, disk or time to speak of, in order.

    Args:
        local: the base is a folder of the user's, whose weights are hard-linked, as variants are.
        tools: environments to build.
        machine: training and quantising make use of its free GPU memory; None: they need the least.
    """
    if machine is not None:
        gpus = max(task.settings.train.processes, task.settings.workspace.tp)
        task = replace(task, free=machine.least_free(gpus))
    settings, size, r = task.settings, task.size, RATES[task.device]
    group, text = settings.awq.group_size, settings.calibration
    chosen, linear = list(settings.chosen().values()), size.shape.linear_parameters
    weights = list({v.weights.name: v.weights for v in task.variants}.values())
    made = {v.weights.check for v in chosen}  # each has a stage of its own
    by_row = [one for one in weights if one.by_row]
    workspaces = RELEASES[settings.lmdeploy].workspaces
    adapter = size.shape.adapter_parameters(settings.train.lora_r)
    reading = size.fp16 / r.disk
    likelihood = HELD_OUT_TOKENS * 2 * size.parameters / r.forward
    # Calibration goes layer by layer and makes a quarter of the rate of plain reading.
    calibration = reading + text.samples * text.length * 2 * size.parameters / (r.forward / 4)
    fetching = 0 if local else size.stored / DOWNLOAD
    stages = (
        # Stage, jobs, bytes that all of them leave, seconds of one beside the start.
        ("environment", tools, tools * ENVIRONMENT_DISK[task.device], r.environment),
        ("questions", len(settings.benchmarks), 0, 0),
        ("corpus", 1, texts.conversations, texts.raw / CORPUS_RATE),
        ("base_model", 1, 0 if local else size.stored, size.stored / r.disk + fetching),
        ("sample_lengths", 1, 0, texts.samples * SAMPLE_SECONDS),
        ("train", 1, CHECKPOINTS * CHECKPOINT * adapter, _training(task, texts, r)),
        ("adapter", 1, FP16 * adapter, 0),
        ("merge", 1, size.fp16, 2 * reading),
        ("check_merge", 1, 0, 2 * reading),
        ("check_training", 1, 0, 4 * (reading + likelihood)),
        ("calibrate", int(settings.kv_cache.static_parameters), 0, calibration),
        (
            "awq",
            int("awq" in made),
            size.awq(group),
            calibration + reading + linear / r.quantise,
        ),
        ("check_awq", int("awq" in made), 0, reading + linear / r.quantise),
        (
            "gptq",
            int("gptq" in made),
            size.awq(group),
            2 * calibration + reading + linear / r.gptq,
        ),
        ("check_gptq", int("gptq" in made), 0, 4 * (reading + likelihood)),
        ("fp8", int("fp8" in made), size.stored_in_eight(WEIGHTS["fp8"]), 2 * reading),
        ("check_fp8", int("fp8" in made), 0, 2 * reading),
        (
            "w8a8",
            len(by_row),
            sum(map(size.stored_in_eight, by_row)),
            calibration + 2 * reading,
        ),
        ("check_w8a8", len(by_row), 0, reading + linear / r.quantise),
        (
            "workspace",
            workspaces * len(weights),
            sum(size.served(one, group) for one in weights),
            2 * reading,
        ),
        ("check_workspace", len(weights), 0, 2 * (reading + likelihood)),
        (
            "check_kv_cache",
            sum(v.kv.quantised for v in chosen),
            0,
            reading + 2 * likelihood,
        ),
        (
            "divergence",
            len(chosen) - 1,
            0,
            2 * reading
            + 4 * ANSWER * settings.divergence.conversations * size.parameters / r.forward,
        ),
        (
            "evaluate",
            len(settings.benchmarks) * len(task.variants),
            0,
            _evaluation(task, texts, r),
        ),
        ("efficiency", len(chosen), 0, _efficiency(task, r)),
    )
    return [
        StageNeed(
            stage,
            jobs,
            host_bytes(stage, task, texts.raw),
            _gpu_need(stage, task),
            disk,
            jobs * (r.start + work),
        )
        for stage, jobs, disk, work in stages
        if jobs
    ]


def _gpu_need(stage: str, task: Task) -> float:
    try:
        return gpu_bytes(stage, task)
    except ButlerError:
        return gpu_bytes(stage, replace(task, free=None))  # fit.py tells that it is too much
