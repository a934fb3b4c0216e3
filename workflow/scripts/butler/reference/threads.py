"""How many threads torch is to use: small products are slower on many."""

import time

import torch

from butler.reference.generate import Engine
from butler.reference.sampling import SamplingParams

TOKENS = 12
WARM_UP = 3


def decode_seconds(engine: Engine, threads: int) -> float:
    """Return the median time of a decoding step of one chat, in seconds."""
    torch.set_num_threads(threads)
    batch = engine.new_batch()
    batch.submit([0, 1, 2, 3], SamplingParams(max_new_tokens=TOKENS), frozenset())
    times = []
    while len(batch):
        start = time.perf_counter()
        batch.step()
        times.append(time.perf_counter() - start)
    return sorted(times[WARM_UP:])[len(times[WARM_UP:]) // 2]


def set_fastest_threads(engine: Engine, most: int) -> int:
    """Let torch use 1, 2, 4, … or `most` threads, whichever decodes fastest; return how many."""
    tried = {1, most} | {2**n for n in range(1, most.bit_length()) if 2**n < most}
    seconds = {threads: decode_seconds(engine, threads) for threads in sorted(tried)}
    best = min(seconds, key=lambda threads: seconds[threads])
    torch.set_num_threads(best)
    return best
