"""Check the merged model: each weight is that of base + adapter, to one rounding to fp16.

The sum base + scale·B·A is computed here in fp64, with the scale that PEFT gives each module; every
tensor without a pair must be the base's, bit for bit in fp16. Merging onto the quantised base, with
a wrong scale or another adapter, or one flipped bit, is more than a rounding off.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import butler.interpreter  # noqa: F401

import torch

from butler.arguments import thread_count
from butler.checks import conclude
from butler.errors import run_cli
from butler.hf_folder import ModelTensors, read_config
from butler.progress import counted, progress

BLOCK = 2**19  # elements that are fp64 at a time: what a core's cache holds
HALF = 0.5  # units in the last place: the most that rounding to nearest may be off
# What the merge's own fp32 arithmetic may be off, in units of the terms that it adds.
FP32 = 2.0**-20


@dataclass(frozen=True)
class LoraPair:
    """A LoRA pair: a [r, in] and b [out, r] in any precision; what they add is scale·b·a.

    `transposed`: the module holds its weight as [in, out].
    """

    a: torch.Tensor
    b: torch.Tensor
    scale: float
    transposed: bool = False

    def factors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return fp64 left [rows, r] and right [r, columns], whose product is what is added."""
        a, b = self.a.double(), self.b.double() * self.scale
        return (a.T, b.T) if self.transposed else (b, a)


@dataclass(frozen=True)
class TensorError:
    """How far one merged tensor is from base + adapter.

    `ulps`: the largest error in units in the last place of the exact value's fp16 form; infinite
    where a value that should be finite is not. `change` and `size`: sums of squares of what the
    adapter adds and of the base's weights. `changed`: values that are not the base's.
    """

    ulps: float
    change: float = 0.0
    size: float = 0.0
    changed: int = 0


def spacing(exact: torch.Tensor) -> torch.Tensor:
    """Return one unit in the last place of each value in fp16, as fp64: 2^-24 for subnormals."""
    normal = exact.abs().clamp(min=2.0**-14)  # 0 has no exponent
    leading = torch.frexp(normal).exponent - 1
    return torch.ldexp(torch.ones_like(exact), leading - 10)


def pair_error(base: torch.Tensor, merged: torch.Tensor, pair: LoraPair) -> TensorError:
    """Compare a merged weight with base + pair; all are two-dimensional and of the same shape."""
    left, right = pair.factors()
    columns = right.norm(dim=0)
    found = TensorError(0.0)
    rows = max(1, BLOCK // base.shape[1])
    parts = zip(base.split(rows), merged.split(rows), left.split(rows), strict=True)
    for old, new, factor in parts:
        before, change = old.double(), factor @ right
        exact = before + change
        # A sum's error goes with its terms, which may cancel: |b|·|a| bounds those of a product.
        own = FP32 * (before.abs() + factor.norm(dim=1, keepdim=True) * columns)
        error = ((new.double() - exact).abs() - own) / spacing(exact)
        # torch's max keeps a NaN, and no comparison with it is true.
        worst = float(torch.nan_to_num(error, nan=torch.inf, posinf=torch.inf).max())
        found = TensorError(
            max(found.ulps, worst),
            found.change + float(change.square().sum()),
            found.size + float(before.square().sum()),
            found.changed + int((new != old.half()).sum()),
        )
    return found


def plain_error(base: torch.Tensor, merged: torch.Tensor) -> TensorError:
    """Compare a tensor that the adapter leaves alone with the base's in fp16, bit for bit."""
    if not base.is_floating_point():
        return TensorError(0.0 if base.equal(merged) else torch.inf)
    for old, new in zip(base.flatten().split(BLOCK), merged.flatten().split(BLOCK), strict=True):
        wanted = old.half()
        same = wanted.view(torch.int16).equal(new.view(torch.int16))
        if not same or bool((wanted.isinf() & old.isfinite()).any()):
            return TensorError(torch.inf)
    return TensorError(0.0)


def pairs_of(adapter: Path, base: Path) -> tuple[dict[str, tuple[float, bool]], str]:
    """Return by module what PEFT makes of the adapter, on a model of the base's shape without data.

    Returns:
        The scale of each module's pair, and whether it holds its weight transposed; and the name
        of the embedding's tensor.
    """
    from accelerate import init_empty_weights
    from peft import LoraConfig, inject_adapter_in_model
    from peft.tuners.lora import LoraLayer
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(str(base), trust_remote_code=True)
    with init_empty_weights():
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=True)
        embedding = model.get_input_embeddings()
        name = next(name for name, module in model.named_modules() if module is embedding)
        inject_adapter_in_model(LoraConfig.from_pretrained(str(adapter)), model)
    layers = {name: one for name, one in model.named_modules() if isinstance(one, LoraLayer)}
    return {
        name: (one.scaling["default"], bool(getattr(one, "fan_in_fan_out", False)))
        for name, one in layers.items()
    }, f"{name}.weight"


