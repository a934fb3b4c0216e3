"""What fp16's rounding of keys and values alone does to the likelihood of a quantised KV cache.

Two engines that compute in another order differ by such roundings; codes of few bits jump beside a
tie. So this bounds from below how far TurboMind and the reference engine may be apart on a model.

usage: .envs/lmdeploy/bin/python benchmarks/kv_rounding.py --workspace WORKSPACE \
    --held-out build/corpus/test.jsonl
"""

import argparse
import os
from pathlib import Path

import common  # noqa: F401  (puts our package and scripts on the path)
import torch

from butler.arguments import thread_count
from butler.chat_tokenizer import ChatTokenizer
from butler.errors import run_cli
from butler.held_out import mean_nll
from butler.lmdeploy.served_folder import read_folder
from butler.reference import cache, quant
from butler.reference.generate import Engine
from check_agreement import render

HALF_STEP = 2.0**-11  # fp16's largest rounding error, of a value


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, required=True, help="with a quantised KV cache")
    parser.add_argument("--held-out", type=Path, required=True, help="test.jsonl")
    parser.add_argument("--texts", type=int, default=32, help="chats")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--threads", type=thread_count, default=os.cpu_count() or 1)
    args = parser.parse_args()
    tokenizer = ChatTokenizer(args.workspace, trust_remote_code=True)
    session_len = read_folder(args.workspace).settings.session_len
    sequences, _ = render(tokenizer, args.held_out, args.texts, 0, session_len)
    engine = Engine.load(args.workspace, threads=args.threads)

    def nll() -> float:
        return mean_nll([engine.nll(tokens) for tokens in sequences], sequences)

    print(f"{engine.kv}: {nll():.5f} nats a token")
    for seed in range(args.seeds):
        draw = torch.Generator().manual_seed(seed)

        def rounded(
            x: torch.Tensor, bits: int, draw: torch.Generator = draw
        ) -> tuple[torch.Tensor, torch.Tensor]:
            error = (2 * torch.rand(x.shape, generator=draw) - 1) * HALF_STEP
            return quant.quantise_online(x * (1 + error), bits)

        cache.quantise_online = rounded
        print(f"rounded otherwise, seed {seed}: {nll():.5f}", flush=True)


if __name__ == "__main__":
    run_cli(main)
