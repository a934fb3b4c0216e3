"""Whether a variant really holds the number of chats that was computed for a card.

A ballast takes all of this GPU's memory but the card's; the engine then gets room for the computed
number of chats and answers them all at once. With a tenth more (and more than the reserve would
have held) it must not start, or not hold them.
"""

import multiprocessing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from common import ButlerError

from butler.efficiency.figures import GB, RESERVE_BYTES, Session, chats_on_card
from butler.efficiency.measure_engine import Workload, run_session
from butler.efficiency.timings import most_at_once
from butler.gpu import GpuMemory
from butler.lmdeploy.cache_room import Room
from butler.lmdeploy.guards import resolve_tp
from butler.lmdeploy.served_folder import ServedFolder, read_folder

START_SECONDS = 120


def beyond(chats: int, chat_bytes: float) -> int:
    """Return a number of chats that must not fit: a tenth more, and more than the reserve holds."""
    return max(-(-chats * 11 // 10), chats + int(RESERVE_BYTES // chat_bytes) + 2)


def _hold(leave: int, ready: Event, done: Event) -> None:
    """Take GPU memory until `leave` bytes are free; keep it until `done`."""
    import torch

    torch.zeros(1, device="cuda")
    taken = GpuMemory().free() - leave
    ballast = torch.empty(max(0, taken), dtype=torch.uint8, device="cuda")
    ready.set()
    done.wait()
    del ballast


@contextmanager
def ballast(leave: int) -> Iterator[None]:
    """Leave `leave` bytes of the GPU free while the block runs.

    Raises:
        ButlerError: if the ballast cannot be taken.
    """
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(leave, ready, done), daemon=True)
    holder.start()
    try:
        if not ready.wait(START_SECONDS):
            raise ButlerError("the ballast could not be taken from the GPU's memory")
        yield
    finally:
        done.set()
        holder.join(START_SECONDS)


def run_chats(folder: ServedFolder, chats: int, chat_tokens: int, new_tokens: int) -> Session:
    """Answer `chats` chats of `chat_tokens` tokens at once, `new_tokens` of them new."""
    room = Room(chats, chat_tokens)
    asked, gpus = chat_tokens - new_tokens, resolve_tp(folder, None)
    return run_session(Workload(folder, gpus, room, asked, new_tokens, (chats,), rounds=1))


def check_card(
    path: Path, values: Mapping[str, float], card_gb: float, chat_tokens: int, new_tokens: int
) -> dict[str, Any]:
    """Return predicted and held chats on a card of `card_gb` GB, and what a tenth more did."""
    folder = read_folder(path)
    chats = chats_on_card(values, card_gb, chat_tokens)
    if chats < 1:
        raise ButlerError(f"no chat fits a card of {card_gb} GB; choose a larger one for --check")
    chat_bytes = Room(1, chat_tokens).held * values["kv_bytes_per_token"]
    chat_bytes += values["buffer_bytes_per_chat"]
    more = beyond(chats, chat_bytes)
    found: dict[str, Any] = {"card_gb": card_gb, "predicted": chats, "tried_beyond": more}
    with ballast(int(card_gb * GB)):
        found["free_gb"] = round(GpuMemory().free() / GB, 3)
        session = run_chats(folder, chats, chat_tokens, new_tokens)
        found["held_at_once"] = most_at_once(session.loads[0].answers)
        found["tokens_per_s"] = round(session.loads[0].tokens_per_s, 1)
        found["memory_gb"] = round(session.taken / GB, 3)
        try:
            over = run_chats(folder, more, chat_tokens, new_tokens)
        except ButlerError as error:
            found["beyond"] = f"refused: {error}"
        else:
            found["beyond"] = f"held {most_at_once(over.loads[0].answers)} at once"
    return found
