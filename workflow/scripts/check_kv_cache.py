"""Check a quantised KV cache: what it costs in likelihood of held-out text, and what it saves.

One set of weights is asked twice, with the variant's own cache through the engine that will serve
it, and with a plain one through the engine that the weights were checked in: another that loads
noise would have it with either cache. Where static parameters lie beside the weights, what they
would cost is measured in the reference engine and decides nothing.
"""

import argparse
from pathlib import Path
from typing import Any

import butler.interpreter  # noqa: F401

import torch

from butler.arguments import thread_count
from butler.chat_template import ChatTemplate
from butler.chat_tokenizer import ChatTokenizer
from butler.checks import conclude
from butler.devices import ENGINES, engine_shown, resolve_engine
from butler.errors import ButlerError, run_cli
from butler.held_out import SAMPLES, mean_difference, mean_nll, token_ids, with_error
from butler.lmdeploy.engine_likelihood import LmdeployServer, add_arguments, likelihoods
from butler.lmdeploy.release import quant_policy
from butler.lmdeploy.served_folder import ServedFolder, read_folder
from butler.manifest import check_unchanged
from butler.progress import progress
from butler.reference.likelihood import StreamingEngine
from butler.reference.workspace_reader import Workspace
from butler.schemes import BACKENDS, BASELINE, KV_CACHES, VARIANTS

PLAIN = VARIANTS[BASELINE].kv.name  # what the others are compared with

Sequences = list[list[int]]


def by_reference(
    workspace: Workspace, sequences: Sequences, kinds: list[str]
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Return each sequence's mean NLL, and the mean divergence from the first kind, in nats."""
    done = []
    total = len(kinds) * len(sequences)

    def status() -> str:
        return f"{sum(done)} of {total} conversations through a cache"

    with progress("check kv cache", status):
        found = StreamingEngine(workspace).likelihoods(
            sequences, kinds, lambda kind, count: done.append(count)
        )
    losses = {kind: [float(one.mean()) for one in of.losses] for kind, of in found.items()}
    divergences = {kind: float(torch.cat(of.divergences).mean()) for kind, of in found.items()}
    return losses, divergences


def by_lmdeploy(
    server: LmdeployServer,
    folder: ServedFolder,
    sequences: Sequences,
    kinds: list[str],
    judged: str | None = None,
) -> dict[str, list[float]]:
    """Return each sequence's mean NLL by LMDeploy, its cache held in each of the kinds.

    `judged` is the engine that the weights were checked in, and the plain cache's; None: the
    folder's.
    """
    found: dict[str, list[float]] = {}
    with progress("check kv cache", lambda: f"LMDeploy, {len(found)} of {len(kinds)} caches done"):
        for kind in kinds:
            policy = quant_policy(KV_CACHES[kind], server.release)
            backend = judged if judged and kind == PLAIN else folder.backend
            found[kind] = likelihoods(server, folder.path, sequences, policy, backend)
    return found


def measure(args: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """Return the KV cache's scheme and, for each kind of cache, mean NLL and bytes of a token.

    `difference` is how much higher the scheme's mean NLL per token is than the plain cache's, in
    nats, with its `standard_error` over the conversations, and `divergence` the mean of
    KL(plain ‖ scheme) over the tokens, where the reference engine shows the logits;
    `static_difference` is that of the static parameters, where there are any.
    """
    folder = read_folder(args.workspace)
    scheme = folder.kv.name
    if not folder.kv.quantised:
        raise ButlerError(f"{args.workspace} has a KV cache in {scheme}: there is nothing to check")
    engine = resolve_engine(args.engine)
    # A model folder never has static parameters, nor is it read by the reference engine.
    workspace = Workspace(args.workspace) if folder.release.workspaces else None
    template = ChatTemplate.load(args.chat_template)
    tokenizer = ChatTokenizer(args.workspace, trust_remote_code=True)
    count, longest = args.samples or SAMPLES[engine], folder.settings.session_len
    sequences = token_ids(args.held_out, count, template, tokenizer, longest)
    static = ["static"] if workspace and workspace.has_kv_scales() else []
    if engine == "lmdeploy":
        server = LmdeployServer.of(args)
        losses = by_lmdeploy(server, folder, sequences, [PLAIN, scheme], args.backend)
        measured: dict[str, Any] = {f"engine_{PLAIN}": args.backend or folder.backend}
        few = sequences[: SAMPLES["reference"]]
        shown = by_reference(workspace, few, [PLAIN, *static])[0] if workspace and static else {}
    else:
        workspace = workspace or Workspace(args.workspace)  # which says what it is not
        shown, divergences = by_reference(workspace, sequences, [PLAIN, scheme, *static])
        losses = shown
        measured = {f"engine_{PLAIN}": engine, "divergence": divergences[scheme]}
    difference, error = mean_difference(losses[PLAIN], losses[scheme], sequences)
    measured |= {"difference": difference, "standard_error": error}
    if static:
        part = sequences[: len(shown["static"])]
        measured["static_difference"] = mean_difference(shown[PLAIN], shown["static"], part)[0]
        measured["nll_static"] = mean_nll(shown["static"], part)
    for kind in (PLAIN, scheme):
        measured[f"nll_{kind}"] = mean_nll(losses[kind], sequences)
        measured[f"bytes_per_token_{kind}"] = folder.shape.kv_bytes_per_token(KV_CACHES[kind])
    tokens = sum(len(one) - 1 for one in sequences)
    asked = {"engine": engine_shown(engine, folder.backend), "sequences": len(sequences)}
    return scheme, measured | asked | {"tokens": tokens}


def main() -> None:
    """Check one variant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, required=True, help="workspaces/VARIANT")
    parser.add_argument("--held-out", type=Path, required=True, help="test.jsonl")
    parser.add_argument("--chat-template", required=True)
    parser.add_argument("--engine", choices=ENGINES, default="reference")
    add_arguments(parser)
    judged = "LMDeploy's engine that the weights were checked in; default: the folder's"
    parser.add_argument("--backend", choices=BACKENDS, help=judged)
    parser.add_argument("--samples", type=int, help="conversations; default: by the engine")
    parser.add_argument("--threads", type=thread_count, default=2)
    parser.add_argument("--limit", type=float, required=True, help="nats per token")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    checked = check_unchanged(args.workspace)
    scheme, measured = measure(args)
    moved = with_error(measured["difference"], measured["standard_error"])
    engine, plain = measured["engine"], measured[f"engine_{PLAIN}"]
    through = engine if engine == plain else f"{engine}, with {PLAIN} through {plain}"
    sentence = (
        f"the {scheme} cache moves the mean NLL by {moved} (limit {args.limit}; "
        f"{measured['sequences']} conversations through {through}) and takes "
        f"{measured[f'bytes_per_token_{scheme}']:,} bytes a token in place of "
        f"{measured[f'bytes_per_token_{PLAIN}']:,}"
    )
    if "static_difference" in measured:
        sentence += f"; static parameters would move it by {measured['static_difference']:+.5f}"
    # A cache that raises the likelihood has cost nothing, and passes.
    conclude(
        args.out,
        args.workspace.name,
        measured["difference"] <= args.limit,
        sentence,
        measured,
        {"difference": args.limit},
        manifests=checked,
    )


if __name__ == "__main__":
    run_cli(main)
