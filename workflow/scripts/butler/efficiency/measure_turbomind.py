"""One TurboMind engine in a process of its own: its memory by stage, and its speed under load."""

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

import yaml

from butler.efficiency import figures as efficiency
from butler.efficiency.figures import Answer, CacheShape, Load, Room, Session
from butler.efficiency.load import at_once, one_by_one, random_prompts
from butler.errors import ButlerError
from butler.gpu import GpuMemory, Peak
from butler.lmdeploy.guards import resolve_tp
from butler.lmdeploy.served_folder import read_folder
from butler.lmdeploy.turbomind_engine import Start, cache_bytes, start_engine
from butler.lmdeploy.workspace_files import CONFIG

ROUNDS = 2  # requests are this many times those that run at once
WARM_TOKENS = 4


@dataclass(frozen=True)
class Workspace:
    """What the measurement needs to know of a served folder; `plain` says it is a model folder."""

    path: str
    cache: CacheShape
    vocab: int
    tp: int
    session_len: int
    weight_bytes: int
    plain: bool = False
    trust_remote_code: bool = False

    @classmethod
    def read(
        cls, path: Path, trust_remote_code: bool = False, tp: int | None = None
    ) -> "Workspace":
        """Read it from the folder's record, configuration and files; `tp` GPUs are to share it.

        Raises:
            ButlerError: if it is none that LMDeploy serves here, or cannot be shared so.
        """
        folder = read_folder(path)
        plain = not folder.release.workspaces
        return cls(
            path=str(path),
            cache=folder.cache,
            vocab=_vocab(path, plain),
            tp=resolve_tp(folder, tp),
            session_len=folder.settings.session_len,
            weight_bytes=folder.weight_bytes,
            plain=plain,
            trust_remote_code=trust_remote_code,
        )


