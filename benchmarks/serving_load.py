"""The reference engine's server under a mixed load for a while, and the memory that it takes.

Each worker asks again and again, drawn by weight: whole answers, streams, streams that are cut,
bad requests, bodies that are too large, prompts over the context. Every status code is compared
with the one that is right for it; the server's resident memory is read every few seconds.

usage: .envs/lmdeploy/bin/python benchmarks/serving_load.py --workspace workspaces/w4kv8 --threads 1
"""

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from common import ButlerError, markdown, publish, record

from butler.arguments import thread_count
from butler.errors import run_cli
from butler.serve.model_server import RunningServer, ServerPlan, running_server

MODEL = "measured"
CHAT = "/v1/chat/completions"
MIB = 1 << 20
QUESTIONS = ["西红柿炒鸡蛋的做法", "土豆丝怎么炒", "红烧排骨的家常做法", "清炒丝瓜的做法"]
BAD: list[tuple[int, Any]] = [
    (400, {"messages": []}),
    (400, {"messages": [{"role": "tool", "content": "x"}]}),
    (400, {"temperature": "hot"}),
    (400, {"top_p": -1}),
    (400, {"unknown": [1] * 1000}),
    (404, {"model": "other"}),
]


@dataclass
class Seen:
    """What came back, by what was asked; kept by all workers."""

    codes: Counter[tuple[str, int]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, kind: str, code: int, right: int) -> None:
        """Count an answer."""
        with self.lock:
            self.codes[kind, code] += 1
            if code != right:
                self.wrong.append(f"{kind}: {code}, not {right}")


def parse_args() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--workspace", type=Path, required=True)
    add("--minutes", type=float, default=30)
    add("--workers", type=int, default=8, help="that ask at a time")
    add("--warm-up", type=float, default=0.1, help="share of the time after which memory counts")
    add("--new-tokens", type=int, default=64, help="most of an answer")
    add("--sample-seconds", type=float, default=5)
    add("--threads", type=thread_count, help="of the server; default: what it finds fastest")
    add("--out", type=Path, help="JSON; the table goes beside it as Markdown")
    return parser.parse_args()


class Worker:
    """One client: its own connections, its own random numbers."""

    def __init__(self, url: str, tokens: int, seen: Seen, seed: int) -> None:
        self._client = httpx.Client(base_url=url, timeout=600, trust_env=False)
        self._tokens, self._seen = tokens, seen
        self._random = random.Random(seed)
        self._kinds: list[tuple[Callable[[], None], int]] = [
            (self._whole, 30),
            (self._stream, 20),
            (self._cut, 25),
            (self._bad, 10),
            (self._broken, 5),
            (self._large, 5),
            (self._long, 5),
        ]

    def run(self, end: float) -> None:
        """Ask until `end`, by the monotonic clock."""
        calls, weights = zip(*self._kinds, strict=True)
        with self._client:
            while time.monotonic() < end:
                [call] = self._random.choices(calls, weights)
                try:
                    call()
                except httpx.HTTPError as error:
                    self._seen.add(f"{call.__name__[1:]} {type(error).__name__}", 0, 200)

    def _body(self, **more: Any) -> dict[str, Any]:
        content = self._random.choice(QUESTIONS) * self._random.randint(1, 8)
        return {
            "model": MODEL,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": self._random.randint(1, self._tokens),
            **more,
        }

    def _whole(self) -> None:
        self._seen.add("whole", self._client.post(CHAT, json=self._body()).status_code, 200)

    def _stream(self) -> None:
        with self._client.stream("POST", CHAT, json=self._body(stream=True)) as answer:
            lines = [line for line in answer.iter_lines() if line]
        whole = answer.status_code == 200 and lines[-1] == "data: [DONE]"
        self._seen.add("stream", answer.status_code if whole else 0, 200)

    def _cut(self) -> None:
        body = self._body(stream=True, max_tokens=512)
        with self._client.stream("POST", CHAT, json=body) as answer:
            for _, _ in zip(range(self._random.randint(1, 20)), answer.iter_lines(), strict=False):
                continue
        self._seen.add("cut", answer.status_code, 200)

    def _bad(self) -> None:
        code, change = self._random.choice(BAD)
        answer = self._client.post(CHAT, json=self._body() | change)
        self._seen.add("bad", answer.status_code, code)

    def _broken(self) -> None:
        content = json.dumps(self._body()).encode()[: self._random.randint(0, 60)]
        headers = {"content-type": "application/json"}
        answer = self._client.post(CHAT, content=content, headers=headers)
        self._seen.add("broken", answer.status_code, 400)

    def _large(self) -> None:
        answer = self._client.post(CHAT, content=b"x" * (self._random.randint(2, 16) * MIB))
        self._seen.add("large", answer.status_code, 413)

    def _long(self) -> None:
        question = {"role": "user", "content": "炒" * self._random.randint(20_000, 300_000)}
        answer = self._client.post(CHAT, json=self._body(messages=[question]))
        self._seen.add("long", answer.status_code, 400)


def memory(server: RunningServer) -> float:
    """Return the server's resident memory in MiB.

    Raises:
        ButlerError: if it has ended.
    """
    server.check_alive()
    pages = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / MIB, 1)


def load(server: RunningServer, args: argparse.Namespace) -> dict[str, Any]:
    """Run the workers; return the memory over time and what came back."""
    seen, began = Seen(), time.monotonic()
    end = began + args.minutes * 60
    samples = [(0.0, memory(server))]
    workers = [Worker(server.url, args.new_tokens, seen, seed) for seed in range(args.workers)]
    threads = [threading.Thread(target=worker.run, args=(end,)) for worker in workers]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        time.sleep(args.sample_seconds)
        samples.append((round(time.monotonic() - began, 1), memory(server)))
    idle = httpx.get(f"{server.url}/health", trust_env=False).json()["answers"]
    return {
        "samples": samples,
        "answers_left": idle,
        "requests": sum(seen.codes.values()),
        "codes": {f"{kind} {code}": count for (kind, code), count in sorted(seen.codes.items())},
        "wrong": len(seen.wrong),
        "wrong_examples": seen.wrong[:20],
    }


def growth(samples: list[tuple[float, float]], warm_up: float) -> dict[str, float]:
    """Return the memory in MiB at the start, after the warm-up, at the end and at most, and how
    much a line through what follows the warm-up rises an hour."""
    last = samples[-1][0]
    warm = [sample for sample in samples if sample[0] >= warm_up * last]
    if len(warm) < 2:
        raise ButlerError("too short to tell: give more --minutes, or fewer --sample-seconds")
    slope = statistics.linear_regression(*zip(*warm, strict=True)).slope
    return {
        "start": samples[0][1],
        "after_warm_up": warm[0][1],
        "end": warm[-1][1],
        "most": max(value for _, value in samples),
        "growth_per_hour": round(slope * 3600, 1),
    }


def main() -> None:
    """Serve, load, print."""
    args = parse_args()
    plan = ServerPlan(
        Path(sys.executable), args.workspace, MODEL, "reference", threads=args.threads
    )
    with tempfile.TemporaryDirectory() as folder, running_server(plan, Path(folder)) as server:
        found = load(server, args)
    found["memory_mib"] = growth(found["samples"], args.warm_up)
    figures = found["memory_mib"] | {
        "requests": found["requests"],
        "wrong status codes": found["wrong"],
        "answers left at the end": found["answers_left"],
    }
    table = markdown(["", "figure"], [[name, value] for name, value in figures.items()])
    publish(record(cores=os.cpu_count(), minutes=args.minutes, **found), args.out, table)


if __name__ == "__main__":
    run_cli(main)
