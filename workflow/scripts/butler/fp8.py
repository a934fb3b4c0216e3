"""Weights in FP8: floats of 8 bits (e4m3), with a scale for each block of rows and columns.

The format is DeepSeek's and Qwen's (`quant_method: fp8`): beside each matrix `weight` [out, in] its
scales `weight_scale_inv` [out/block, in/block] in fp32, and a weight is the one times the other.
A scale is the largest weight of its block by 448, the largest number that e4m3 has (Micikevicius
et al., FP8 Formats for Deep Learning, 2022). No text is needed: the inputs are not quantised.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from butler.errors import ButlerError
from butler.families import family_of
from butler.hf_folder import ModelTensors, read_config
from butler.schemes import FP8_BLOCK

CODES = torch.float8_e4m3fn
LARGEST = torch.finfo(CODES).max
SCALES = "_scale_inv"  # after the name of the weight
# Half of what lies between two numbers of e4m3: of 3 bits after the leading one, by the number, and
# below 2⁻⁶, where they are evenly spaced, in units of the scale.
HALF, LEAST_HALF = 2.0**-4, 2.0**-10


def quantisation_config() -> dict[str, Any]:
    """Return what config.json says of such weights."""
    block = [FP8_BLOCK, FP8_BLOCK]
    said = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic"}
    return said | {"weight_block_size": block}


def linears(folder: Path, names: list[str]) -> list[str]:
    """Return which of a model folder's tensors are the matrices of its layers.

    Raises:
        ButlerError: if the model is of no known family.
    """
    layers = family_of(read_config(folder), str(folder / "config.json")).layers
    ends = tuple(f".{one}.weight" for one in layers.linears)
    return [name for name in names if name.endswith(ends)]


def _in_blocks(matrix: torch.Tensor) -> torch.Tensor:
    """Return [out, in] as [out/block, block, in/block, block], filled up with 0."""
    rows, columns = matrix.shape
    filled = F.pad(matrix, (0, -columns % FP8_BLOCK, 0, -rows % FP8_BLOCK))
    return filled.unflatten(1, (-1, FP8_BLOCK)).unflatten(0, (-1, FP8_BLOCK))


def spread(scales: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Return the scale of each weight, [out, in], of scales [out/block, in/block]."""
    each = scales.repeat_interleave(FP8_BLOCK, 0).repeat_interleave(FP8_BLOCK, 1)
    return each[: shape[0], : shape[1]]


def quantised(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the codes [out, in] and the scales [out/block, in/block] of a matrix."""
    weight = weight.float()
    largest = _in_blocks(weight.abs()).amax((1, 3))
    scales = torch.where(largest > 0, largest / LARGEST, torch.ones_like(largest))
    # torch makes what is above the largest number no number at all, by a rounding too.
    return (weight / spread(scales, weight.shape)).clamp(-LARGEST, LARGEST).to(CODES), scales


class Fp8Tensors:
    """The tensors of the model that an FP8 folder stands for, by name, each made when asked for.

    Matrices of layers are fp32 and made on `device`, the rest as the folder has them.

    Raises:
        ButlerError: if the folder holds no FP8 weights.
    """

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        self._tensors, self._device = ModelTensors(folder), device
        if not any(name.endswith(SCALES) for name in self._tensors.names()):
            raise ButlerError(f"{folder} holds no FP8 weights")

    def __contains__(self, name: str) -> bool:
        return name in self._tensors and not name.endswith(SCALES)

    def __getitem__(self, name: str) -> torch.Tensor:
        found = self._tensors[name]
        if f"{name}{SCALES}" not in self._tensors:
            return found
        scales = self._tensors[f"{name}{SCALES}"].to(self._device)
        return found.to(self._device).float() * spread(scales, found.shape)


def errors(merged: Path, fp8: Path, device: str) -> Iterator[tuple[str, float]]:
    """Yield each matrix' name and its largest error, in units of what rounding may leave.

    Raises:
        ButlerError: naming a tensor that is not the merged model's, or not in FP8.
    """
    plain, packed = ModelTensors(merged), ModelTensors(fp8)
    matrices = set(linears(merged, plain.names()))
    there = {name for name in packed.names() if not name.endswith(SCALES)}
    if odd := sorted(there ^ set(plain.names())):
        raise ButlerError(f"check fp8: {odd[0]} is in only one of {merged} and {fp8}")
    for name in plain.names():
        wanted, found = plain[name], packed[name]
        if wanted.shape != found.shape:
            raise ButlerError(
                f"check fp8: {name} is {list(found.shape)}, in the merged model "
                f"{list(wanted.shape)}: it is another model's"
            )
        if name in matrices:
            if found.dtype != CODES or f"{name}{SCALES}" not in packed:
                raise ButlerError(
                    f"check fp8: {name} is not in FP8 with its scales; quantise again"
                )
            scales = packed[f"{name}{SCALES}"]
            yield name, _largest(wanted.to(device), found.to(device), scales.to(device))
        elif not torch.equal(wanted.half(), found.half()):
            raise ButlerError(f"check fp8: {name} is not quantised and is not the merged one")


def _largest(wanted: torch.Tensor, codes: torch.Tensor, scales: torch.Tensor) -> float:
    each = spread(scales, wanted.shape)
    allowed = torch.maximum(wanted.float().abs() * HALF, each * LEAST_HALF)
    return float(((codes.float() * each - wanted.float()).abs() / allowed).max())
