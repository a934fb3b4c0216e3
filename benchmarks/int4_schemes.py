"""4-bit folders of one model beside each other: likelihood, divergence and bytes.

Each folder's weights are dequantised, so that all are computed alike, in fp32 on a CPU by
transformers; plain rounding to GPTQ's codes is the rival that both have to beat.

usage: .envs/lmdeploy/bin/python benchmarks/int4_schemes.py --merged build/merged
           --held-out build/corpus/test.jsonl --chat-template internlm2_chat build/awq build/gptq
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))

import torch

from butler.arguments import thread_count
from butler.chat_template import ChatTemplate
from butler.chat_tokenizer import ChatTokenizer
from butler.errors import run_cli
from butler.gptq_errors import rounded
from butler.held_out import LONGEST, mean_difference, mean_nll, token_ids
from butler.hf_folder import ModelTensors, keep_old_cache
from butler.lmdeploy.packed_weights import DequantisedTensors, quantised_layers
from butler.settings.serving_stage import AwqSettings

Sequences = list[list[int]]


class PlainRounding:
    """The merged model's tensors, the linear ones rounded to the nearest of GPTQ's codes."""

    def __init__(self, merged: ModelTensors, linears: set[str]) -> None:
        self._merged, self._linears = merged, linears

    def __getitem__(self, name: str) -> torch.Tensor:
        found = self._merged[name].float()
        return rounded(found, AwqSettings().group_size) if name in self._linears else found


def distributions(model: Any, weights: Any, names: list[str], texts: Sequences) -> list[Any]:
    """Return the log-probabilities of each next token, fp32 [tokens − 1, vocabulary] a text."""
    model.load_state_dict({name: weights[name].float() for name in names}, strict=False)
    model.tie_weights()
    shown = (model(torch.tensor([text]), use_cache=False).logits[0, :-1] for text in texts)
    return [torch.log_softmax(one, -1) for one in shown]


def losses(found: list[Any], texts: Sequences) -> list[float]:
    """Return each text's mean NLL."""
    pairs = zip(found, texts, strict=True)
    return [float(-one.gather(1, torch.tensor(ids[1:])[:, None]).mean()) for one, ids in pairs]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--merged", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, required=True, help="test.jsonl")
    parser.add_argument("--chat-template", required=True)
    parser.add_argument("--samples", type=int, default=40, help="conversations")
    parser.add_argument("--threads", type=thread_count, default=2)
    parser.add_argument("folders", type=Path, nargs="+", help="of 4-bit weights")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["HF_HOME"] = cache
        from transformers import AutoConfig, AutoModelForCausalLM

        keep_old_cache(args.merged)
        config = AutoConfig.from_pretrained(str(args.merged), trust_remote_code=True)
        model = AutoModelForCausalLM.from_config(
            config, trust_remote_code=True, torch_dtype=torch.float32
        ).eval()
    tokenizer = ChatTokenizer(args.merged, trust_remote_code=True)
    template = ChatTemplate.load(args.chat_template)
    texts = token_ids(args.held_out, args.samples, template, tokenizer, LONGEST)
    merged = ModelTensors(args.merged)
    names = merged.names()
    before = distributions(model, merged, names, texts)
    of_merged = losses(before, texts)
    tokens = sum(len(ids) - 1 for ids in texts)
    print(f"{tokens} tokens of {len(texts)} conversations; merged: NLL ", end="")
    print(f"{mean_nll(of_merged, texts):.4f}")
    print("| weights | MiB | NLL − merged | KL(merged ‖ it) | same top token |")
    print("| --- | ---: | ---: | ---: | ---: |")
    linears = {f"{name}.weight" for name in quantised_layers(ModelTensors(args.folders[0]).names())}
    compared = [("plain rounding", "", PlainRounding(merged, linears))]
    for folder in args.folders:
        size = sum(path.stat().st_size for path in folder.glob("*.safetensors")) / 2**20
        compared.append((folder.name, f"{size:,.1f}", DequantisedTensors(folder)))
    for name, size, weights in compared:
        after = distributions(model, weights, names, texts)
        change, error = mean_difference(of_merged, losses(after, texts), texts)
        pairs = list(zip(before, after, strict=True))
        apart = torch.cat([(one.exp() * (one - other)).sum(-1) for one, other in pairs])
        same = torch.cat([one.argmax(-1) == other.argmax(-1) for one, other in pairs])
        print(
            f"| {name} | {size} | {change:+.4f} ± {error:.4f} | {float(apart.mean()):.4f} | "
            f"{float(same.float().mean()):.1%} |"
        )


if __name__ == "__main__":
    run_cli(main)
