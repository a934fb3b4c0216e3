"""How far AWQ weights are from the model that they were rounded from, its smoothing undone.

LMDeploy divides a norm by factors and multiplies the columns of the linears after it; of two
linears that follow each other it divides the rows of the first and multiplies the columns of the
second (`lmdeploy.lite.quantization.awq`). The norms' factors are read off the two models. Those
between linears stand nowhere: each is taken as the one by which the largest error, in group
scales, is smallest. Rounding then leaves half a scale; a fit by least squares is off where a few
large weights share a group with many small ones.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from butler.errors import ButlerError
from butler.hf_folder import ModelTensors, read_config
from butler.lmdeploy.lite_maps import complete_maps
from butler.lmdeploy.packed_weights import QuantisedLinear, quantised_layers

HALF = 0.5  # of a group scale: what rounding to a code leaves
# A code is at most 15 scales, and the weight and its scale are each rounded to fp16 (2⁻¹¹ of them).
FP16_ROUNDING = 15 * 2 * 2**-11
FINE = 12  # bisections of a level: the error is right to some ten-thousandth of a scale
AT_ONCE = 2**24  # values of a tensor that is not quantised
SMALLEST, LARGEST = 1e-6, 1e6  # of a smoothing factor


@dataclass(frozen=True)
class LayerError:
    """Errors of one layer's weights, in units of their group scales.

    `largest`, NaN if a weight is no number; `beyond` of its `weights` are off by more than half a
    scale and what fp16 rounds.
    """

    layer: str
    largest: float
    beyond: int
    weights: int


class InScales:
    """A layer in units of its group scales: `steps` and `plain`, both fp32 [in, out].

    `plain` is what was quantised, but for the factors between linears.
    """

    def __init__(self, wanted: torch.Tensor, layer: QuantisedLinear) -> None:
        self.steps = layer.steps()
        grouped = layer.grouped(wanted.t().contiguous())
        self.plain = grouped.div_(layer.scales.unsqueeze(1)).flatten(0, 1)

    def bounds(self, level: torch.Tensor, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the least and the largest multiple of `plain` within `level` of `steps`.

        One for each channel along the other axis than `dim`, as `level` is.
        """
        level = level.unsqueeze(dim)
        one, other = (self.steps - level) / self.plain, (self.steps + level) / self.plain
        return torch.minimum(one, other).amax(dim), torch.maximum(one, other).amin(dim)

    def channels(self, which: torch.Tensor, dim: int) -> "InScales":
        """Return the same with the chosen channels alone."""
        some = object.__new__(InScales)
        some.steps = self.steps.index_select(1 - dim, which)
        some.plain = self.plain.index_select(1 - dim, which)
        return some

    def errors(self, multiples: torch.Tensor | None = None, dim: int = 0) -> torch.Tensor:
        """Return |steps − plain · multiples| of each weight, fp32 [in, out]."""
        plain = self.plain if multiples is None else self.plain * multiples.unsqueeze(dim)
        return (plain - self.steps).abs_()


def layer_errors(merged: Path, awq: Path, device: str) -> Iterator[LayerError]:
    """Compare each quantised layer with the merged model's on a device, at most two at a time.

    Raises:
        ButlerError: if a layer has another shape than the merged model's, or a bias differs.
    """
    from lmdeploy.lite.apis.calibrate import LAYER_TYPE_MAP
    from lmdeploy.lite.quantization.awq import FC_FCS_MAP, NORM_FCS_MAP

    complete_maps()
    block = LAYER_TYPE_MAP[read_config(merged)["architectures"][0]]
    plain, packed = ModelTensors(merged), ModelTensors(awq)
    layers = quantised_layers(packed.names())
    some = next(iter(NORM_FCS_MAP[block].values()))[0]
    for prefix in [name.removesuffix(some) for name in layers if name.endswith(some)]:
        found = _Block(prefix, NORM_FCS_MAP[block], plain, packed, device)
        rest = [name.removeprefix(prefix) for name in layers if name.startswith(prefix)]
        for first, after in FC_FCS_MAP[block].items():
            if first in rest and found.follow_each_other(first, after):
                yield from found.pair(first, after)
                rest = [name for name in rest if name not in (first, *after)]
        for name in rest:
            yield found.alone(name)


