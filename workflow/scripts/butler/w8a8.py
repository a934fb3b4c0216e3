"""Weights of 8 bits with a scale for each row, as `smooth_quant` of LMDeploy's `lite` writes them.

Beside each matrix `weight` [out, in] in int8 or e4m3 is its `scale` [out, 1] in fp32, and a weight
is the one times the other. Inputs are quantised alike, token by token, by the engine: they leave
nothing in the folder. `lite` of LMDeploy 0.7.3 writes what the PyTorch engine of 0.18 reads
(pytorch/nn/linear/w8a8.py); what config.json says of it is `quant_method` and `quant_dtype`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from butler.errors import ButlerError
from butler.fp8 import HALF as FLOAT_HALF
from butler.fp8 import LEAST_HALF
from butler.hf_folder import ModelTensors
from butler.lmdeploy.smoothed_errors import FP16_ROUNDING, HALF, Form
from butler.schemes import WeightScheme

SCALES = ".scale"  # after the name of the layer
# What is rounded to fp16 on the way: a norm's weight, from which its factor is read, and on a GPU
# the weight itself, times that factor and again by the factor between two linears.
ROUNDINGS = 3
# Near 0 what fp16 rounds is no share of a number but 2⁻²⁵. Steps below this count as it: of more
# than that it is less than ROUNDINGS allows.
LEAST_STEP = 2.0**-18


def layers(names: Iterable[str]) -> list[str]:
    """Return the names of the layers of 8-bit weights among a folder's tensors."""
    known = set(names)
    found = (name.removesuffix(SCALES) for name in sorted(known) if name.endswith(SCALES))
    return [name for name in found if f"{name}.weight" in known]


@dataclass(frozen=True)
class RowLinear:
    """One linear layer: codes [out, in] in int8 or e4m3, and scales [out, 1] in fp32."""

    codes: torch.Tensor
    scales: torch.Tensor

    @classmethod
    def read(
        cls, tensors: ModelTensors, name: str, device: str = "cpu", codes: str | None = None
    ) -> "RowLinear":
        """Read layer `name` of a folder; `codes` is the type, in torch's words, that it must have.

        Raises:
            ButlerError: if it has another type, or not a scale for each row.
        """
        found, scales = tensors[f"{name}.weight"], tensors[f"{name}{SCALES}"]
        if codes and found.dtype != getattr(torch, codes):
            raise ButlerError(f"{name}.weight is {found.dtype} and not {codes}; quantise again")
        if scales.shape != (len(found), 1):
            raise ButlerError(f"{name}{SCALES} is {list(scales.shape)}, not one for each row")
        return cls(found.to(device), scales.to(device).float())

    @property
    def shape(self) -> torch.Size:
        """That of the weight, [out, in]."""
        return self.codes.shape

    def _units(self) -> torch.Tensor:
        """Return what lies between a code and the next, fp32 [out, in] or [out, 1]."""
        least = LEAST_STEP / self.scales
        if not self.codes.is_floating_point():
            return least.clamp(min=1)
        mantissa, exponent = torch.frexp(self.codes.float())
        power = torch.ldexp((mantissa != 0).float(), exponent - 1)
        return torch.maximum(2 * (power * FLOAT_HALF).clamp(min=LEAST_HALF), least)

    def steps(self) -> torch.Tensor:
        """Return each weight in steps between codes, fp32 [in, out]."""
        return (self.codes.float() / self._units()).t().contiguous()

    def in_steps(self, weights: torch.Tensor) -> torch.Tensor:
        """Return other weights, fp32 [in, out], in the same steps; overwrites them."""
        return weights.div_((self._units() * self.scales).t())

    def weight(self) -> torch.Tensor:
        """Return the weight, fp32 [out, in]."""
        return self.codes.float() * self.scales


def most_steps(codes: torch.dtype) -> float:
    """Return how many steps the largest code is."""
    info = torch.finfo if codes.is_floating_point else torch.iinfo
    largest = torch.full((1, 1), info(codes).max, dtype=codes)
    return float(RowLinear(largest, torch.ones(1, 1)).steps())


def form_of(scheme: WeightScheme) -> Form:
    """Return how the folders of a scheme hold their linears."""
    rounded = ROUNDINGS * FP16_ROUNDING * most_steps(getattr(torch, scheme.codes))
    read = partial(RowLinear.read, codes=scheme.codes)
    return Form(scheme.check, layers, read, HALF + rounded)


class W8a8Tensors:
    """The tensors of the model that such a folder stands for, by name, each made when asked for.

    Matrices of layers are fp32 and made on `device`, the rest as the folder has them.

    Raises:
        ButlerError: if the folder holds no layer of 8-bit weights.
    """

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        self._tensors, self._device = ModelTensors(folder), device
        self._layers = set(layers(self._tensors.names()))
        if not self._layers:
            raise ButlerError(f"{folder} holds no layer of 8-bit weights")

    def __contains__(self, name: str) -> bool:
        layer, _, last = name.rpartition(".")
        return name in self._tensors and not (layer in self._layers and f".{last}" == SCALES)

    def __getitem__(self, name: str) -> torch.Tensor:
        layer = name.removesuffix(".weight")
        if layer != name and layer in self._layers:
            return RowLinear.read(self._tensors, layer, self._device).weight()
        return self._tensors[name]