def _vocab(path: Path, plain: bool) -> int:
    if plain:
        return json.loads((path / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    config = yaml.safe_load((path / CONFIG).read_text(encoding="utf-8"))
    return config["model_config"]["vocab_size"]


@dataclass(frozen=True)
class Plan:
    """What one engine is asked: prompts of `prompt_tokens`, answers of `new_tokens` tokens.

    `room.chats` is the most requests that it takes at once, `loads` how many at a time, `single`
    how many one after another, and `prefills` whether reading alone is timed too.
    """

    workspace: Workspace
    room: Room
    prompt_tokens: int
    new_tokens: int
    loads: tuple[int, ...] = ()
    single: int = 0
    prefills: bool = False
    rounds: int = ROUNDS

    @property
    def start(self) -> Start:
        """What engine to start for it."""
        one = self.workspace
        return Start(
            path=one.path,
            workspaces=not one.plain,
            tp=one.tp,
            session_len=max(one.session_len, self.room.tokens),
            quant_policy=one.cache.quant_policy,
            room=self.room,
            per_token=one.cache.bytes_per_token(),
            weight_bytes=one.weight_bytes,
            trust_remote_code=one.trust_remote_code,
        )


def run_session(plan: Plan) -> Session:
    """Start an engine in a new process, measure it and end it: the memory starts from nothing.

    Raises:
        ButlerError: if the engine cannot be started or fails, with the last line it wrote.
    """
    with tempfile.TemporaryDirectory() as scratch:
        out, log = Path(scratch) / "session.json", Path(scratch) / "log"
        process = multiprocessing.get_context("spawn").Process(
            target=_child, args=(plan, str(out), str(log)), daemon=True
        )
        process.start()
        process.join()
        written = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
        sys.stderr.write(written)
        if not out.is_file():
            lines = [line.strip() for line in written.splitlines() if line.strip()]
            raise ButlerError(
                f"TurboMind ended with {process.exitcode} on {plan.workspace.path} with room for "
                f"{plan.room.chats} requests of {plan.room.tokens} tokens: {_cause(lines)}"
            )
        return _session(json.loads(out.read_text(encoding="utf-8")))


def _cause(lines: Sequence[str]) -> str:
    """Return the line that says most of why an engine ended."""
    memory = [line for line in lines if "out of memory" in line.lower()]
    return (memory or lines or ["it wrote nothing"])[-1][:300]


def _session(record: Mapping[str, Any]) -> Session:
    def loads(name: str) -> list[Load]:
        return [
            Load(one["concurrency"], [Answer(**answer) for answer in one["answers"]])
            for one in record[name]
        ]

    return Session(
        **{name: record[name] for name in ("before", "context", "loaded", "peak")},
        room=Room(**record["room"]),
        single=[Answer(**answer) for answer in record["single"]],
        loads=loads("loads"),
        prefills=loads("prefills"),
    )


def _child(plan: Plan, out: str, log: str) -> None:
    """Run the plan in this process and leave the session in `out`, then go at once.

    The engine is never taken down: TurboMind 0.7.3's threads do not always end, or end the process
    with "Resource deadlock avoided", and the figures would go with it.
    """
    kept: list[Any] = []
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    code = 1
    try:
        session = asyncio.run(_measure(plan, kept))
        Path(out).write_text(json.dumps(asdict(session)), encoding="utf-8")
        code = 0
    except BaseException:  # the process ends here whatever it was; the log says what
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


async def _measure(plan: Plan, kept: list[Any]) -> Session:
    """Measure an engine; it and its instances outlive this call in `kept`."""
    memory = GpuMemory(plan.workspace.tp)
    marks = {"before": memory.used()}
    engine = start_engine(plan.start, memory, marks)
    from lmdeploy.messages import GenerationConfig

    def setting(tokens: int) -> GenerationConfig:
        return GenerationConfig(max_new_tokens=tokens, top_k=1, temperature=1.0, ignore_eos=True)

    answer, vocab = setting(plan.new_tokens), plan.workspace.vocab
    most = max((1, *plan.loads))
    instances = [engine.create_instance() for _ in range(most)]
    kept += [engine, instances]
    warm, reading = setting(min(WARM_TOKENS, plan.new_tokens)), setting(1)
    single: list[Answer] = []
    loads, prefills = [], []
    with Peak(memory) as peak:
        for count in sorted({1, *plan.loads}):
            await at_once(instances[:count], random_prompts(count, plan.prompt_tokens, vocab), warm)
        if plan.single:
            prompts = random_prompts(plan.single, plan.prompt_tokens, vocab)
            single = await one_by_one(instances[0], prompts, answer)
        for count in plan.loads:
            if plan.prefills:
                prompts = random_prompts(count, plan.prompt_tokens, vocab)
                prefills.append(await at_once(instances[:count], prompts, reading))
            prompts = random_prompts(plan.rounds * count, plan.prompt_tokens, vocab)
            loads.append(await at_once(instances[:count], prompts, answer))
    return Session(
        plan.room, **marks, peak=peak.bytes, single=single, loads=loads, prefills=prefills
    )


def measure(
    path: Path,
    concurrency: Sequence[int],
    prompt_tokens: int,
    new_tokens: int,
    repeats: int,
    room_tokens: int = 0,
    trust_remote_code: bool = False,
    tp: int | None = None,
) -> list[efficiency.Row]:
    """Return the rows of one workspace; `room_tokens` is the room of a request, if not its need.

    Raises:
        ButlerError: if there is no GPU or too little memory, a request does not fit the session,
            or the engine does not hold the room it was given.
    """
    workspace = Workspace.read(path, trust_remote_code, tp)
    per_request = max(room_tokens, prompt_tokens + new_tokens)
    if per_request > workspace.session_len:
        raise ButlerError(
            f"{prompt_tokens} prompt and {new_tokens} new tokens exceed the session of "
            f"{workspace.session_len}; lower --prompt-tokens or --new-tokens"
        )
    per_token = workspace.cache.bytes_per_token()
    sizes = efficiency.session_sizes(concurrency)
    rooms = [Room(chats, per_request) for chats in sizes]
    efficiency.check_fits(
        workspace.weight_bytes, rooms[1], per_token, GpuMemory(workspace.tp).free()
    )
    plan = Plan(workspace, rooms[0], prompt_tokens, new_tokens, prefills=True)
    own = tuple(c for c in concurrency if c == sizes[0])
    small = run_session(replace(plan, loads=own))
    rest = tuple(c for c in concurrency if c != sizes[0])
    large = run_session(replace(plan, room=rooms[1], loads=rest, single=repeats + 1))
    large = replace(large, single=large.single[1:])  # the first still pays for allocations
    more = cache_bytes(replace(plan, room=rooms[1]).start) - cache_bytes(plan.start)
    efficiency.check_room(small, large, more, workspace.vocab)
    return efficiency.rows(small, large, workspace.weight_bytes, per_token, prompt_tokens)
