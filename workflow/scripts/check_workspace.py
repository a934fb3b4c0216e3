"""Check a workspace: held-out text is as likely through it as through the model it came from.

The workspace runs in the reference engine with a full-precision cache, the model in transformers,
both in fp32. For AWQ the model is rebuilt from its dequantised tensors. A workspace that loads as
noise, with a transposed matrix or a wrong rotary embedding, is off by whole nats. Before that, each
file is compared with the manifest written when the workspace was made.
"""

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import torch

from butler.chat_template import ChatTemplate
from butler.chat_tokenizer import ChatTokenizer
from butler.checks import conclude
from butler.errors import ButlerError, run_cli
from butler.held_out import mean_nll, rendered
from butler.hf_folder import keep_old_cache, model_nll
from butler.lmdeploy.awq_weights import dequantised_state
from butler.manifest import verify_manifest
from butler.reference.generate import Engine
from butler.schemes import WEIGHTS

FORMATS = sorted({one.format for one in WEIGHTS.values()})


def load_model(folder: Path, model_format: str) -> Any:
    """Return the Hugging Face model in `folder` in fp32; an AWQ one dequantised."""
    from transformers import AutoConfig, AutoModelForCausalLM

    if model_format == "hf":
        return AutoModelForCausalLM.from_pretrained(
            str(folder), trust_remote_code=True, torch_dtype=torch.float32
        ).eval()
    config = AutoConfig.from_pretrained(str(folder), trust_remote_code=True)
    del config.quantization_config
    model = AutoModelForCausalLM.from_config(
        config, trust_remote_code=True, torch_dtype=torch.float32
    )
    result = model.load_state_dict(dequantised_state(folder), strict=False)
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    if result.unexpected_keys or set(result.missing_keys) - tied:
        wrong = [*result.unexpected_keys, *result.missing_keys][0]
        raise ButlerError(f"{folder} does not fit its own architecture: tensor {wrong}")
    return model.eval()


def measure(args: argparse.Namespace) -> dict[str, float]:
    """Return the mean NLL per token of the held-out text both ways."""
    files = verify_manifest(args.workspace)
    tokenizer = ChatTokenizer(args.workspace, trust_remote_code=True)
    texts = rendered(args.held_out, args.samples, ChatTemplate.load(args.chat_template))
    engine = Engine.load(args.workspace, kv="fp32", threads=args.threads)
    limit = engine.workspace.session_len
    sequences = [tokenizer.encode(text)[:limit] for text in texts]
    through = [engine.nll(tokens) for tokens in sequences]
    del engine
    source = model_nll(load_model(args.model, args.format), sequences)
    means = mean_nll(through, sequences), mean_nll(source, sequences)
    return {
        "nll_workspace": means[0],
        "nll_model": means[1],
        "difference": abs(means[0] - means[1]),
        "largest_difference": max(abs(a - b) for a, b in zip(through, source, strict=True)),
        "tokens": sum(len(tokens) - 1 for tokens in sequences),
        "files": files,
    }


def main() -> None:
    """Check one workspace."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True, help="folder that it was made from")
    parser.add_argument("--format", choices=FORMATS, required=True)
    parser.add_argument("--held-out", type=Path, required=True, help="test.jsonl")
    parser.add_argument("--chat-template", required=True)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=float, required=True, help="nats per token")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        os.environ["HF_HOME"] = cache
        keep_old_cache(args.model)
        measured = measure(args)
    conclude(
        args.out,
        f"workspace_{args.workspace.name}",
        measured["difference"] <= args.limit,
        f"mean NLL {measured['nll_workspace']:.5f} through the workspace, "
        f"{measured['nll_model']:.5f} through the model it came from "
        f"(difference {measured['difference']:.6f}, limit {args.limit})",
        measured,
        {"difference": args.limit},
    )


if __name__ == "__main__":
    run_cli(main)
