"""Check what is served: it is its model, and held-out text is as likely through both.

First each file is compared with the manifest written when the folder was made, and each tensor of a
workspace bit by bit with the model folder's; a release that serves model folders has that folder
itself. Then it runs in the engine that will serve it: LMDeploy's on a GPU, in 16 bits, or the
reference engine on a CPU, in fp32; the model runs in transformers in fp32, a quantised one
dequantised. An engine that loads noise is off by whole nats.
"""

import argparse
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
from butler.checks import conclude
from butler.devices import ENGINES, engine_shown, resolve_engine
from butler.errors import ButlerError, run_cli
from butler.fp8 import Fp8Tensors
from butler.held_out import LONGEST, SAMPLES, mean_difference, mean_nll, token_ids, with_error
from butler.lmdeploy.engine_likelihood import LmdeployServer, add_arguments, likelihoods
from butler.lmdeploy.packed_weights import DequantisedTensors
from butler.lmdeploy.release import quant_policy
from butler.lmdeploy.workspace_tensors import compare
from butler.manifest import check_unchanged
from butler.model_likelihood import likelihoods as model_likelihoods
from butler.progress import duration, progress
from butler.reference.likelihood import StreamingEngine
from butler.reference.workspace_reader import Workspace
from butler.schemes import BACKENDS, BASELINE, FORMATS, TURBOMIND, VARIANTS
from butler.w8a8 import W8a8Tensors

Sequences = list[list[int]]


def through_reference(workspace: Workspace, sequences: Sequences) -> list[float]:
    """Return the mean NLL of each sequence through our engine, its KV cache not quantised."""
    losses = StreamingEngine(workspace).likelihoods(sequences, ["fp32"])["fp32"].losses
    return [float(one.mean()) for one in losses]


def through_model(model: Path, model_format: str, sequences: Sequences, engine: str) -> list[float]:
    """Return the mean NLL of each sequence through transformers in fp32."""
    device = "cuda" if engine == "lmdeploy" else "cpu"
    read = {"hf": None, "fp8": Fp8Tensors, "smooth_quant": W8a8Tensors}.get(
        model_format, DequantisedTensors
    )
    weights = read(model, device) if read else None
    return [
        float(one.mean()) for one in model_likelihoods(model, sequences, device, weights=weights)
    ]


def measure(args: argparse.Namespace, server: LmdeployServer, engine: str) -> dict[str, Any]:
    """Return the mean NLL per token of the held-out text both ways.

    `difference` is how much higher it is through what is served, in nats, with its
    `standard_error` over the conversations.
    """
    step, tensors, started = "comparing with the model's tensors", [], time.monotonic()

    def status() -> str:
        count = f", {len(tensors)} tensors compared" if tensors else ""
        return f"{step}{count}"

    with progress(f"check workspace {args.weights}", status):
        longest = LONGEST
        if server.release.workspaces:
            workspace = Workspace(args.workspace)
            longest = workspace.session_len
            for name in compare(workspace, args.model):
                tensors.append(name)
            print(f"{len(tensors)} tensors compared in {duration(time.monotonic() - started)}")
        tokenizer = ChatTokenizer(args.workspace, trust_remote_code=True)
        template = ChatTemplate.load(args.chat_template)
        count = args.samples or SAMPLES[engine]
        sequences = token_ids(args.held_out, count, template, tokenizer, longest)
        step = f"held-out text through the {engine} engine"
        if engine == "lmdeploy":
            policy = quant_policy(VARIANTS[BASELINE].kv, server.release)
            through = likelihoods(server, args.workspace, sequences, policy, args.backend)
        else:
            through = through_reference(Workspace(args.workspace), sequences)
        step = "held-out text through transformers"
        source = through_model(args.model, args.format, sequences, engine)
    difference, error = mean_difference(source, through, sequences)
    return {
        "nll_workspace": mean_nll(through, sequences),
        "nll_model": mean_nll(source, sequences),
        "difference": difference,
        "standard_error": error,
        "largest_difference": max(abs(a - b) for a, b in zip(through, source, strict=True)),
        "tokens": sum(len(tokens) - 1 for tokens in sequences),
        "sequences": len(sequences),
        "engine": engine_shown(engine, args.backend),
        "tensors": len(tensors),
    }


def main() -> None:
    """Check one workspace, or one model folder that is served as it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, required=True, help="folder that is served")
    parser.add_argument("--weights", help="its name in the outcome; default: the folder's")
    parser.add_argument("--model", type=Path, required=True, help="folder that it was made from")
    parser.add_argument("--format", choices=FORMATS, required=True)
    parser.add_argument("--held-out", type=Path, required=True, help="test.jsonl")
    parser.add_argument("--chat-template", required=True)
    parser.add_argument("--engine", choices=ENGINES, default="reference")
    add_arguments(parser)
    parser.add_argument("--backend", choices=BACKENDS, default=TURBOMIND, help="LMDeploy's engine")
    parser.add_argument("--samples", type=int, help="conversations; default: by the engine")
    parser.add_argument("--threads", type=thread_count, default=2)
    parser.add_argument("--limit", type=float, required=True, help="nats per token")
    parser.add_argument(
        "--lmdeploy-limit", type=float, required=True, help="the same, if LMDeploy serves"
    )
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.weights = args.weights or args.workspace.name
    torch.set_num_threads(args.threads)
    engine = resolve_engine(args.engine)
    limit = args.lmdeploy_limit if engine == "lmdeploy" else args.limit
    name, limits = f"workspace_{args.weights}", {"difference": limit}
    with tempfile.TemporaryDirectory() as cache:
        os.environ["HF_HOME"] = cache
        checked = check_unchanged(args.workspace)
        try:
            measured = measure(args, LmdeployServer.of(args), engine)
        except ButlerError as error:  # of a tensor that is not the model's, most likely
            conclude(args.out, name, False, str(error), {}, limits, manifests=checked)
            raise
    moved = with_error(measured["difference"], measured["standard_error"])
    same = "the model folder itself is served"
    if measured["tensors"]:
        same = f"{measured['tensors']} tensors are the model's, bit by bit"
    conclude(
        args.out,
        name,
        abs(measured["difference"]) <= limit,
        f"{same}; mean NLL {measured['nll_workspace']:.5f} through it in {measured['engine']}, "
        f"{measured['nll_model']:.5f} through the model in transformers "
        f"(difference {moved}, limit {limit})",
        measured,
        limits,
        manifests=checked,
    )


if __name__ == "__main__":
    run_cli(main)