class Merge:
    """Base, adapter and merged model, compared tensor by tensor."""

    def __init__(self, base: Path, adapter: Path, merged: Path) -> None:
        self.base, self.merged = ModelTensors(base), ModelTensors(merged)
        self.adapter = ModelTensors(adapter)
        self._pairs, self._embedding = pairs_of(adapter, base)
        self._untied = not read_config(merged).get("tie_word_embeddings", False)

    def misfits(self) -> list[str]:
        """Return a sentence for each tensor that is missing or too many, in any of the three."""
        pairs = {f"{module}.weight" for module in self._pairs}
        wanted = {*self.base.names(), *pairs}
        found = set(self.merged.names())
        halves = [self._half(module, letter) for module in self._pairs for letter in "AB"]
        return [
            *(f"the merged model lacks {name}" for name in sorted(wanted - found)),
            *(f"{name} is in the merged model alone" for name in sorted(found - wanted)),
            *(f"the adapter lacks {name}" for name in halves if name not in self.adapter),
            *(
                f"PEFT has no module for {name} of the adapter"
                for name in sorted(set(self.adapter.names()) - set(halves))
            ),
            *(
                f"{name} is its own tensor, but config.json ties it"
                for name in sorted(pairs - set(self.base.names()))
                if not self._untied
            ),
        ]

    def error(self, name: str) -> TensorError:
        """Compare one tensor of the merged model."""
        merged, module = self.merged[name], name.removesuffix(".weight")
        # A tied head that has a pair is the embedding's values and its own change.
        base = self.base[name if name in self.base else self._embedding]
        if merged.dtype != (torch.float16 if base.is_floating_point() else base.dtype):
            return TensorError(torch.inf)
        if base.shape != merged.shape:
            return TensorError(torch.inf)
        if module not in self._pairs:
            return plain_error(base, merged)
        scale, transposed = self._pairs[module]
        a, b = (self.adapter[self._half(module, letter)] for letter in "AB")
        return pair_error(base, merged, LoraPair(a, b, scale, transposed))

    @property
    def changed(self) -> list[str]:
        """The tensors that the adapter changes."""
        return [f"{module}.weight" for module in self._pairs]

    def _half(self, module: str, letter: str) -> str:
        return f"base_model.model.{module}.lora_{letter}.weight"


def judge(errors: Mapping[str, TensorError], changed: list[str]) -> tuple[bool, str]:
    """Say whether every tensor is right and the adapter does something, in a sentence."""
    worst = max(errors, key=lambda name: errors[name].ulps)
    if errors[worst].ulps > HALF:
        wrong = sum(error.ulps > HALF for error in errors.values())
        off = errors[worst].ulps
        size = f"{off:.3g} units in the last place off" if off < torch.inf else "another altogether"
        return False, (
            f"{wrong} of {len(errors)} tensors are not base + adapter; {worst} is {size} (rounding "
            f"to fp16 is {HALF} at most); remove build/merged and give the same command again"
        )
    if not any(errors[name].changed for name in changed):
        return False, (
            "the adapter changes no weight by as much as fp16 shows: nothing was learnt; raise "
            "train.learning_rate or train longer"
        )
    return True, (
        f"{len(errors)} tensors are those of base + adapter, {errors[worst].ulps:.4f} units in the "
        f"last place off at most (rounding to fp16 is {HALF})"
    )


def compare(merge: Merge, threads: int) -> dict[str, TensorError]:
    """Compare all tensors of the merged model, several at a time."""
    names = merge.merged.names()
    errors: dict[str, TensorError] = {}
    started = time.monotonic()

    def one(name: str) -> None:
        errors[name] = merge.error(name)

    with (
        progress("check_merge", lambda: counted(len(errors), len(names), "tensors", started)),
        ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool,
    ):
        list(pool.map(one, names))
    return errors


def measure(errors: Mapping[str, TensorError], changed: list[str]) -> dict[str, Any]:
    """Return what the JSON says; the adapter's effect is |change| / |weights|, root of squares."""
    change = sum(errors[name].change for name in changed)
    size = sum(errors[name].size for name in changed)
    worst = max(error.ulps for error in errors.values())
    return {
        "ulps": worst if worst < torch.inf else None,
        "tensors": len(errors),
        "adapted": len(changed),
        "adapter_effect": (change / size) ** 0.5 if size else 0.0,
    }


def main() -> None:
    """Check one merge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--adapter", type=Path, required=True)
    parser.add_argument("--merged", type=Path, required=True)
    parser.add_argument("--threads", type=thread_count, default=2)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        os.environ["HF_HOME"] = cache
        merge = Merge(args.base, args.adapter, args.merged)
    limits = {"ulps": HALF}
    if misfits := merge.misfits():
        conclude(args.out, "merge", False, misfits[0], {"misfits": len(misfits)}, limits)
    errors = compare(merge, args.threads)
    passed, sentence = judge(errors, merge.changed)
    conclude(args.out, "merge", passed, sentence, measure(errors, merge.changed), limits)


if __name__ == "__main__":
    run_cli(main)
