"""Check GPTQ's weights by what they do: each layer's outputs on held-out text, and its likelihood.

A layer's error is given in units of that of plain rounding to the same 16 codes a group, which
GPTQ is to undercut; wrong packing, scales or another model's layer are many times off.
"""

import argparse
import math
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import butler.interpreter  # noqa: F401

import torch

from butler.arguments import thread_count
from butler.chat_template import ChatTemplate
from butler.chat_tokenizer import ChatTokenizer
from butler.checks import conclude, or_infinite
from butler.devices import DEVICES, resolve_device
from butler.errors import run_cli
from butler.gptq_errors import LayerError, check_plain_tensors, layer_errors
from butler.held_out import LONGEST, SAMPLES, mean_difference, mean_nll, token_ids, with_error
from butler.hf_folder import ModelTensors
from butler.layer_walk import Walk
from butler.lmdeploy.packed_weights import DequantisedTensors
from butler.manifest import check_unchanged
from butler.model_likelihood import likelihoods
from butler.progress import counted, progress


def measure(
    merged: Path, gptq: Path, sequences: list[list[int]], device: str
) -> tuple[list[LayerError], dict[str, Any]]:
    """Return each layer's errors, and how much likelier the merged model finds the text.

    Raises:
        ButlerError: if a layer is not quantised, or a tensor that is not differs.
    """
    errors: list[LayerError] = []
    started = time.monotonic()
    walk = Walk(merged, [torch.tensor([one]) for one in sequences], device)
    total = len(walk.linears())
    with progress("check gptq", lambda: counted(len(errors), total, "layers", started)):
        check_plain_tensors(ModelTensors(merged), ModelTensors(gptq))
        for error in layer_errors(walk, ModelTensors(gptq), device):
            errors.append(error)
        before, after = (
            [float(one.mean()) for one in likelihoods(merged, sequences, device, weights=weights)]
            for weights in (None, DequantisedTensors(gptq, device))
        )
    difference, error = mean_difference(before, after, sequences)
    return errors, {
        "nll_merged": mean_nll(before, sequences),
        "nll_gptq": mean_nll(after, sequences),
        "difference": difference,
        "standard_error": error,
        "sequences": len(sequences),
        "tokens": sum(len(tokens) - 1 for tokens in sequences),
    }


def main() -> None:
    """Check one GPTQ folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--merged", type=Path, required=True)
    parser.add_argument("--gptq", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, required=True, help="test.jsonl")
    parser.add_argument("--chat-template", required=True)
    parser.add_argument("--samples", type=int, default=SAMPLES["reference"], help="conversations")
    parser.add_argument("--error-limit", type=float, required=True, help="of plain rounding's")
    parser.add_argument("--nll-limit", type=float, required=True, help="nats per token")
    parser.add_argument("--device", choices=DEVICES, default="cpu")
    parser.add_argument("--threads", type=thread_count, default=2)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    checked = check_unchanged(args.gptq)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["HF_HOME"] = cache
        tokenizer = ChatTokenizer(args.merged, trust_remote_code=True)
        template = ChatTemplate.load(args.chat_template)
        sequences = token_ids(args.held_out, args.samples, template, tokenizer, LONGEST)
        errors, measured = measure(args.merged, args.gptq, sequences, resolve_device(args.device))
    worst = max(errors, key=lambda e: or_infinite(e.ratio))
    mean = math.exp(sum(math.log(e.ratio) for e in errors) / len(errors))
    difference = measured["difference"]
    advice = (
        "; where it is little above, calibration.samples or gptq.damping are too small"
        if worst.ratio > args.error_limit
        else ""
    )
    conclude(
        args.out,
        "gptq",
        worst.ratio <= args.error_limit and difference <= args.nll_limit,
        f"on held-out text the outputs of {len(errors)} layers are off by {mean:.3f} times what "
        f"plain rounding costs them, at most {worst.ratio:.3f} times, in {worst.layer} (limit "
        f"{args.error_limit}{advice}); mean NLL {measured['nll_gptq']:.4f}, of the merged model "
        f"{measured['nll_merged']:.4f} (difference "
        f"{with_error(difference, measured['standard_error'])}, limit {args.nll_limit})",
        measured
        | {
            "largest_ratio": worst.ratio,
            "layer": worst.layer,
            "mean_ratio": mean,
            "layers": {e.layer: {"gptq": e.gptq, "plain": e.plain} for e in errors},
        },
        {"largest_ratio": args.error_limit, "difference": args.nll_limit},
        manifests=checked,
    )


if __name__ == "__main__":
    run_cli(main)
