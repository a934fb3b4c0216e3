"""Measure how far a variant's next token is from fp16's on the answers of held-out conversations.

Both variants, each with the KV cache of its own, are shown the same text by the engine that will
serve. Nothing stops here: the figures inform, and a variant that is far off is named in the report.
"""

import argparse
import csv
import math
from collections.abc import Sequence
from pathlib import Path

import butler.interpreter  # noqa: F401

import torch

from butler.arguments import thread_count
from butler.chat_template import ChatTemplate
from butler.chat_tokenizer import ChatTokenizer
from butler.checks import conclude
from butler.devices import ENGINES, engine_shown, resolve_engine
from butler.divergence import AnswerDivergence, HeldOutAnswer, cut_answers, figures, unit
from butler.errors import ButlerError, run_cli
from butler.files import atomic_open
from butler.held_out import conversations, with_error
from butler.lmdeploy.engine_likelihood import LmdeployServer, add_arguments
from butler.lmdeploy.served_folder import ServedFolder, read_folder
from butler.manifest import check_unchanged
from butler.progress import progress
from butler.reference.likelihood import workspace_likelihoods
from butler.reference.workspace_reader import Workspace

COLUMNS = ("metric", "value", "unit")


def held_out_answers(args: argparse.Namespace, session_len: int) -> list[HeldOutAnswer]:
    """Return the first answers of the first conversations, with what each is asked.

    Raises:
        ButlerError: if no answer fits a session.
    """
    tokenizer = ChatTokenizer(args.workspace, trust_remote_code=True)
    template = ChatTemplate.load(args.chat_template)
    prompts, answers = [], []
    for messages in conversations(args.held_out, args.conversations):
        first = next(n for n, one in enumerate(messages) if one["role"] == "assistant")
        prompts.append(tokenizer.encode_chat(messages[:first]))
        # As it is trained: with what ends the answer.
        answers.append(tokenizer.encode(messages[first]["content"] + template.assistant_end))
    found = cut_answers(prompts, answers, session_len)
    if not found:
        raise ButlerError(
            f"no prompt of {args.held_out} leaves room for an answer in a session of "
            f"{session_len} tokens; raise workspace.session_len"
        )
    return found


def by_reference(
    baseline: ServedFolder, variant: ServedFolder, answers: Sequence[HeldOutAnswer]
) -> list[AnswerDivergence]:
    """Return the divergence of each answer in the reference engine."""
    done: list[int] = []

    def status() -> str:
        return f"{sum(done)} of {2 * len(answers)} conversations through a workspace"

    with progress(f"divergence {variant.path.name}", status):
        found = workspace_likelihoods(
            {"baseline": Workspace(baseline.path), "variant": Workspace(variant.path)},
            [one.tokens for one in answers],
            [one.counted for one in answers],
            lambda name, count: done.append(count),
        )
    before, after = found["baseline"], found["variant"]
    return [
        AnswerDivergence(
            after.divergences[index].tolist(),
            before.losses[index].tolist(),
            after.losses[index].tolist(),
            (before.tops[index] == after.tops[index]).tolist(),
        )
        for index in range(len(answers))
    ]


def by_lmdeploy(
    server: LmdeployServer,
    baseline: ServedFolder,
    variant: ServedFolder,
    answers: Sequence[HeldOutAnswer],
) -> list[AnswerDivergence]:
    """Return the divergence of each answer in LMDeploy, of as many as its scratch file holds."""
    from butler.lmdeploy.engine_divergence import divergences, fitting

    taken = fitting(answers, variant.vocab)
    name = f"divergence {variant.path.name}"
    with progress(name, lambda: f"{len(taken)} conversations through LMDeploy twice"):
        return divergences(server, baseline, variant, taken)


def measure(args: argparse.Namespace, engine: str) -> dict[str, float]:
    """Return the figures of `--workspace` against `--baseline`.

    Raises:
        ButlerError: if the two do not compare, or a likelihood is no finite number.
    """
    baseline, variant = read_folder(args.baseline), read_folder(args.workspace)
    if baseline.vocab != variant.vocab:
        raise ButlerError(
            f"{args.workspace} and {args.baseline} have vocabularies of {variant.vocab} and "
            f"{baseline.vocab} tokens: they are of two models; make both again"
        )
    longest = min(baseline.settings.session_len, variant.settings.session_len)
    answers = held_out_answers(args, longest)
    if engine == "lmdeploy":
        found = by_lmdeploy(LmdeployServer.of(args), baseline, variant, answers)
    else:
        found = by_reference(baseline, variant, answers)
    measured = figures(found)
    broken = [name for name, value in measured.items() if not math.isfinite(value)]
    if broken:
        raise ButlerError(
            f"{broken[0]} of {args.workspace} is no finite number: the engine computes noise; make "
            "it again"
        )
    return measured


def main() -> None:
    """Measure one workspace."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, required=True, help="workspaces/VARIANT")
    parser.add_argument("--baseline", type=Path, required=True, help="what it is compared with")
    parser.add_argument("--variant", required=True, help="its name in the outcome")
    parser.add_argument("--held-out", type=Path, required=True, help="test.jsonl")
    parser.add_argument("--conversations", type=int, default=40, help="at most (%(default)s)")
    parser.add_argument("--chat-template", required=True)
    parser.add_argument("--engine", choices=ENGINES, default="reference")
    add_arguments(parser)
    parser.add_argument("--threads", type=thread_count, default=2)
    parser.add_argument("--out", type=Path, required=True, help="CSV to write")
    parser.add_argument("--check", type=Path, required=True, help="JSON to write of the outcome")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    checked = check_unchanged(args.baseline) | check_unchanged(args.workspace)
    engine = resolve_engine(args.engine)
    measured = measure(args, engine)
    shown = engine_shown(engine, read_folder(args.workspace).backend)
    with atomic_open(args.out) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows((name, value, unit(name)) for name, value in measured.items())
    moved = with_error(measured["nll_change"], measured.get("nll_change_se", 0.0))
    sentence = (
        f"the likeliest next token is {args.baseline.name}'s in {measured['same_top']:.2f} % of "
        f"{measured['tokens']:,} places, mean KL {measured['kl_mean']:.5f} nats, mean NLL {moved} "
        f"({measured['conversations']} conversations through {shown})"
    )
    conclude(
        args.check,
        f"divergence_{args.variant}",
        True,  # it informs, and stops nothing
        sentence,
        measured | {"engine": shown},
        {},
        [args.out],
        checked,
    )


if __name__ == "__main__":
    run_cli(main)
