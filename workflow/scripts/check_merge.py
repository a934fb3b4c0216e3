"""Check the merged model: its logits against those of the base with the adapter beside it.

Both run in fp32. The merged weights went through fp16, so the two differ by its rounding; merging
onto the quantised base, or with a wrong scale, differs by far more.
"""

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import torch

from butler.chat_template import ChatTemplate
from butler.checks import conclude
from butler.errors import run_cli
from butler.held_out import rendered


def logits(model: Any, batch: list[torch.Tensor]) -> list[torch.Tensor]:
    """Return the logits of each sequence, [tokens, vocabulary]."""
    with torch.inference_mode():
        return [model(input_ids=ids, use_cache=False).logits[0].float() for ids in batch]


def largest_difference(some: list[torch.Tensor], others: list[torch.Tensor]) -> float:
    """Return the largest absolute difference between two lists of tensors of the same shapes."""
    # torch's max keeps a NaN, Python's loses it.
    pairs = zip(some, others, strict=True)
    return float(torch.stack([(a - b).abs().max() for a, b in pairs]).max())


def compare(base: Path, adapter: Path, merged: Path, texts: list[str]) -> dict[str, float]:
    """Return the largest logit difference and the standard deviation of the logits."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(merged), trust_remote_code=True)
    batch = [torch.tensor([tokenizer.encode(text)[:512]]) for text in texts]
    options: dict[str, Any] = {"trust_remote_code": True, "torch_dtype": torch.float32}
    model = AutoModelForCausalLM.from_pretrained(str(base), **options).eval()
    plain = logits(model, batch)
    beside = logits(PeftModel.from_pretrained(model, str(adapter)).eval(), batch)
    del model
    model = AutoModelForCausalLM.from_pretrained(str(merged), **options).eval()
    inside = logits(model, batch)
    spread = float(torch.cat(beside).std())
    return {
        "max_difference": largest_difference(beside, inside),
        "adapter_effect": largest_difference(beside, plain),
        "logit_std": spread,
        "tokens": sum(ids.shape[1] for ids in batch),
    }


def main() -> None:
    """Check one merge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--adapter", type=Path, required=True)
    parser.add_argument("--merged", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, required=True, help="test.jsonl")
    parser.add_argument("--chat-template", required=True)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=float, required=True, help="share of the logits' std")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    texts = rendered(args.held_out, args.samples, ChatTemplate.load(args.chat_template))
    with tempfile.TemporaryDirectory() as cache:
        os.environ["HF_HOME"] = cache
        measured = compare(args.base, args.adapter, args.merged, texts)
    share = measured["max_difference"] / measured["logit_std"]
    conclude(
        args.out,
        "merge",
        share <= args.limit,
        f"the merged model's logits differ from base + adapter by {share:.4f} of their standard "
        f"deviation at most (limit {args.limit})",
        measured | {"share": share},
        {"share": args.limit},
    )


if __name__ == "__main__":
    run_cli(main)
