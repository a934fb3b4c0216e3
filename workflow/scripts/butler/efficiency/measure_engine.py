"""One engine of LMDeploy in a process of its own: its memory by stage, and its speed under load."""

import asyncio
import json
import multiprocessing
import os
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from butler.efficiency import figures
from butler.efficiency.figures import ROUNDS, Session, requests_of
from butler.efficiency.load import at_once, one_by_one, random_prompts
from butler.efficiency.speed import Row
from butler.efficiency.timings import Load, RequestTiming
from butler.errors import ButlerError
from butler.gpu import GpuMemory, Peak
from butler.lmdeploy.cache_room import Room
from butler.lmdeploy.guards import check_norms_loaded, resolve_tp
from butler.lmdeploy.measured_engine import EngineStart, cache_bytes, start_engine
from butler.lmdeploy.served_folder import ServedFolder, read_folder
from butler.schemes import TURBOMIND
from butler.settings.judging_stage import EfficiencySettings

WARM_TOKENS = 4


@dataclass(frozen=True)
class Workload:
    """What one engine is asked: prompts of `prompt_tokens`, answers of `new_tokens` tokens.

    It serves `folder` on `tp` GPUs, with the model's own code if `trust_remote_code`.
    `room.chats` is the most requests that it takes at once, `loads` how many at a time, each
    `repeats` times, `single` how many one after another, and `prefills` whether reading alone is
    timed too.
    """

    folder: ServedFolder
    tp: int
    room: Room
    prompt_tokens: int
    new_tokens: int
    loads: tuple[int, ...] = ()
    single: int = 0
    prefills: bool = False
    rounds: int = ROUNDS
    repeats: int = 1
    trust_remote_code: bool = False

    @property
    def start(self) -> EngineStart:
        """What engine to start for it."""
        length = max(self.folder.settings.session_len, self.room.tokens)
        return EngineStart(self.folder, self.tp, length, self.room, self.trust_remote_code)


def run_session(workload: Workload) -> Session:
    """Start an engine in a new process, measure it and end it: the memory starts from nothing.

    Raises:
        ButlerError: if the engine cannot be started or fails, with the last line it wrote.
    """
    with tempfile.TemporaryDirectory() as scratch:
        out, log = Path(scratch) / "session.json", Path(scratch) / "log"
        process = multiprocessing.get_context("spawn").Process(
            target=_child, args=(workload, str(out), str(log)), daemon=True
        )
        process.start()
        process.join()
        written = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
        sys.stderr.write(written)
        if not out.is_file():
            lines = [line.strip() for line in written.splitlines() if line.strip()]
            raise ButlerError(
                f"LMDeploy ended with {process.exitcode} on {workload.folder.path} with room for "
                f"{workload.room.chats} requests of {workload.room.tokens} tokens: {_cause(lines)}"
            )
        return _session(json.loads(out.read_text(encoding="utf-8")))


def _cause(lines: Sequence[str]) -> str:
    """Return the line that says most of why an engine ended."""
    memory = [line for line in lines if "out of memory" in line.lower()]
    return (memory or lines or ["it wrote nothing"])[-1][:300]


def _session(record: Mapping[str, Any]) -> Session:
    def loads(name: str) -> list[Load]:
        return [
            Load(load["concurrency"], [RequestTiming(**one) for one in load["answers"]])
            for load in record[name]
        ]

    return Session(
        **{name: record[name] for name in ("before", "context", "loaded", "peak")},
        room=Room(**record["room"]),
        single=[RequestTiming(**one) for one in record["single"]],
        loads=loads("loads"),
        prefills=loads("prefills"),
    )


def _child(workload: Workload, out: str, log: str) -> None:
    """Run the workload in this process and leave the session in `out`, then go at once.

    The engine is never taken down: TurboMind 0.7.3's threads do not always end, or end the process
    with "Resource deadlock avoided", and the figures would go with it.
    """
    kept: list[Any] = []
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    code = 1
    try:
        session = asyncio.run(_measure(workload, kept))
        Path(out).write_text(json.dumps(asdict(session)), encoding="utf-8")
        code = 0
    except BaseException:  # the process ends here whatever it was; the log says what
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


