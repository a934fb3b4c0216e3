"""LMDeploy's engines in this process, for measurements: of either release, at a room of tokens.

Needs LMDeploy and a GPU; each stage of a start is noted, as bytes of GPU memory in use.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from butler.errors import ButlerError
from butler.gpu import GpuMemory
from butler.lmdeploy.cache_room import BLOCK_TOKENS, Room
from butler.lmdeploy.cache_share import base_bytes, region_bytes
from butler.lmdeploy.served_folder import ServedFolder
from butler.schemes import PYTORCH

LEAST_BLOCKS = 16  # that the PyTorch engine takes


@dataclass(frozen=True)
class EngineStart:
    """What is started: a folder on `tp` GPUs, and the most it is to hold.

    `room.chats` is also the most requests at once; the folder's bytes are those on all GPUs
    together.
    """

    folder: ServedFolder
    tp: int
    session_len: int
    room: Room
    trust_remote_code: bool


def cache_bytes(start: EngineStart) -> int:
    """Return the bytes of GPU memory, on all GPUs together, that the cache is to take."""
    per_token = start.folder.kv_bytes_per_token
    if start.folder.release.workspaces or start.folder.backend == PYTORCH:
        return start.room.held * per_token  # they take a number of blocks
    return start.tp * region_bytes(start.room, per_token // start.tp)


def start_engine(start: EngineStart, memory: GpuMemory, marks: dict[str, int]) -> Any:
    """Return an engine that holds the room; note the memory of each stage in `marks`.

    Its instances yield answers so far, with `num_token` new tokens.

    Raises:
        ButlerError: if the GPU has too little memory for it.
    """
    if start.folder.backend == PYTORCH:
        return _of_pytorch(start, memory, marks)
    from lmdeploy.messages import TurbomindEngineConfig

    config = TurbomindEngineConfig(
        tp=start.tp,
        session_len=start.session_len,
        max_batch_size=start.room.chats,
        quant_policy=start.folder.settings.quant_policy,
        cache_block_seq_len=BLOCK_TOKENS,
    )
    starter = _of_workspace if start.folder.release.workspaces else _of_model
    return starter(start, config, memory, marks)


class Stages:
    """The native engine; calls `before` with a GPU's number when that one takes its cache."""

    def __init__(self, native: Any, before: Any) -> None:
        self._native = native
        self._before = before

    def __getattr__(self, name: str) -> Any:
        return getattr(self._native, name)

    def create_engine(self, device: int, *more: int) -> None:
        """Have one GPU take its cache and buffers."""
        self._before(device)
        self._native.create_engine(device, *more)


def _synchronise(tp: int) -> None:
    import torch

    for device in range(tp):
        torch.cuda.synchronize(device)  # CUDA's own memory is taken here


def _of_workspace(start: EngineStart, config: Any, memory: GpuMemory, marks: dict[str, int]) -> Any:
    """Start 0.7.3 with a number of blocks.

    `cache_max_entry_count` is a share of the free memory below 1, and a number of blocks from 1
    on: the C++ engine takes either, only LMDeploy's own check of the setting refuses the second.
    """
    from lmdeploy.turbomind import TurboMind

    class Measured(TurboMind):
        def _from_workspace(self, *arguments: Any, **named: Any) -> Stages:
            _synchronise(start.tp)
            marks["context"] = memory.used()
            native = super()._from_workspace(*arguments, **named)
            return Stages(native, lambda _: marks.setdefault("loaded", memory.used()))

    config.cache_max_entry_count = float(start.room.blocks)
    return Measured.from_pretrained(str(start.folder.path), tokenizer=None, engine_config=config)


def _of_model(start: EngineStart, config: Any, memory: GpuMemory, marks: dict[str, int]) -> Any:
    """Start a release of model folders, whose cache is a share of what is free when it is taken.

    So that the share is an exact number of bytes, torch holds the rest for as long.
    """
    import torch
    from lmdeploy.turbomind import TurboMind

    _synchronise(start.tp)
    region = cache_bytes(start) // start.tp
    free = min(torch.cuda.mem_get_info(device)[0] for device in range(start.tp))
    base = base_bytes(free, start.folder.weight_bytes // start.tp, region)
    fillers = []

    def fill(device: int) -> None:
        marks.setdefault("loaded", memory.used())
        more = torch.cuda.mem_get_info(device)[0] - base
        if more < 0:
            raise ButlerError(
                f"the weights of {start.folder.path} left {-more / 2**30:.2f} GiB less of GPU "
                f"{device} than their files let expect; the figures would not be at equal room"
            )
        fillers.append(torch.empty(more, dtype=torch.uint8, device=f"cuda:{device}"))

    class Measured(TurboMind):
        def _from_hf(self, *arguments: Any, **named: Any) -> tuple[Stages, Any]:
            native, loader = super()._from_hf(*arguments, **named)
            marks["context"] = memory.used()  # the weights are still to come
            return Stages(native, fill), loader

        def create_instance(self, *arguments: Any, **named: Any) -> "Counted":
            return Counted(super().create_instance(*arguments, **named))

    config.cache_max_entry_count = region / base
    engine = Measured.from_pretrained(
        str(start.folder.path), engine_config=config, trust_remote_code=start.trust_remote_code
    )
    fillers.clear()
    torch.cuda.empty_cache()
    return engine


def _of_pytorch(start: EngineStart, memory: GpuMemory, marks: dict[str, int]) -> Any:
    """Start LMDeploy's PyTorch engine with a number of blocks; call it in a running event loop.

    One block is the engine's own.
    """
    from lmdeploy.messages import PytorchEngineConfig
    from lmdeploy.pytorch.engine import Engine
    from lmdeploy.pytorch.engine.executor.base import ExecutorBase

    class Measured(Engine):
        def create_instance(self, *arguments: Any, **named: Any) -> "Counted":
            return Counted(super().create_instance(*arguments, **named))

    updated = ExecutorBase.update_configs

    def weights_loaded(executor: Any) -> None:
        marks["loaded"] = memory.used()
        updated(executor)

    ExecutorBase.update_configs = weights_loaded
    _synchronise(start.tp)
    marks["context"] = memory.used()
    blocks = start.room.blocks + 1
    config = PytorchEngineConfig(
        tp=start.tp,
        session_len=start.session_len,
        max_batch_size=start.room.chats,
        quant_policy=start.folder.settings.quant_policy,
        block_size=BLOCK_TOKENS,
        num_gpu_blocks=max(blocks, LEAST_BLOCKS),
    )
    engine = Measured.from_pretrained(
        str(start.folder.path), engine_config=config, trust_remote_code=start.trust_remote_code
    )
    engine.start_loop()
    return engine


@dataclass(frozen=True)
class PartialAnswer:
    """An answer so far, as 0.7.3's own outputs count it."""

    num_token: int


class Counted:
    """An instance whose outputs bring new tokens alone; they are added up here."""

    def __init__(self, instance: Any) -> None:
        self._instance = instance

    async def async_stream_infer(
        self, session_id: int, input_ids: list[int], **options: Any
    ) -> AsyncIterator[PartialAnswer]:
        """Yield the answer so far as it grows."""
        tokens = 0
        async for output in self._instance.async_stream_infer(session_id, input_ids, **options):
            tokens += len(output.token_ids)
            yield PartialAnswer(tokens)
