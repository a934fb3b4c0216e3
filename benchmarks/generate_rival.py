"""The rival of the serving benchmark: `generate` of transformers on the same shape.

A LLaMA of the same sizes, which computes the same as an InternLM2 and needs no code of its own,
with random fp16 weights made on the GPU; SDPA attention, greedy, all prompts of one length and
all answers too, so that no place in a batch ever stands empty: its best case.

usage: .envs/lmdeploy/bin/python benchmarks/generate_rival.py [--batches 1 64]
"""

import argparse
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from common import ButlerError, publish, record
from random_bases import Shape, add_shape, shape_of

from butler.errors import run_cli

WARM_TOKENS = 4


def build(shape: Shape) -> Any:
    """Return the model on the GPU, its weights random of mean 0."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=shape.vocab,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=4096,
        rope_theta=1e6,
        attn_implementation="sdpa",
    )
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float16)
    with torch.device("cuda"):
        model = LlamaForCausalLM(config)
    torch.set_default_dtype(before)
    model.generation_config.eos_token_id = None
    return model.eval()


def timed(model: Any, vocab: int, batch: int, prompt_tokens: int, new_tokens: int) -> float:
    """Return the seconds of one batch of answers, reading included."""
    import torch

    ids = torch.randint(vocab, (batch, prompt_tokens), device="cuda")
    fixed = {"do_sample": False, "pad_token_id": 0, "attention_mask": torch.ones_like(ids)}
    for tokens in (WARM_TOKENS, new_tokens):
        torch.cuda.synchronize()
        start = time.perf_counter()
        with torch.inference_mode():
            out = model.generate(ids, min_new_tokens=tokens, max_new_tokens=tokens, **fixed)
        torch.cuda.synchronize()
        seconds = time.perf_counter() - start
        if out.shape[1] != prompt_tokens + tokens:
            raise ButlerError("transformers' generate stopped early")
    return seconds


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--new-tokens", type=int, default=256)
    parser.add_argument("--out", type=Path)
    add_shape(parser)
    args = parser.parse_args()
    import torch

    if not torch.cuda.is_available():
        raise ButlerError("torch finds no CUDA GPU; run this where there is one")
    shape = shape_of(args)
    model = build(shape)
    found = {}
    for batch in args.batches:
        seconds = timed(model, shape.vocab, batch, args.prompt_tokens, args.new_tokens)
        found[f"throughput_{batch}"] = round(batch * args.new_tokens / seconds, 1)
    found["peak_memory_bytes"] = torch.cuda.max_memory_reserved()
    publish(record(generate=found), args.out)


if __name__ == "__main__":
    run_cli(main)