async def _measure(workload: Workload, kept: list[Any]) -> Session:
    """Measure an engine; it and its instances outlive this call in `kept`."""
    memory = GpuMemory(workload.tp)
    marks = {"before": memory.used()}
    engine = start_engine(workload.start, memory, marks)
    from lmdeploy.messages import GenerationConfig

    def setting(tokens: int) -> GenerationConfig:
        return GenerationConfig(max_new_tokens=tokens, top_k=1, temperature=1.0, ignore_eos=True)

    answer, vocab = setting(workload.new_tokens), workload.folder.vocab
    most = max((1, *workload.loads))
    instances = [engine.create_instance() for _ in range(most)]
    kept += [engine, instances]
    warm, reading = setting(min(WARM_TOKENS, workload.new_tokens)), setting(1)
    single: list[RequestTiming] = []
    loads, prefills = [], []
    with Peak(memory) as peak:
        for count in sorted({1, *workload.loads}):
            await at_once(
                instances[:count], random_prompts(count, workload.prompt_tokens, vocab), warm
            )
        if workload.single:
            prompts = random_prompts(workload.single, workload.prompt_tokens, vocab)
            single = await one_by_one(instances[0], prompts, answer)
        # A repeat goes over all loads, so that a drift of the GPU's shows in the spread of each.
        for count in workload.repeats * workload.loads:
            if workload.prefills:
                prompts = random_prompts(count, workload.prompt_tokens, vocab)
                prefills.append(await at_once(instances[:count], prompts, reading))
            asked = requests_of(count, workload.rounds)
            prompts = random_prompts(asked, workload.prompt_tokens, vocab)
            loads.append(await at_once(instances[:count], prompts, answer))
    return Session(
        workload.room, **marks, peak=peak.bytes, single=single, loads=loads, prefills=prefills
    )


def measure(
    path: Path,
    settings: EfficiencySettings,
    room_tokens: int = 0,
    trust_remote_code: bool = False,
    tp: int | None = None,
) -> list[Row]:
    """Return the rows of one served folder; `room_tokens` is the room of a request, if more than it
    needs.

    Raises:
        ButlerError: if there is no GPU or too little memory, or another program uses it, a request
            does not fit the session, or the engine would leave out norms or does not hold the room
            it was given.
    """
    folder = read_folder(path)
    check_norms_loaded(path)
    gpus = resolve_tp(folder, tp)
    figures.check_session(settings, folder.settings.session_len)
    sizes = figures.session_sizes(settings.concurrency)
    per_request = max(room_tokens, settings.prompt_tokens + settings.new_tokens)
    rooms = [Room(chats, per_request) for chats in sizes]
    per_token = folder.kv_bytes_per_token
    figures.check_fits(folder.weight_bytes, rooms[1], per_token, GpuMemory(gpus).free())
    own = tuple(c for c in settings.concurrency if c == sizes[0])
    rest = tuple(c for c in settings.concurrency if c != sizes[0])
    smaller = Workload(
        folder,
        gpus,
        rooms[0],
        settings.prompt_tokens,
        settings.new_tokens,
        own,
        prefills=True,
        repeats=settings.repeats,
        trust_remote_code=trust_remote_code,
    )
    larger = replace(smaller, room=rooms[1], loads=rest, single=settings.repeats + 1)
    small, large = run_session(smaller), run_session(larger)
    large = replace(large, single=large.single[1:])  # the first still pays for allocations
    figures.check_alone(small, large)
    more = cache_bytes(larger.start) - cache_bytes(smaller.start)
    if folder.backend == TURBOMIND:  # the other is told a number of blocks, and keeps graphs beside
        figures.check_room(small, large, more, folder.vocab)
    return figures.rows(small, large, folder.weight_bytes, per_token, settings.prompt_tokens)
