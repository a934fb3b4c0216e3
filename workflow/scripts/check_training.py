"""Check what was learnt: held-out answers are likelier to the merged model than to the base.

The negative log-likelihood (NLL) of the tokens that a training counts, those of the answers, on
conversations that it has not seen; each model on the same ones, so that the differences are paired.
Measured beside it, and told: the adapter on the base that it was trained on, in NF4 if that was so,
and on the plain one. All arithmetic is fp32, with one layer's weights in memory.
"""

import argparse
import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import butler.interpreter  # noqa: F401

import torch

from butler.arguments import thread_count
from butler.checks import conclude
from butler.devices import DEVICES, resolve_device
from butler.errors import ButlerError, run_cli
from butler.families import family_of
from butler.held_out import weighted_mean
from butler.hf_folder import ModelTensors, read_config
from butler.lora_adapter import LoraAdapter
from butler.model_likelihood import NamedTensors, likelihoods
from butler.progress import progress
from butler.xtuner.samples import encoded

# On a CPU: weights times tokens, which take a 0.5B model some 30 s on two cores.
CPU_WORK = 2e12
FEWEST = 8  # conversations, however large the model


@dataclass(frozen=True)
class Sample:
    """A conversation's tokens as XTuner makes them, and which of them a training counts."""

    tokens: list[int]
    counted: list[bool]


class WithAdapter:
    """The base's weights with the adapter's change added in fp32; in NF4 before that, or not.

    `nf4`: the precision in which the training had the weights that it quantised; None: none were.
    """

    def __init__(
        self, base: Path, adapter: Path, device: str, nf4: torch.dtype | None = None
    ) -> None:
        self._base, self._adapter = ModelTensors(base), LoraAdapter(adapter)
        family = family_of(read_config(base), str(base / "config.json"))
        self._embedding, self._head = f"{family.embedding}.weight", f"{family.head}.weight"
        self._modules = {f"{module}.weight": module for module in self._adapter.modules}
        self._device, self._nf4 = device, nf4

    def __contains__(self, name: str) -> bool:
        return name in self._base or name in self._modules

    def __getitem__(self, name: str) -> torch.Tensor:
        # A tied head that has a pair is the embedding's values and its own change.
        tied = name == self._head and name not in self._base
        weight = self._base[self._embedding if tied else name].to(self._device)
        # As transformers quantises: every linear module but the head.
        linear = weight.dim() == 2 and name not in (self._embedding, self._head)
        if self._nf4 is not None and linear:
            weight = in_nf4(weight.to(self._nf4))
        if name not in self._modules:
            return weight
        left, right = self._adapter.factors(self._modules[name])
        return torch.addmm(weight.float(), left.to(self._device), right.to(self._device))


def in_nf4(weight: torch.Tensor) -> torch.Tensor:
    """Return what bitsandbytes makes of a weight in NF4, with the scales quantised again."""
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    codes, state = quantize_4bit(weight, compress_statistics=True, quant_type="nf4")
    return dequantize_4bit(codes, state)


def trained_in(config: Path) -> torch.dtype | None:
    """Return the precision of the weights that the training quantised to NF4; None: none were."""
    from mmengine.config import Config

    llm = Config.fromfile(str(config)).model.llm
    return llm.torch_dtype if "quantization_config" in llm else None


def samples(config: Path, held_out: Path, most: int, tokens: float) -> list[Sample]:
    """Return the first conversations that have an answer within train.max_length.

    At most `most`, and as many as have `tokens` tokens together, but FEWEST at least.

    Raises:
        ButlerError: if there is none.
    """
    found: list[Sample] = []
    with held_out.open(encoding="utf-8") as lines:
        for _, made in encoded(config, lines):
            counted = [label >= 0 for label in made["labels"]]
            total = sum(len(sample.tokens) for sample in found) + len(counted)
            if len(found) == most or (len(found) >= FEWEST and total > tokens):
                break
            if any(counted[1:]):
                found.append(Sample(made["input_ids"], counted))
    if not found:
        raise ButlerError(f"{held_out} holds no answer within train.max_length; raise that")
    return found


def size_of(model: Path) -> int:
    """Return how many weights a model has."""
    tensors = ModelTensors(model)
    return sum(torch.Size(tensors.shape(name)).numel() for name in tensors.names())


