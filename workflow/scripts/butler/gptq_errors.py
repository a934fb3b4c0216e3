"""What GPTQ's rounding changes of each layer's outputs, beside what plain rounding would.

GPTQ makes up in some weights for what it loses in others, so a weight is no measure of it: it may
be whole steps off and right. What a linear layer gives for real text is: for inputs X, by their
second moments M = XᵀX, the squared error of X·(W − Ŵ)ᵀ is tr((W − Ŵ)·M·(W − Ŵ)ᵀ). The inputs are
those of the merged model on held-out text, which GPTQ has not seen.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from butler.errors import ButlerError
from butler.hf_folder import ModelTensors
from butler.layer_walk import Layer, Walk
from butler.lmdeploy.packed_weights import QuantisedLinear, quantised_layers

LEAST = 1e-30  # of a sum of squares
HALF_RANGE = 7.5  # steps from 0 to the largest of 16 symmetric codes, as GPTQ's scales have it


@dataclass(frozen=True)
class LayerError:
    """Errors of one linear layer's outputs, root mean squares as shares of the outputs' own.

    `gptq` of the folder's weights, `plain` of the merged ones rounded to the nearest code.
    """

    layer: str
    gptq: float
    plain: float

    @property
    def ratio(self) -> float:
        """GPTQ's error in units of plain rounding's; NaN if a weight is no number."""
        return self.gptq / self.plain


def rounded(weight: torch.Tensor, group: int) -> torch.Tensor:
    """Return a weight [out, in] rounded to the nearest of 16 symmetric codes of its group."""
    groups = weight.unflatten(1, (-1, group))
    scales = groups.abs().amax(2, keepdim=True).clamp(min=1e-7) / HALF_RANGE
    return ((groups / scales).round().clamp(-8, 7) * scales).flatten(1)


def layer_errors(walk: Walk, gptq: ModelTensors, device: str) -> Iterator[LayerError]:
    """Compare each linear layer of the merged model, which the texts walk through, with GPTQ's.

    Raises:
        ButlerError: if one is not quantised, or of another shape.
    """
    missing = set(walk.linears()) ^ set(quantised_layers(gptq.names()))
    if missing:
        raise ButlerError(
            f"check gptq: {min(missing)} is quantised in one of the two folders only; quantise "
            "this merged model again"
        )
    for layer in walk.layers():
        moments = _moments(walk, layer)
        for name, linear in layer.linears().items():
            found = QuantisedLinear.read(gptq, layer.prefix + name, device)
            weight, group = linear.weight, len(found.codes) // len(found.scales)
            if weight.t().shape != found.codes.shape:
                raise ButlerError(
                    f"check gptq: {layer.prefix}{name} is {list(found.codes.t().shape)}, in the "
                    f"merged model {list(weight.shape)}: it is another model's"
                )
            errors = [found.weight() - weight, rounded(weight, group) - weight]
            energy, *parts = (_energy(one, moments[linear]) for one in (weight, *errors))
            yield LayerError(layer.prefix + name, *((one / energy) ** 0.5 for one in parts))


def _moments(walk: Walk, layer: Layer) -> dict[torch.nn.Linear, torch.Tensor]:
    """Return the second moments of each linear's inputs over all texts, fp32 [in, in]."""
    found: dict[torch.nn.Linear, torch.Tensor] = {}

    def add(linear: torch.nn.Linear, inputs: torch.Tensor) -> None:
        rows = inputs.flatten(0, -2)
        found[linear] = found.get(linear, 0) + rows.t() @ rows

    walk.observe(layer, add)
    return found


def _energy(rows: torch.Tensor, moments: torch.Tensor) -> float:
    # Not below 0 by rounding, nor 0 where a layer does nothing; NaN stays.
    return max(float(((rows @ moments) * rows).double().sum()), LEAST)


def check_plain_tensors(merged: ModelTensors, gptq: ModelTensors) -> None:
    """Check that what is not quantised is the merged model's, bit for bit in fp16.

    Raises:
        ButlerError: naming the first tensor that differs.
    """
    linear = {f"{name}.weight" for name in quantised_layers(gptq.names())}
    for name in merged.names():
        if name in linear:
            continue
        if name not in gptq or not torch.equal(merged[name].half(), gptq[name]):
            raise ButlerError(f"check gptq: {name} is not quantised and is not the merged one")
