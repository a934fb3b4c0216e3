"""Questions/s of the reference engine on 5-shot C-Eval, with and without running what they share.

Both ways in turn on the same prompts and the same weights in memory; the answers must be equal.

usage: .envs/lmdeploy/bin/python benchmarks/shared_prefixes.py --workspace workspaces/fp16 \\
    --ceval data/demo/ceval --subjects law
"""

import argparse
import csv
import os
import time
from pathlib import Path

import torch
from common import ButlerError, markdown, publish, record

from butler.arguments import thread_count
from butler.chat_tokenizer import ChatTokenizer
from butler.errors import run_cli
from butler.reference.batch import RunningBatch
from butler.reference.generate import Engine
from butler.reference.prefixes import PREFIX_BYTES
from butler.reference.sampling import SamplingParams
from butler.reference.workspace_reader import Workspace

SHOTS = 5


def parse_args() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--workspace", type=Path, required=True)
    add("--ceval", type=Path, required=True, help="folder with dev and val")
    add("--subjects", nargs="+", required=True)
    add("--questions", type=int, default=8, help="of each subject")
    add("--new-tokens", type=int, default=8)
    add("--kv", help="default: the workspace's")
    add("--threads", type=thread_count, default=2)
    add("--out", type=Path, help="JSON; the table goes beside it as Markdown")
    return parser.parse_args()


def rows(path: Path) -> list[dict[str, str]]:
    """Read one of C-Eval's files."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


def chat(examples: list[dict[str, str]], question: dict[str, str]) -> list[dict[str, str]]:
    """Return a question behind its examples, turn by turn, worded as OpenCompass' ceval_gen is."""
    turns = []
    for one in [*examples, question]:
        choices = "\n".join(f"{letter}. {one[letter]}" for letter in "ABCD")
        text = f"以下是中国考试的单项选择题，请选出其中的正确答案。\n{one['question']}\n"
        text += f"{choices}\n答案: "
        turns += [
            {"role": "user", "content": text},
            {"role": "assistant", "content": one["answer"]},
        ]
    return turns[:-1]


def read_prompts(args: argparse.Namespace, tokenizer: ChatTokenizer) -> list[list[int]]:
    """Return the prompts, subject by subject."""
    prompts = []
    for subject in args.subjects:
        examples = rows(args.ceval / "dev" / f"{subject}_dev.csv")[:SHOTS]
        asked = rows(args.ceval / "val" / f"{subject}_val.csv")[: args.questions]
        prompts += [tokenizer.encode_chat(chat(examples, one)) for one in asked]
    return prompts


def answer(
    engine: Engine, args: argparse.Namespace, prompts: list[list[int]], prefix_bytes: int
) -> tuple[float, list[list[int]]]:
    """Return the seconds that all answers took, and their tokens."""
    session = engine.workspace.session_len
    batch = RunningBatch(engine.decoder, engine.new_cache(), session, 16, prefix_bytes)
    params = SamplingParams(max_new_tokens=args.new_tokens)
    start = time.perf_counter()
    answers = [batch.submit(prompt, params, frozenset()) for prompt in prompts]
    while len(batch):
        batch.step()
    return time.perf_counter() - start, [one.tokens for one in answers]


def main() -> None:
    """Measure both."""
    args = parse_args()
    torch.set_num_threads(args.threads)
    tokenizer = ChatTokenizer(args.workspace)
    engine = Engine(Workspace(args.workspace), args.kv)
    prompts = read_prompts(args, tokenizer)
    found = {}
    for name, prefix_bytes in (("whole prompts", 0), ("shared prefixes", PREFIX_BYTES)):
        answer(engine, args, prompts[:1], prefix_bytes)  # the first run pays for allocations
        found[name] = answer(engine, args, prompts, prefix_bytes)
    (slow, said), (fast, same) = found.values()
    if said != same:
        raise ButlerError("the answers differ")
    ratio = slow / fast
    table = markdown(
        ["prefill", "questions/s", "of whole prompts"],
        [
            [name, f"{len(prompts) / seconds:.3f}", f"{slow / seconds:.1f}"]
            for name, (seconds, _) in found.items()
        ],
    )
    tokens = sum(map(len, prompts)) / len(prompts)
    figures = {"questions": len(prompts), "mean_prompt_tokens": tokens, "ratio": ratio}
    load_average = round(os.getloadavg()[0], 2)
    publish(record(cores=os.cpu_count(), load_average=load_average, **figures), args.out, table)


if __name__ == "__main__":
    run_cli(main)
