"""Check the int8 KV cache: what it costs in likelihood of held-out text, and its static parameters.

The online scheme is the one that TurboMind serves, so its cost decides; the static scheme of the
same workspace is measured beside it.
"""

import argparse
from pathlib import Path

from butler.chat_template import ChatTemplate
from butler.checks import conclude
from butler.errors import run_cli
from butler.held_out import rendered
from butler.manifest import verify_manifest
from butler.reference.generate import Engine
from butler.reference.tokenizer import ChatTokenizer

SCHEMES = ("fp16", "online", "static")


def measure(args: argparse.Namespace) -> dict[str, float]:
    """Return the mean NLL per token with each kind of cache, and the bytes it takes a token."""
    verify_manifest(args.workspace)
    tokenizer = ChatTokenizer(args.workspace, trust_remote_code=True)
    texts = rendered(args.held_out, args.samples, ChatTemplate.load(args.chat_template))
    measured: dict[str, float] = {}
    for scheme in SCHEMES:
        engine = Engine.load(args.workspace, kv=scheme, threads=args.threads)
        sequences = [tokenizer.encode(text)[: engine.workspace.session_len] for text in texts]
        weights = [len(tokens) - 1 for tokens in sequences]
        total = sum(engine.nll(t) * w for t, w in zip(sequences, weights, strict=True))
        measured[f"nll_{scheme}"] = total / sum(weights)
        measured[f"bytes_per_token_{scheme}"] = engine.new_cache().bytes_per_token()
    measured["online_difference"] = abs(measured["nll_online"] - measured["nll_fp16"])
    measured["static_difference"] = abs(measured["nll_static"] - measured["nll_fp16"])
    return measured


def main() -> None:
    """Check one kv8 workspace."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, required=True, help="test.jsonl")
    parser.add_argument("--chat-template", required=True)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=float, required=True, help="nats per token, online")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    measured = measure(args)
    conclude(
        args.out,
        args.workspace.name,
        measured["online_difference"] <= args.limit,
        f"the int8 cache moves the mean NLL by {measured['online_difference']:.5f} online and "
        f"{measured['static_difference']:.5f} with static parameters (limit {args.limit} online)",
        measured,
        {"online_difference": args.limit},
    )


if __name__ == "__main__":
    run_cli(main)