def nll(folder: Path, taken: Sequence[Sample], device: str, weights: NamedTensors) -> list[float]:
    """Return the mean NLL of each sample's counted tokens, in nats."""
    found = likelihoods(
        folder,
        [sample.tokens for sample in taken],
        device,
        [sample.counted for sample in taken],
        weights,
    )
    return [float(values.double().mean()) for values in found]


def compare(found: dict[str, list[float]], weights: Sequence[int]) -> dict[str, float]:
    """Return each model's mean NLL, and what changes from one to the next with standard errors.

    `change` is merged − base, what was learnt; `merge_shift` merged − base_adapter, what rounding
    to fp16 costs; `nf4_shift` merged − nf4_adapter, what training on an NF4 base costs.
    """
    measured = {f"nll_{name}": weighted_mean(values, weights)[0] for name, values in found.items()}
    against = {"change": "base", "merge_shift": "base_adapter", "nf4_shift": "nf4_adapter"}
    for name, other in against.items():
        if other in found:
            pairs = zip(found["merged"], found[other], strict=True)
            mean, error = weighted_mean([a - b for a, b in pairs], weights)
            measured |= {name: mean, f"{name}_se": error}
    return measured


def judge(measured: dict[str, float], limit: float | None) -> tuple[bool, str]:
    """Say whether the NLL fell below the base's, by more than its standard error, plus `limit`."""
    change, error = measured["change"], measured["change_se"]
    sentence = (
        f"the mean NLL of {measured['conversations']} held-out answers went from "
        f"{measured['nll_base']:.4f} to {measured['nll_merged']:.4f} nats a token "
        f"({change:+.4f}, standard error {error:.4f})"
    )
    if not math.isfinite(change):
        return False, f"{sentence}: a likelihood is no finite number; train anew"
    if limit is None or change + error < limit:
        return True, sentence
    return False, (
        f"{sentence}, so it is not shown that the training helps (change + error must be below "
        f"checks.training_nll {limit:g}): train longer, lower train.learning_rate, look at the "
        "corpus, or raise checks.training_nll (null: any), which judges this training again "
        "without repeating it"
    )


def main() -> None:
    """Check one training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="XTuner's, rendered")
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--adapter", type=Path, required=True)
    parser.add_argument("--merged", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, required=True, help="test.jsonl")
    parser.add_argument("--samples", type=int, default=64, help="conversations (%(default)s)")
    parser.add_argument("--limit", type=float, help="nats a token; default: none")
    parser.add_argument("--device", choices=DEVICES, default="auto")
    parser.add_argument("--threads", type=thread_count, default=2)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    device = resolve_device(args.device)
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["HF_HOME"] = cache
        import transformers  # noqa: F401  takes the folder for models' own code from there

        found, taken = measure(args, device)
    weights = [sum(sample.counted[1:]) for sample in taken]
    counts = {"conversations": len(taken), "tokens": sum(weights)}
    measured = counts | compare(found, weights)
    passed, sentence = judge(measured, args.limit)
    limits = {} if args.limit is None else {"change + change_se": args.limit}
    conclude(args.out, "training", passed, sentence, measured, limits)


def measure(args: argparse.Namespace, device: str) -> tuple[dict[str, list[float]], list[Sample]]:
    """Return the mean NLL of each sample through each model, and the samples."""
    work = CPU_WORK if device == "cpu" else float("inf")
    taken = samples(args.config, args.held_out, args.samples, work / size_of(args.base))
    nf4 = trained_in(args.config)
    models: dict[str, tuple[Path, Any]] = {
        "base": (args.base, ModelTensors(args.base)),
        "base_adapter": (args.base, WithAdapter(args.base, args.adapter, device)),
        "merged": (args.merged, ModelTensors(args.merged)),
    }
    if nf4 is not None:
        models["nf4_adapter"] = args.base, WithAdapter(args.base, args.adapter, device, nf4)
    found: dict[str, list[float]] = {}

    def status() -> str:
        done = len(found)
        return f"{len(taken)} held-out conversations, model {done + 1} of {len(models)}"

    with progress("check_training", status):
        for name, (folder, weights) in models.items():
            found[name] = nll(folder, taken, device, weights)
    return found, taken


if __name__ == "__main__":
    run_cli(main)
