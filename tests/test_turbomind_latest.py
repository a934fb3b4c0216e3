"""TurboMind of the releases without workspaces: its room in bytes, and how an engine is started."""

import asyncio
import sys
from types import ModuleType, SimpleNamespace

import pytest

import served_folders
from butler.errors import ButlerError
from butler.lmdeploy.cache_room import Room
from butler.lmdeploy.cache_share import PAGE, base_bytes, region_bytes, slab
from butler.lmdeploy.measured_engine import Counted, EngineStart, cache_bytes, start_engine

GIB, MIB = 2**30, 2**20
SEVEN_B, SEVEN_B_INT8 = 131_072, 67_584  # bytes of a token in InternLM2-7B's cache


@pytest.mark.parametrize(
    ("block", "found"),
    [
        (8 * MIB, (32 * MIB, 4)),  # 7B, fp16
        (64 * SEVEN_B_INT8, (64 * MIB, 15)),  # seven in 32 MiB would leave a tenth of it over
        (256 * 1024, (32 * MIB, 128)),  # the demo
        (33 * MIB, (512 * MIB, 15)),
        (80 * MIB, (1024 * MIB, 12)),  # the largest, though it is used to 94 %
    ],
)
def test_a_slab_is_used_well_or_the_largest(block, found):
    assert slab(block) == found


@pytest.mark.parametrize("per_token", [SEVEN_B, SEVEN_B_INT8, 4096, 2112])
@pytest.mark.parametrize("chats", [1, 7, 256])
@pytest.mark.parametrize("start", [0, 2 * MIB, PAGE - 2 * MIB])
def test_a_region_holds_its_room_wherever_it_starts_and_little_more(per_token, chats, start):
    room = Room(chats, 700)
    size, blocks = slab(64 * per_token)
    pages = (region_bytes(room, per_token) - (-start) % PAGE) // PAGE
    held = pages // (size // PAGE) * blocks
    assert room.blocks <= held < room.blocks + 2 * blocks


def test_the_share_is_of_what_will_surely_be_free():
    assert base_bytes(24 * GIB, 10 * GIB, 5 * GIB) == 24 * GIB - int(10.5 * GIB) - 2 * GIB
    with pytest.raises(ButlerError, match=r"5\.0 GiB is to be taken of 4\.2 GiB .* lower"):
        base_bytes(22 * GIB, 15 * GIB, 5 * GIB)


START = EngineStart(served_folders.SEVEN_B, 1, 2048, Room(256, 640), trust_remote_code=True)


class Gpu:
    """A GPU of 80 GiB and LMDeploy 0.18 on it, as far as a start touches them."""

    def __init__(self, weights: int) -> None:
        self.free = 79 * GIB
        self.weights = weights
        self.region = 0
        self.config: SimpleNamespace | None = None
        self.fillers = 0

    def used(self) -> int:
        return 80 * GIB - self.free

    def torch(self) -> ModuleType:
        def empty(size, dtype, device):
            assert device == "cuda:0"
            self.free -= size
            self.fillers += size

        def give_back():
            self.free += self.fillers
            self.fillers = 0

        module = ModuleType("torch")
        module.uint8, module.empty = "uint8", empty
        module.cuda = SimpleNamespace(
            synchronize=lambda device: None,
            mem_get_info=lambda device: (self.free, 80 * GIB),
            empty_cache=give_back,
        )
        return module

    def lmdeploy(self) -> tuple[ModuleType, ModuleType]:
        gpu = self

        class Native:
            def create_engine(self, device):
                gpu.region = int(gpu.free * gpu.config.cache_max_entry_count)
                gpu.free -= gpu.region

        class TurboMind:
            @classmethod
            def from_pretrained(cls, path, engine_config, trust_remote_code):
                assert trust_remote_code
                gpu.config = engine_config
                engine = cls()
                engine.native, _ = engine._from_hf(path)
                gpu.free -= gpu.weights
                engine.native.create_engine(0)
                return engine

            def _from_hf(self, path):
                return Native(), None

        turbomind, messages = ModuleType("lmdeploy.turbomind"), ModuleType("lmdeploy.messages")
        turbomind.TurboMind = TurboMind
        messages.TurbomindEngineConfig = SimpleNamespace
        return turbomind, messages


def put_in(gpu: Gpu, monkeypatch) -> None:
    turbomind, messages = gpu.lmdeploy()
    monkeypatch.setitem(sys.modules, "torch", gpu.torch())
    monkeypatch.setitem(sys.modules, "lmdeploy", ModuleType("lmdeploy"))
    monkeypatch.setitem(sys.modules, "lmdeploy.turbomind", turbomind)
    monkeypatch.setitem(sys.modules, "lmdeploy.messages", messages)


@pytest.mark.parametrize("weights", [14 * GIB, 15 * GIB])
def test_the_cache_is_exact_however_much_the_weights_take(monkeypatch, weights):
    gpu, marks = Gpu(weights), {}
    put_in(gpu, monkeypatch)
    start_engine(START, gpu, marks)
    assert gpu.region == pytest.approx(cache_bytes(START), abs=2)
    assert 0 < gpu.config.cache_max_entry_count < 1
    assert marks == {"context": GIB, "loaded": GIB + weights}
    assert gpu.free == 79 * GIB - weights - gpu.region  # what was filled up is free again


def test_weights_that_take_more_than_their_files_are_told(monkeypatch):
    gpu = Gpu(19 * GIB)
    put_in(gpu, monkeypatch)
    with pytest.raises(ButlerError, match="less of GPU 0 than their files let expect"):
        start_engine(START, gpu, {})


def test_new_tokens_are_counted_up():
    class Instance:
        async def async_stream_infer(self, session_id, input_ids, **options):
            assert (session_id, input_ids, options) == (3, [1, 2], {"stream_output": True})
            for tokens in ([5], [], [6, 7]):
                yield SimpleNamespace(token_ids=tokens)

    async def asked():
        stream = Counted(Instance()).async_stream_infer(3, [1, 2], stream_output=True)
        return [output.num_token async for output in stream]

    assert asyncio.run(asked()) == [1, 1, 3]
