"""Compare TurboMind with the reference engine on one workspace: likelihoods and greedy answers.

Runs in the environment of LMDeploy on a CUDA machine; the reference engine stays on the CPU. Both
get the same tokens. Writes a JSON with the figures, the limits and what they were measured on.
"""

import argparse
import asyncio
import json
import os
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import butler.interpreter  # noqa: F401

import torch

from butler.arguments import thread_count
from butler.chat_tokenizer import ChatTokenizer
from butler.checks import conclude
from butler.errors import run_cli
from butler.held_out import conversations, mean_nll
from butler.lmdeploy.commands import engine_options
from butler.lmdeploy.engine_likelihood import lmdeploy_pipeline, mean_losses
from butler.lmdeploy.guards import check_machine, resolve_tp
from butler.lmdeploy.release import check_installed, installed_version
from butler.lmdeploy.served_folder import ServedFolder, read_folder
from butler.progress import progress
from butler.reference.generate import Engine
from butler.reference.sampling import SamplingParams

FIRST = 32  # tokens of an answer that are compared

Tokens = list[int]


def render(
    tokenizer: ChatTokenizer, held_out: Path, texts: int, questions: int, session_len: int
) -> tuple[list[Tokens], list[Tokens]]:
    """Return the tokens of whole held-out chats, and those of questions alone."""
    chats = conversations(held_out, max(texts, questions))
    prompts = [tokenizer.encode_chat(chat[:-1]) for chat in chats]
    answers = [tokenizer.encode(chat[-1]["content"]) for chat in chats]
    whole = [(a + b)[:session_len] for a, b in zip(prompts, answers, strict=True)]
    return whole[:texts], [p for p in prompts[:questions] if len(p) + FIRST <= session_len]


def by_reference(
    engine: Engine, sequences: list[Tokens], prompts: list[Tokens], stops: list[int]
) -> tuple[list[float], list[Tokens]]:
    """Return each sequence's mean NLL and each prompt's greedy answer from our engine."""
    nll = [engine.nll(tokens) for tokens in sequences]
    answers = engine.generate(prompts, SamplingParams(max_new_tokens=FIRST), stops)
    return nll, [answer.tokens for answer in answers]


def by_turbomind(
    folder: ServedFolder, sequences: list[Tokens], prompts: list[Tokens], stops: list[int]
) -> tuple[list[float], list[Tokens]]:
    """Return the same from TurboMind, on token ids, so that no template is between."""
    options = engine_options(folder, resolve_tp(folder, None), folder.settings.session_len)
    with lmdeploy_pipeline(folder.path, max_batch_size=max(len(prompts), 1), **options) as pipe:
        nll = mean_losses(pipe, sequences)
        return nll, pipe._run(coro=greedy(pipe, prompts, stops)).result()


async def greedy(pipe: Any, prompts: list[Tokens], stops: list[int]) -> list[Tokens]:
    """Answer all prompts at once, each up to a stop token, which is left out."""
    from lmdeploy import GenerationConfig

    config = GenerationConfig(
        max_new_tokens=FIRST, top_k=1, temperature=1.0, stop_token_ids=list(stops)
    )

    async def answer(number: int, prompt: Tokens) -> Tokens:
        tokens: Tokens = []
        async with (
            pipe.model_inst(session_id=number) as instance,
            pipe.safe_run(
                instance,
                session_id=number,
                input_ids=prompt,
                gen_config=config,
                stream_output=False,
                sequence_start=True,
                sequence_end=True,
                step=0,
            ) as outputs,
        ):
            async for output in outputs:
                tokens = list(output.token_ids)
        return tokens[:-1] if tokens and tokens[-1] in stops else tokens

    return await asyncio.gather(*(answer(n, p) for n, p in enumerate(prompts, start=1)))


def identical_share(ours: Sequence[Tokens], theirs: Sequence[Tokens]) -> tuple[float, int]:
    """Return the share of equal tokens among the first FIRST of each answer, and their number.

    Where one answer is longer, what it has more counts as different.
    """
    equal = total = 0
    for one, other in zip(ours, theirs, strict=True):
        one, other = one[:FIRST], other[:FIRST]
        equal += sum(a == b for a, b in zip(one, other, strict=False))
        total += max(len(one), len(other))
    return equal / total if total else 1.0, total


def measure(args: argparse.Namespace) -> tuple[dict[str, Any], dict[str, float]]:
    """Return the figures and the limits that hold for the workspace's KV cache."""
    folder = read_folder(args.workspace)
    check_installed(folder.release, installed_version())
    check_machine(folder, resolve_tp(folder, None), folder.settings.session_len)
    tokenizer = ChatTokenizer(args.workspace, trust_remote_code=True)
    stops = sorted(tokenizer.stop_ids)
    sequences, prompts = render(
        tokenizer, args.held_out, args.texts, args.questions, folder.settings.session_len
    )
    engine = Engine.load(args.workspace, threads=args.threads)
    step = "the reference engine"
    with progress("check agreement", lambda: f"asking {step}"):
        ours = by_reference(engine, sequences, prompts, stops)
        step = "TurboMind"
        theirs = by_turbomind(folder, sequences, prompts, stops)
    nll = mean_nll(ours[0], sequences), mean_nll(theirs[0], sequences)
    share, compared = identical_share(ours[1], theirs[1])
    limits = {"difference": folder.kv.agreement, "identical_share": folder.kv.identical}
    return {
        "nll_reference": nll[0],
        "nll_turbomind": nll[1],
        "difference": abs(nll[0] - nll[1]),
        "largest_difference": max(abs(a - b) for a, b in zip(ours[0], theirs[0], strict=True)),
        "tokens": sum(len(tokens) - 1 for tokens in sequences),
        "identical_share": share,
        # TurboMind 0.7.3 gives one token more than it is asked for.
        "identical_answers": sum(
            a[:FIRST] == b[:FIRST] for a, b in zip(ours[1], theirs[1], strict=True)
        ),
        "answers": len(prompts),
        "answer_tokens": compared,
        "kv": engine.kv,
        # Of our cache's tensors; measure_efficiency.py has what TurboMind's takes by GPU memory.
        "kv_bytes_per_token": engine.new_cache().bytes_per_token(),
        **provenance(),
    }, limits


def provenance() -> dict[str, str]:
    """Return on what and with what the figures were measured."""
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "gpu": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "lmdeploy": installed_version() or "",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def main() -> None:
    """Compare one workspace."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, required=True, help="test.jsonl")
    parser.add_argument("--texts", type=int, default=32, help="chats whose likelihood is compared")
    parser.add_argument("--questions", type=int, default=40, help="questions that are answered")
    parser.add_argument("--threads", type=thread_count, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    measured, limits = measure(args)
    passed = (
        measured["difference"] <= limits["difference"]
        and measured["identical_share"] >= limits["identical_share"]
    )
    sentence = (
        f"mean NLL {measured['nll_turbomind']:.5f} in TurboMind, {measured['nll_reference']:.5f} "
        f"in the reference engine (difference {measured['difference']:.5f}, limit "
        f"{limits['difference']}); {measured['identical_share']:.1%} of the first {FIRST} tokens "
        f"of {measured['answers']} answers are identical (limit {limits['identical_share']:.0%}); "
        f"the {measured['kv']} cache takes {measured['kv_bytes_per_token']:,} bytes a token"
    )
    print(json.dumps(measured, ensure_ascii=False))
    conclude(args.out, f"agreement_{args.workspace.name}", passed, sentence, measured, limits)


if __name__ == "__main__":
    run_cli(main)
