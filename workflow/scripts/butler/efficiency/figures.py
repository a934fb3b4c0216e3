"""Arithmetic of the efficiency stage: memory, what fits a GPU, and the rows of a variant.

Nothing here touches a GPU or an engine.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from butler.efficiency.speed import Row, Speed
from butler.efficiency.timings import Load, RequestTiming
from butler.errors import ButlerError
from butler.lmdeploy.cache_room import Room
from butler.settings.judging_stage import EfficiencySettings

MIB = 2**20
GB = 10**9  # what a card's name promises; its GiB are seldom all there
RESERVE_BYTES = 512 * MIB  # of a card that the count of chats leaves alone
ROOM_TOLERANCE = 0.03  # between the cache that was asked for and the memory that it took
ROOM_SLACK = 64 * MIB  # and what allocators round up to
# Bytes that a further request may take in the engine's own buffers, for each token of the
# vocabulary: 41 to 43 with Qwen2.5's 151,936 (fp16 and w4 of a 0.5B on one H200).
BUFFERS_PER_LOGIT = 48

ROUNDS = 2  # requests of a load are this many times those that run at once
LEAST_REQUESTS = 10  # but so many at least: what a p90 needs


@dataclass(frozen=True)
class Session:
    """One engine, its cache of one room: bytes of GPU memory in use, and what was run on it.

    `before` is without the engine, `context` with CUDA's context, `loaded` with the weights,
    `peak` the most while it served.
    """

    room: Room
    before: int
    context: int
    loaded: int
    peak: int
    single: Sequence[RequestTiming] = ()
    loads: Sequence[Load] = ()
    prefills: Sequence[Load] = ()

    @property
    def taken(self) -> int:
        """Bytes that the engine took, CUDA's context among them."""
        return self.peak - self.before


def measured_kv_bytes(small: Session, large: Session) -> float:
    """Return the bytes per token by the memory that two rooms took."""
    return (large.taken - small.taken) / (large.room.held - small.room.held)


def check_alone(small: Session, large: Session) -> None:
    """Check that no other program took or gave back memory of the GPU from one engine to the next.

    All that is in use there is counted, as the driver tells no more inside many containers.

    Raises:
        ButlerError: if what was in use before the two engines is not the same.
    """
    if abs(large.before - small.before) > ROOM_SLACK:
        found = " and ".join(f"{one.before / MIB:,.0f}" for one in (small, large))
        raise ButlerError(
            f"before the engine was started, the first and the second time, {found} MiB of GPU "
            "memory were in use: another program uses it, and the engine's memory cannot be told "
            "from the other's; measure when the GPU is free"
        )


def check_room(small: Session, large: Session, wanted: int, vocab: int) -> None:
    """Check by memory that the engine holds the room that it was asked for.

    Args:
        small: an engine with less room; its `room.chats` is also the most requests it takes.
        large: an engine with more.
        wanted: bytes by which their caches are to differ.
        vocab: tokens; the engine's sampling buffers grow with it for each request more.

    Raises:
        ButlerError: if the difference in memory is not that of the caches.
    """
    buffers = (large.room.chats - small.room.chats) * vocab * BUFFERS_PER_LOGIT
    found = large.taken - small.taken
    slack = ROOM_TOLERANCE * wanted + ROOM_SLACK
    if not wanted - slack <= found <= wanted + slack + buffers:
        raise ButlerError(
            f"the engine was given room for {large.room.held:,} tokens after "
            f"{small.room.held:,}, a difference of {wanted / MIB:,.0f} MiB, but its memory "
            f"differs by {found / MIB:,.0f} MiB: the figures would not be at equal room"
        )


def check_session(settings: EfficiencySettings, session_len: int) -> None:
    """Raise ButlerError if a request is longer than a session of `session_len` tokens."""
    if settings.prompt_tokens + settings.new_tokens > session_len:
        raise ButlerError(
            f"efficiency.prompt_tokens {settings.prompt_tokens} and efficiency.new_tokens "
            f"{settings.new_tokens} exceed the session of {session_len} tokens; lower them or "
            "raise workspace.session_len"
        )


