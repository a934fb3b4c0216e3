"""Check a quantised KV cache: what it costs in likelihood of held-out text, and what it saves.

The workspace's own scheme is the one that TurboMind serves, so its cost decides. Where static
parameters lie beside the weights, what they would cost is measured too and decides nothing.
"""

import argparse
from pathlib import Path

from butler.chat_template import ChatTemplate
from butler.chat_tokenizer import ChatTokenizer
from butler.checks import conclude
from butler.errors import ButlerError, run_cli
from butler.held_out import mean_nll, rendered
from butler.manifest import verify_manifest
from butler.reference.generate import Engine
from butler.schemes import BASELINE, VARIANTS

PLAIN = VARIANTS[BASELINE].kv.name  # what the others are compared with


def measure(args: argparse.Namespace) -> tuple[str, dict[str, float]]:
    """Return the workspace's scheme and, for each kind of cache, mean NLL and bytes of a token.

    `difference` is how far the scheme's mean NLL per token lies from the plain cache's, in nats;
    `static_difference` that of the static parameters, where there are any.
    """
    verify_manifest(args.workspace)
    tokenizer = ChatTokenizer(args.workspace, trust_remote_code=True)
    texts = rendered(args.held_out, args.samples, ChatTemplate.load(args.chat_template))
    engine = Engine.load(args.workspace, threads=args.threads)
    workspace = engine.workspace
    if not workspace.kv.quantised:
        raise ButlerError(
            f"{args.workspace} has a KV cache in {workspace.kv.name}: there is nothing to check"
        )
    sequences = [tokenizer.encode(text)[: workspace.session_len] for text in texts]
    kinds = {"difference": engine.kv}
    if workspace.has_kv_scales():
        kinds["static_difference"] = "static"
    measured: dict[str, float] = {}
    for kind in (PLAIN, *kinds.values()):
        one = engine.with_kv(kind)
        measured[f"nll_{kind}"] = mean_nll([one.nll(t) for t in sequences], sequences)
        measured[f"bytes_per_token_{kind}"] = one.new_cache().bytes_per_token()
    plain = measured[f"nll_{PLAIN}"]
    measured |= {name: abs(measured[f"nll_{kind}"] - plain) for name, kind in kinds.items()}
    return engine.kv, measured


def main() -> None:
    """Check one workspace."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, required=True, help="test.jsonl")
    parser.add_argument("--chat-template", required=True)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=float, required=True, help="nats per token")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    scheme, measured = measure(args)
    sentence = (
        f"the {scheme} cache moves the mean NLL by {measured['difference']:.5f} "
        f"(limit {args.limit}) and takes {measured[f'bytes_per_token_{scheme}']:,} bytes a token "
        f"in place of {measured[f'bytes_per_token_{PLAIN}']:,}"
    )
    if "static_difference" in measured:
        sentence += f"; static parameters would move it by {measured['static_difference']:.5f}"
    conclude(
        args.out,
        args.workspace.name,
        measured["difference"] <= args.limit,
        sentence,
        measured,
        {"difference": args.limit},
    )


if __name__ == "__main__":
    run_cli(main)
