"""AWQ tensors as LMDeploy writes them, dequantised, and its smoothing undone."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from butler.errors import ButlerError
from butler.hf_folder import ModelTensors, read_config

# Bit offset of column j among the eight of a word (AWQ's "gemm" order).
SHIFTS = torch.tensor([0, 16, 4, 20, 8, 24, 12, 28], dtype=torch.int32)

# Median gap between two fits of the same smoothing factors; rounding alone gives some 0.01.
LARGEST_GAP = 0.05


def unpack(words: torch.Tensor) -> torch.Tensor:
    """Unpack int32 [rows, columns/8] to codes 0..15, int32 [rows, columns]."""
    return ((words.unsqueeze(-1) >> SHIFTS) & 0xF).flatten(-2)


@dataclass(frozen=True)
class QuantisedLinear:
    """One linear layer: codes and zero points as integers, scales in fp16's precision.

    codes [in, out], zeros and scales [in/group, out].
    """

    codes: torch.Tensor
    zeros: torch.Tensor
    scales: torch.Tensor

    @classmethod
    def read(cls, tensors: ModelTensors, name: str) -> "QuantisedLinear":
        """Read layer `name` of an AWQ folder."""
        return cls(
            unpack(tensors[f"{name}.qweight"]),
            unpack(tensors[f"{name}.qzeros"]),
            # The file holds fp32, the workspace fp16: what is served counts.
            tensors[f"{name}.scales"].half().float(),
        )

    @property
    def group_size(self) -> int:
        """Input rows that share a scale."""
        return self.codes.shape[0] // self.scales.shape[0]

    def weight(self) -> torch.Tensor:
        """Return the weight as a Linear holds it, fp32 [out, in]: (q − z)·s."""
        zeros = self.zeros.repeat_interleave(self.group_size, 0)
        return ((self.codes - zeros) * self.row_scales()).t().contiguous()

    def row_scales(self) -> torch.Tensor:
        """Return the scale of each weight, [in, out]."""
        return self.scales.repeat_interleave(self.group_size, 0)


@dataclass(frozen=True)
class WeightError:
    """Largest error of one layer in units of its group scales, smoothing undone."""

    layer: str
    in_scales: float


def quantised_layers(tensors: ModelTensors) -> list[str]:
    """Return the names of the quantised linear layers."""
    ending = ".qweight"
    return [name.removesuffix(ending) for name in tensors.names() if name.endswith(ending)]


def dequantised_state(folder: Path) -> dict[str, torch.Tensor]:
    """Return the state dict of the model that an AWQ folder stands for, linear weights in fp32."""
    tensors = ModelTensors(folder)
    layers = set(quantised_layers(tensors))
    if not layers:
        raise ButlerError(f"{folder} holds no AWQ layer")
    state = {f"{name}.weight": QuantisedLinear.read(tensors, name).weight() for name in layers}
    packed = (".qweight", ".qzeros", ".scales")
    for name in tensors.names():
        if not (name.endswith(packed) and name.rpartition(".")[0] in layers):
            state[name] = tensors[name]
    return state


def check_plain_tensors(merged: Path, awq: Path) -> None:
    """Check that what is not quantised, embedding and head, is the merged model's.

    Norms and biases take part in the smoothing and are left out.

    Raises:
        ButlerError: naming the first tensor that differs by more than fp16's rounding.
    """
    plain, packed = ModelTensors(merged), ModelTensors(awq)
    for name in packed.names():
        if name not in plain or name.endswith(".bias") or "norm" in name:
            continue
        before, after = plain[name].float(), packed[name].float()
        if not torch.allclose(before, after, rtol=1e-3, atol=1e-6):
            raise ButlerError(f"check awq: {name} is not quantised and differs from the merged one")


def weight_errors(merged: Path, awq: Path) -> Iterator[WeightError]:
    """Compare each quantised layer with the merged model's, block by block.

    LMDeploy divides a norm (or the rows of the linear before) by smoothing factors and multiplies
    the columns of the linears after it; the factors are read off the norms, and off the rows by
    least squares.
    """
    from lmdeploy.lite.apis.calibrate import LAYER_TYPE_MAP
    from lmdeploy.lite.quantization.awq import FC_FCS_MAP, NORM_FCS_MAP

    block = LAYER_TYPE_MAP[read_config(merged)["architectures"][0]]
    plain, packed = ModelTensors(merged), ModelTensors(awq)
    layers = quantised_layers(packed)
    some = next(iter(NORM_FCS_MAP[block].values()))[0]
    for prefix in [name.removesuffix(some) for name in layers if name.endswith(some)]:
        wanted = _smoothed_by_norms(plain, packed, prefix, NORM_FCS_MAP[block], layers)
        found = {name: QuantisedLinear.read(packed, name) for name in wanted}
        _smooth_by_rows(wanted, found, prefix, FC_FCS_MAP[block])
        for name, layer in found.items():
            error = (wanted[name] - layer.weight()).abs() / layer.row_scales().t()
            yield WeightError(name, float(error.max()))


def _smoothed_by_norms(
    plain: ModelTensors,
    packed: ModelTensors,
    prefix: str,
    structure: dict[str, list[str]],
    layers: list[str],
) -> dict[str, torch.Tensor]:
    wanted = {name: plain[f"{name}.weight"].float() for name in layers if name.startswith(prefix)}
    for norm, linears in structure.items():
        before = plain[f"{prefix}{norm}.weight"].float()
        after = packed[f"{prefix}{norm}.weight"].float()
        factors = torch.where(after == 0, torch.ones_like(after), before / after)
        for name in linears:
            wanted[prefix + name] *= factors
    return wanted


def _smooth_by_rows(
    wanted: dict[str, torch.Tensor],
    found: dict[str, QuantisedLinear],
    prefix: str,
    structure: dict[str, list[str]],
) -> None:
    """Apply, in place, the smoothing between two linears that follow each other.

    Raises:
        ButlerError: if what the two layers say of the factors differs by more than rounding can
            explain.
    """
    for before, after in structure.items():
        first = wanted.get(prefix + before)
        if first is None or first.shape[0] != wanted[prefix + after[0]].shape[1]:
            continue  # grouped heads: LMDeploy leaves this pair alone
        for name in after:
            rows, row_variance = _fit(first, found[prefix + before], dim=1)
            columns, variance = _fit(wanted[prefix + name], found[prefix + name], dim=0)
            gap = float((rows + columns).abs().median())
            if gap > LARGEST_GAP:
                raise ButlerError(
                    f"check awq: the smoothing of {prefix}{before} and {prefix}{name} do not "
                    f"cancel (median gap {gap:.3f}): the two layers do not belong together"
                )
            # Each fit counts by how little rounding blurs it.
            share = row_variance / (row_variance + variance)
            factors = (share * columns - (1 - share) * rows).exp()
            wanted[prefix + before] = first / factors.unsqueeze(1)
            wanted[prefix + name] = wanted[prefix + name] * factors


def _fit(
    plain: torch.Tensor, layer: QuantisedLinear, dim: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Fit the factors that bring `plain` nearest to `layer`, least squares along `dim`.

    Returns:
        The factors' logarithms and their variance, a rounding step counting step²/12.
    """
    power = (plain * plain).sum(dim).clamp(min=1e-20)
    factors = ((plain * layer.weight()).sum(dim) / power).clamp(min=1e-6)
    steps = layer.row_scales().t()
    variance = (plain * plain * steps * steps).sum(dim) / 12 / power**2 / factors**2
    return factors.log(), variance
