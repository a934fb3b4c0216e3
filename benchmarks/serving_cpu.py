"""First token and tokens/s of the reference engine's API, one chat and several at a time.

Starts workflow/scripts/serve.py on a workspace and asks it over HTTP, streaming, with the sampling
that the API has by default. Each figure is the median of the repeats.

usage: .envs/lmdeploy/bin/python benchmarks/serving_cpu.py --workspace workspaces/w4kv8
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
from common import markdown, publish, record
from serving_load import MODEL, QUESTIONS

from butler.arguments import thread_count
from butler.errors import run_cli
from butler.serve.model_server import ServerPlan, running_server


def parse_args() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--workspace", type=Path, required=True)
    add("--chats", type=int, nargs="+", default=[1, 8], help="at a time")
    add("--new-tokens", type=int, default=96, help="most of an answer")
    add("--repeats", type=int, default=5)
    add("--threads", type=thread_count, help="of the server; default: what it finds fastest")
    add("--out", type=Path, help="JSON; the table goes beside it as Markdown")
    return parser.parse_args()


def ask(client: httpx.Client, question: str, tokens: int) -> tuple[float, int]:
    """Return seconds to the first text and tokens of one streamed answer."""
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": question}],
        "max_tokens": tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    start, first, usage = time.perf_counter(), 0.0, 0
    with client.stream("POST", "/v1/chat/completions", json=body) as answer:
        answer.raise_for_status()
        for line in answer.iter_lines():
            if not line.startswith("data: {"):
                continue
            chunk = json.loads(line.removeprefix("data: "))
            if not first and chunk["choices"] and chunk["choices"][0]["delta"].get("content"):
                first = time.perf_counter() - start
            usage = (chunk.get("usage") or {}).get("completion_tokens", usage)
    return first, usage


def load(client: httpx.Client, chats: int, tokens: int) -> dict[str, float]:
    """Ask `chats` questions at once; return the slowest first token and all tokens per second."""
    questions = [QUESTIONS[i % len(QUESTIONS)] for i in range(chats)]
    start = time.perf_counter()
    with ThreadPoolExecutor(chats) as pool:
        answers = list(pool.map(lambda question: ask(client, question, tokens), questions))
    seconds = time.perf_counter() - start
    return {
        "first_token_s": max(first for first, _ in answers),
        "tokens_per_s": sum(count for _, count in answers) / seconds,
    }


def measure(client: httpx.Client, args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Return the medians by number of chats; the first round warms up."""
    rounds: dict[int, list[dict[str, float]]] = {chats: [] for chats in args.chats}
    for _ in range(args.repeats + 1):
        for chats in args.chats:
            rounds[chats].append(load(client, chats, args.new_tokens))
    return {
        str(chats): {
            key: round(statistics.median(one[key] for one in found[1:]), 4) for key in found[0]
        }
        for chats, found in rounds.items()
    }


def main() -> None:
    """Serve, measure, print."""
    args = parse_args()
    plan = ServerPlan(
        Path(sys.executable), args.workspace, MODEL, "reference", threads=args.threads
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        running_server(plan, Path(folder)) as server,
        # One client: to make one costs a core tens of milliseconds.
        httpx.Client(base_url=server.url, timeout=600, trust_env=False) as client,
    ):
        found = measure(client, args)
    alone = found[str(min(args.chats))]["tokens_per_s"]
    table = markdown(
        ["chats at a time", "first token s, slowest", "tokens/s", "of one chat"],
        [
            [
                n,
                f"{v['first_token_s']:.3f}",
                f"{v['tokens_per_s']:.0f}",
                f"{v['tokens_per_s'] / alone:.1f}",
            ]
            for n, v in found.items()
        ],
    )
    load_average = round(os.getloadavg()[0], 2)
    publish(record(cores=os.cpu_count(), load_average=load_average, chats=found), args.out, table)


if __name__ == "__main__":
    run_cli(main)