class _Block:
    """The quantised linears of one decoder layer, whose tensors' names begin with `prefix`."""

    def __init__(
        self,
        prefix: str,
        norms: Mapping[str, Sequence[str]],
        plain: ModelTensors,
        packed: ModelTensors,
        device: str,
    ) -> None:
        self._prefix, self._plain, self._packed = prefix, plain, packed
        self._device = device
        self._norm_of = {name: norm for norm, linears in norms.items() for name in linears}

    def follow_each_other(self, first: str, after: Sequence[str]) -> bool:
        """Say whether LMDeploy smooths between them; it does not where heads are grouped."""
        rows = self._packed[f"{self._prefix}{first}.scales"].shape[1]
        return all(rows == self._packed[f"{self._prefix}{name}.qweight"].shape[0] for name in after)

    def alone(self, name: str) -> LayerError:
        """Compare a linear that is smoothed by its norm, or not at all."""
        layer = self._read(name)
        self._check_bias(name, None)
        return self._judge(name, layer.errors())

    def pair(self, first: str, after: Sequence[str]) -> Iterator[LayerError]:
        """Compare a linear and those after it, the best factors between them undone."""
        before, behind = self._read(first), [self._read(name) for name in after]
        factors = best_factors(before, behind)
        self._check_bias(first, factors)
        yield self._judge(first, before.errors(1 / factors, dim=0))
        for name, layer in zip(after, behind, strict=True):
            self._check_bias(name, None)
            yield self._judge(name, layer.errors(factors, dim=1))

    def _read(self, name: str) -> InScales:
        wanted = self._plain[f"{self._prefix}{name}.weight"].to(self._device).float()
        layer = QuantisedLinear.read(self._packed, self._prefix + name, self._device)
        if wanted.t().shape != layer.codes.shape:
            raise ButlerError(
                f"check awq: {self._prefix}{name} is {list(layer.codes.t().shape)}, in the merged "
                f"model {list(wanted.shape)}: it is another model's"
            )
        norm = self._norm_of.get(name)
        if norm:
            before = self._plain[f"{self._prefix}{norm}.weight"].float()
            after = self._packed[f"{self._prefix}{norm}.weight"].float()
            factors = torch.where(after == 0, torch.ones_like(after), before / after)
            wanted = wanted * factors.to(self._device)
        return InScales(wanted, layer)

    def _check_bias(self, name: str, factors: torch.Tensor | None) -> None:
        """Check that a bias is the merged model's, divided by `factors` if there are any."""
        bias = f"{self._prefix}{name}.bias"
        if bias not in self._packed:
            return
        wanted, found = self._plain[bias].float(), self._packed[bias].float()
        # The factors are known to a code's share of a step, not exactly.
        rtol, undone = (1e-3, found) if factors is None else (0.05, found * factors.cpu())
        if not torch.allclose(undone, wanted, rtol=rtol, atol=1e-4):
            raise ButlerError(f"check awq: {bias} is not the merged model's")

    def _judge(self, name: str, errors: torch.Tensor) -> LayerError:
        largest = float(errors.max())
        beyond = 0
        if not largest <= HALF + FP16_ROUNDING:
            beyond = int(errors.numel() - (errors <= HALF + FP16_ROUNDING).sum())
        return LayerError(self._prefix + name, largest, beyond, errors.numel())


def best_factors(before: InScales, behind: Sequence[InScales]) -> torch.Tensor:
    """Return the factor of each channel by which the largest error of all layers is smallest.

    Channel j is the j-th output of `before`, whose weights are divided by it, and the j-th input of
    those `behind`, whose weights are multiplied by it. For a level of error each weight allows an
    interval of factors; the level is the smallest, to within FINE bisections, at which the
    intervals of a channel have a factor in common.
    """
    channels = before.steps.shape[1]
    level = before.plain.new_full((channels,), HALF)
    factors = _middle(*_allowed(before, behind, level))
    worst = _worst(before, behind, factors)
    # At half a scale the intervals of most channels meet, or miss each other by a rounding.
    apart = (worst > HALF + FP16_ROUNDING).nonzero().flatten()
    if len(apart):
        factors[apart] = _bisected(
            before.channels(apart, dim=0), [one.channels(apart, dim=1) for one in behind]
        )
    return factors


def _bisected(before: InScales, behind: Sequence[InScales]) -> torch.Tensor:
    low = before.plain.new_full((before.steps.shape[1],), HALF)
    high = torch.full_like(low, 16.0)  # every code is within 15 of its zero point
    for _ in range(FINE + 4):
        level = (low + high) / 2
        least, most = _allowed(before, behind, level)
        meet = least <= most
        high, low = torch.where(meet, level, high), torch.where(meet, low, level)
    return _middle(*_allowed(before, behind, high))


def _allowed(
    before: InScales, behind: Sequence[InScales], level: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the least and the largest factor of each channel at which no error is above `level`.

    The first is above the second where there is none.
    """
    least, most = before.bounds(level, dim=0)  # of 1 / factor
    # A multiple of 0 or below is none of a positive factor: the other bound is then open.
    low, high = 1 / most, torch.where(least > 0, 1 / least, torch.full_like(least, LARGEST))
    low = torch.where(most > 0, low, torch.full_like(low, LARGEST))
    for layer in behind:
        least, most = layer.bounds(level, dim=1)
        low, high = torch.maximum(low, least), torch.minimum(high, most)
    return low.clamp(SMALLEST, LARGEST), high.clamp(SMALLEST, LARGEST)


def _middle(least: torch.Tensor, most: torch.Tensor) -> torch.Tensor:
    return (least * most).sqrt()


def _worst(before: InScales, behind: Sequence[InScales], factors: torch.Tensor) -> torch.Tensor:
    worst = before.errors(1 / factors, dim=0).amax(0)
    for layer in behind:
        worst = torch.maximum(worst, layer.errors(factors, dim=1).amax(1))
    return worst


def check_plain_tensors(merged: Path, awq: Path) -> None:
    """Check that what is not quantised, embedding and head, is the merged model's.

    Norms and biases take part in the smoothing and are compared with the layers.

    Raises:
        ButlerError: naming the first tensor that differs by more than fp16's rounding.
    """
    plain, packed = ModelTensors(merged), ModelTensors(awq)
    for name in packed.names():
        if name not in plain or name.endswith(".bias") or "norm" in name:
            continue
        before, after = plain[name].flatten(), packed[name].flatten()
        same = before.shape == after.shape and all(
            torch.allclose(one.float(), other.float(), rtol=1e-3, atol=1e-6)
            for one, other in zip(before.split(AT_ONCE), after.split(AT_ONCE), strict=True)
        )
        if not same:
            raise ButlerError(f"check awq: {name} is not quantised and differs from the merged one")
