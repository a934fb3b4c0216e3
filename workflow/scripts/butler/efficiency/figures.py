"""Arithmetic of the efficiency stage: figures from timings and memory, chats on a card.

Nothing here touches a GPU or an engine.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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

THROUGHPUT = "throughput_"  # metric of a load, followed by how many requests at a time

Row = tuple[str, int | float, str]  # metric, value, unit


@dataclass(frozen=True)
class RequestTiming:
    """One request, in seconds of one clock."""

    sent: float
    first: float  # when the first new token came
    last: float
    tokens: int  # new ones


@dataclass(frozen=True)
class Load:
    """All the requests of one run at a fixed number of requests at a time."""

    concurrency: int
    answers: Sequence[RequestTiming]

    @property
    def seconds(self) -> float:
        """From the first request to the last token."""
        return max(a.last for a in self.answers) - min(a.sent for a in self.answers)

    @property
    def tokens_per_s(self) -> float:
        """New tokens of all requests per second."""
        return sum(a.tokens for a in self.answers) / self.seconds

    @property
    def first_token_s(self) -> float:
        """Median time to the first token."""
        return statistics.median(a.first - a.sent for a in self.answers)


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


def most_at_once(answers: Sequence[RequestTiming]) -> int:
    """Return how many requests were being answered at the same moment at most."""
    events = sorted(
        [(a.first, 1) for a in answers] + [(a.last, -1) for a in answers],
        key=lambda event: (event[0], -event[1]),
    )
    most = now = 0
    for _, change in events:
        now += change
        most = max(most, now)
    return most


def measured_kv_bytes(small: Session, large: Session) -> float:
    """Return the bytes per token by the memory that two rooms took."""
    return (large.taken - small.taken) / (large.room.held - small.room.held)


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
        large: the one with the largest, on which single requests were timed.
        weight_bytes: of the files.
        per_token: bytes of a token in the cache.
        prompt_tokens: of each request.
    """
    first = statistics.median(a.first - a.sent for a in large.single)
    decode = statistics.median((a.tokens - 1) / (a.last - a.first) for a in large.single)
    fixed, buffers = fixed_memory(small, large, per_token)
    found: list[Row] = [
        ("weight_bytes", weight_bytes, "B"),
        ("gpu_weight_bytes", large.loaded - large.context, "B"),
        ("kv_bytes_per_token", per_token, "B"),
        ("kv_bytes_per_token_by_memory", round(measured_kv_bytes(small, large), 1), "B"),
        ("peak_memory_bytes", large.taken, "B"),
        ("room_tokens", large.room.held, "tokens"),
        ("fixed_memory_bytes", fixed, "B"),
        ("buffer_bytes_per_chat", buffers, "B"),
        ("prefill_tokens_per_s", round(prompt_tokens / first, 3), "tokens/s"),
        ("decode_tokens_per_s", round(decode, 3), "tokens/s"),
        ("time_to_first_token_s", round(first, 6), "s"),
    ]
    for session in (small, large):
        chats = session.room.chats
        found.append((f"peak_memory_bytes_{chats}", session.taken, "B"))
        for load in session.prefills:
            rate = prompt_tokens * len(load.answers) / load.seconds
            found.append((f"prefill_tokens_per_s_{load.concurrency}", round(rate, 3), "tokens/s"))
        for load in session.loads:
            name = load.concurrency
            found.append((f"{THROUGHPUT}{name}", round(load.tokens_per_s, 3), "tokens/s"))
            found.append((f"time_to_first_token_s_{name}", round(load.first_token_s, 6), "s"))
    return found


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