def room_bytes(weights: float, room: Room, per_token: int) -> int:
    """Return the bytes of GPU memory that weights and cache take alone."""
    return int(weights + room.held * per_token + RESERVE_BYTES)


def check_fits(weights: int, room: Room, per_token: int, free: int) -> None:
    """Raise ButlerError if weights and cache alone are more than the GPU has free, in bytes."""
    needed = room_bytes(weights, room, per_token)
    if needed > free:
        raise ButlerError(
            f"{room.chats} requests of {room.tokens} tokens need some {needed / GB:.1f} GB of GPU "
            f"memory with this variant, but {free / GB:.1f} GB are free; lower "
            "efficiency.concurrency"
        )


def rows(
    small: Session, large: Session, weight_bytes: int, per_token: int, prompt_tokens: int
) -> list[Row]:
    """Return the figures of one variant; bytes, seconds, tokens per second.

    Args:
        small: the engine with the second largest room.
        large: the one with the largest, on which single requests were timed, one a repeat.
        weight_bytes: of the files.
        per_token: bytes of a token in the cache.
        prompt_tokens: of each request.
    """
    fixed, buffers = fixed_memory(small, large, per_token)
    speed = Speed.of(
        large.single,
        [*small.loads, *large.loads],
        [*small.prefills, *large.prefills],
        prompt_tokens,
    )
    return [
        ("weight_bytes", weight_bytes, "B"),
        ("gpu_weight_bytes", large.loaded - large.context, "B"),
        ("kv_bytes_per_token", per_token, "B"),
        ("kv_bytes_per_token_by_memory", round(measured_kv_bytes(small, large), 1), "B"),
        ("peak_memory_bytes", large.taken, "B"),
        *((f"peak_memory_bytes_{one.room.chats}", one.taken, "B") for one in (small, large)),
        ("room_tokens", large.room.held, "tokens"),
        ("fixed_memory_bytes", fixed, "B"),
        ("buffer_bytes_per_chat", buffers, "B"),
        *speed.rows(),
    ]


def fixed_memory(small: Session, large: Session, per_token: int) -> tuple[int, int]:
    """Return what an engine takes beside its cache: bytes for any load, and bytes per request."""
    without = [one.taken - one.room.held * per_token for one in (small, large)]
    more = max(0, without[1] - without[0])
    per_chat = more // (large.room.chats - small.room.chats)
    return without[1] - per_chat * large.room.chats, per_chat


def chats_on_card(values: Mapping[str, float], card_gb: float, chat_tokens: int) -> int:
    """Return how many chats of `chat_tokens` tokens a card of `card_gb` GB holds at once.

    Args:
        values: fixed_memory_bytes, buffer_bytes_per_chat and kv_bytes_per_token of a variant.
        card_gb: 10⁹ bytes; RESERVE_BYTES of them stay free.
        chat_tokens: question and answer.
    """
    chat = Room(1, chat_tokens).held * values["kv_bytes_per_token"]
    chat += values["buffer_bytes_per_chat"]
    left = card_gb * GB - RESERVE_BYTES - values["fixed_memory_bytes"]
    return max(0, int(left // chat))


def session_sizes(concurrency: Sequence[int]) -> tuple[int, int]:
    """Return the two numbers of requests at a time for which an engine is started.

    The largest two; two rooms show what the cache alone takes.
    """
    largest = sorted(set(concurrency))[-2:]
    if len(largest) == 1:
        largest = [largest[0] // 2, largest[0]] if largest[0] > 1 else [1, 2]
    return largest[0], largest[1]


def requests_of(count: int, rounds: int = ROUNDS) -> int:
    """Return how many requests one repeat at `count` at a time has."""
    return max(rounds * count, LEAST_REQUESTS)
