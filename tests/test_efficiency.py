"""The arithmetic of the efficiency stage, and requests to an engine that is made up."""

import asyncio
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from butler.efficiency.figures import (
    GB,
    MIB,
    RESERVE_BYTES,
    Session,
    chats_on_card,
    check_alone,
    check_fits,
    check_room,
    requests_of,
    rows,
    session_sizes,
)
from butler.efficiency.load import at_once, one_by_one, random_prompts
from butler.efficiency.timings import Load, RequestTiming, most_at_once
from butler.errors import ButlerError
from butler.gpu import visible_gpus
from butler.lmdeploy.cache_room import Room
from butler.lmdeploy.served_folder import ModelShape
from butler.schemes import KV_CACHES

SHAPE = ModelShape(layers=32, heads=32, kv_heads=8, head_dim=128)  # InternLM2-7B's
SEVEN_B = SHAPE.kv_bytes_per_token(KV_CACHES["fp16"])
VOCAB = 92544
WEIGHTS = 15_480_000_000


def session(chats, per_token, taken=None, tokens=896, buffers=1_500_000):
    """An engine that takes weights, 2 GB, `buffers` for each request and its cache."""
    room = Room(chats, tokens)
    own = WEIGHTS + 2 * GB + buffers * chats + per_token * room.held
    single = [RequestTiming(0.0, 0.1, 0.1 + 255 / rate, 256) for rate in (150.0, 200.0, 400.0)]
    load = Load(chats, [RequestTiming(0.0, 0.5, 8.0, 256), RequestTiming(1.0, 2.5, 8.0, 256)])
    peak = 7_000 + (own if taken is None else taken)
    return Session(room, 7_000, 8_000, 8_000 + WEIGHTS, peak, single, [load], [load])


def test_a_cache_token_has_the_size_that_was_measured_on_a_gpu():
    assert SEVEN_B == 131_072
    int8 = SHAPE.kv_bytes_per_token(KV_CACHES["int8"])
    # 21,113 against 24,569 MiB at 64 × 896 tokens, to the MiB.
    saved = 57_344 * (131_072 - int8) / MIB
    assert saved == pytest.approx(24_569 - 21_113, rel=0.01)


def test_room_is_whole_blocks_of_each_chat():
    assert (Room(64, 896).blocks, Room(64, 896).held) == (64 * 14, 57_344)
    assert Room(3, 65).blocks == 6


@pytest.mark.parametrize(
    ("concurrency", "sizes"),
    [([1, 64, 256], (64, 256)), ([256, 1], (1, 256)), ([8], (4, 8)), ([1], (1, 2))],
)
def test_two_rooms_are_measured(concurrency, sizes):
    assert session_sizes(concurrency) == sizes


def test_an_engine_that_holds_its_room_passes():
    per_token = SEVEN_B
    wanted = (256 - 64) * 896 * per_token
    check_room(session(64, per_token), session(256, per_token), wanted, VOCAB)


@pytest.mark.parametrize("found", [2_432, 2_464, 2_496])  # MiB, w4, fp16 and w4 again
def test_buffers_of_a_large_vocabulary_are_no_other_room(found):
    """Qwen2.5-0.5B on one H200, 64 and 256 requests of 576 tokens; it was refused once."""
    small, large = session(64, 12_288, tokens=576), session(256, 12_288, tokens=576)
    large = replace(large, peak=large.before + small.taken + found * MIB)
    check_room(small, large, 1_296 * MIB, 151_936)


@pytest.mark.parametrize("share", [0.0, 0.52, 0.94, 1.1, 2.0])
def test_an_engine_with_another_room_is_refused(share):
    per_token = SEVEN_B
    small = session(64, per_token)
    wanted = (256 - 64) * 896 * per_token
    large = session(256, per_token, taken=small.taken + int(share * wanted))
    with pytest.raises(ButlerError, match="would not be at equal room"):
        check_room(small, large, wanted, VOCAB)


def test_memory_that_another_program_takes_is_not_told_as_the_engines():
    small, large = session(64, SEVEN_B), session(256, SEVEN_B)
    check_alone(small, replace(large, before=small.before + 60 * MIB))
    for change in (-300, 7_000):
        other = replace(large, before=small.before + 300 * MIB + change * MIB)
        with pytest.raises(ButlerError, match="MiB of GPU memory were in use: another program"):
            check_alone(replace(small, before=small.before + 300 * MIB), other)


def test_a_gpu_that_is_too_small_is_named_before_the_engine_starts():
    with pytest.raises(ButlerError, match=r"some 46.1 GB .* 24.0 GB are free; lower efficiency"):
        check_fits(WEIGHTS, Room(256, 896), 131_072, 24 * GB)
    check_fits(WEIGHTS, Room(256, 896), 131_072, 47 * GB)


def test_rows_tell_what_the_sessions_measured():
    per_token = SEVEN_B
    found = rows(session(64, per_token), session(256, per_token), WEIGHTS, per_token, 512)
    values = {metric: value for metric, value, _ in found}
    assert len(values) == len(found)
    assert values["gpu_weight_bytes"] == WEIGHTS
    assert values["peak_memory_bytes"] == values["peak_memory_bytes_256"]
    spread = [values[f"decode_tokens_per_s_{name}"] for name in ("min", "median", "max")]
    assert spread == pytest.approx([150, 200, 400])
    assert values["prefill_tokens_per_s_median"] == pytest.approx(5120)
    assert values["tokens_per_s_median_256"] == pytest.approx(512 / 8)
    assert values["time_to_first_token_s_p50_64"] == pytest.approx(1.0)
    assert values["fixed_memory_bytes"] == WEIGHTS + 2 * GB
    assert values["buffer_bytes_per_chat"] == 1_500_000


def test_chats_fill_a_card_to_the_last_one():
    values = {
        "fixed_memory_bytes": 18 * GB,
        "buffer_bytes_per_chat": 1_500_000,
        "kv_bytes_per_token": 131_072,
    }
    chat = 2048 * 131_072 + 1_500_000
    chats = chats_on_card(values, 24, 2048)
    left = 24 * GB - RESERVE_BYTES - 18 * GB
    assert chats * chat <= left < (chats + 1) * chat
    assert chats_on_card(values, 16, 2048) == 0


def test_requests_that_overlap_are_counted():
    answers = [RequestTiming(0, 1, 5, 8), RequestTiming(0, 2, 6, 8), RequestTiming(0, 6, 9, 8)]
    assert most_at_once(answers) == 2
    assert most_at_once([RequestTiming(0, 1, 2, 8), RequestTiming(0, 3, 4, 8)]) == 1


class Engine:
    """Answers after a while; keeps how many answer at the same time."""

    now = most = 0

    def __init__(self, tokens):
        self.tokens = tokens

    async def async_stream_infer(self, session_id, input_ids, **options):
        Engine.now += 1
        Engine.most = max(Engine.most, Engine.now)
        for count in range(1, self.tokens + 1):
            await asyncio.sleep(0.001)
            yield SimpleNamespace(num_token=count)
        Engine.now -= 1


def test_a_load_answers_every_prompt_with_so_many_at_a_time():
    Engine.now = Engine.most = 0
    prompts, setting = random_prompts(10, 7, 100), SimpleNamespace(max_new_tokens=3)
    load = asyncio.run(at_once([Engine(3) for _ in range(4)], prompts, setting))
    assert (len(load.answers), load.concurrency, Engine.most) == (10, 4, 4)
    assert all(a.sent < a.first < a.last and a.tokens == 3 for a in load.answers)
    for answer in load.answers:
        assert len(answer.gaps) == 2 and sum(answer.gaps) == pytest.approx(
            answer.last - answer.first
        )
    assert load.tokens_per_s == pytest.approx(30 / load.seconds)
    Engine.most = 0
    asyncio.run(one_by_one(Engine(3), prompts[:2], setting))
    assert Engine.most == 1


class Bursts:
    """Streams two tokens in one output, then one, then that this was the last."""

    async def async_stream_infer(self, session_id, input_ids, **options):
        for count in (2, 3, 3):
            await asyncio.sleep(0.001)
            self.latest = time.perf_counter()
            yield SimpleNamespace(num_token=count)


def test_tokens_that_come_together_are_one_wait_and_the_end_is_none():
    setting = SimpleNamespace(max_new_tokens=3)
    engine = Bursts()
    (answer,) = asyncio.run(one_by_one(engine, [[1, 2]], setting))
    assert (answer.tokens, len(answer.gaps)) == (3, 1)
    assert answer.last < engine.latest  # when the third output came, which brought nothing


def test_every_load_has_requests_enough_for_a_p90():
    assert [requests_of(count) for count in (1, 5, 64)] == [10, 10, 128]


def test_an_answer_that_ends_early_is_no_measurement():
    setting = SimpleNamespace(max_new_tokens=5)
    with pytest.raises(ButlerError, match="after 3 of 5 new tokens"):
        asyncio.run(one_by_one(Engine(3), [[1, 2]], setting))


def test_prompts_are_the_same_in_every_run():
    assert random_prompts(3, 5, 1000) == random_prompts(3, 5, 1000)
    assert len({tuple(prompt) for prompt in random_prompts(3, 5, 1000)}) == 3


def test_memory_is_asked_of_the_gpus_that_cuda_uses():
    assert visible_gpus(1, None) == [0]
    assert visible_gpus(2, "3, GPU-ab,1") == [3, "GPU-ab"]
    with pytest.raises(ButlerError, match="2 GPUs are needed"):
        visible_gpus(2, "0")


def test_the_figures_survive_an_engine_that_cannot_be_taken_down(tmp_path):
    out = tmp_path / "session.json"
    engine = Path(__file__).with_name("engine_that_aborts.py")
    done = subprocess.run([sys.executable, str(engine), str(out)])
    assert done.returncode == 0, Path(f"{out}.log").read_text(encoding="utf-8")
    assert [load["concurrency"] for load in json.loads(out.read_text())["loads"]] == [1, 2]
