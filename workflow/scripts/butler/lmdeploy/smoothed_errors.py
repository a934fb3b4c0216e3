"""How far the weights that `lite` made are from those of the model, its smoothing undone.

LMDeploy divides a norm by factors and multiplies the columns of the linears after it; of two
linears that follow each other it divides the rows of the first and multiplies the columns of the
second (`lmdeploy.lite.quantization.awq`). The norms' factors are read off the two models. Those
between linears stand nowhere: each is taken as the one by which the largest error, in steps
between two codes, is smallest. Rounding then leaves half a step; a fit by least squares is off
where a few large weights share a scale with many small ones.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from butler.checks import or_infinite
from butler.errors import ButlerError
from butler.hf_folder import ModelTensors, read_config
from butler.lmdeploy.lite_maps import complete_maps
from butler.progress import counted, progress

HALF = 0.5  # of a step: what rounding to a code leaves
FP16_ROUNDING = 2.0**-11  # of a number
FINE = 20  # bisections of a level: the error is right to some ten-thousandth of a step
AT_ONCE = 2**24  # values of a tensor that is not quantised
SMALLEST, LARGEST = 1e-6, 1e6  # of a smoothing factor


class Rounded(Protocol):
    """A linear layer as a folder holds it, in whole steps between two codes."""

    @property
    def shape(self) -> torch.Size:
        """What the Linear's weight has, [out, in]."""

    def steps(self) -> torch.Tensor:
        """Return each weight in steps, fp32 [in, out]."""

    def in_steps(self, weights: torch.Tensor) -> torch.Tensor:
        """Return other weights, fp32 [in, out], in the same steps; may overwrite them."""


@dataclass(frozen=True)
class Form:
    """How the folders of a scheme hold their linears.

    `check` is the name of the scheme's check. `layers` returns the linears' names of those of all
    tensors, and `read` one of them from a folder, on a device. `allowed` is what rounding explains,
    in steps: HALF, and what is rounded to fp16 on the way.
    """

    check: str
    layers: Callable[[Iterable[str]], list[str]]
    read: Callable[[ModelTensors, str, str], Rounded]
    allowed: float


@dataclass(frozen=True)
class LayerError:
    """Errors of one layer's weights, in steps between two codes.

    `largest`, NaN if a weight is no number; `beyond` of its `weights` are off by more than rounding
    explains.
    """

    layer: str
    largest: float
    beyond: int
    weights: int


class InSteps:
    """A layer in steps between two codes: `steps` and `plain`, both fp32 [in, out].

    `plain` is what was quantised, but for the factors between linears.
    """

    def __init__(self, wanted: torch.Tensor, layer: Rounded) -> None:
        self.steps = layer.steps()
        self.plain = layer.in_steps(wanted.t().contiguous())

    def bounds(self, level: torch.Tensor, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the least and the largest multiple of `plain` within `level` of `steps`.

        One for each channel along the other axis than `dim`, as `level` is.
        """
        level = level.unsqueeze(dim)
        one, other = (self.steps - level) / self.plain, (self.steps + level) / self.plain
        return torch.minimum(one, other).amax(dim), torch.maximum(one, other).amin(dim)

    def channels(self, which: torch.Tensor, dim: int) -> "InSteps":
        """Return the same with the chosen channels alone."""
        some = object.__new__(InSteps)
        some.steps = self.steps.index_select(1 - dim, which)
        some.plain = self.plain.index_select(1 - dim, which)
        return some

    def errors(self, multiples: torch.Tensor | None = None, dim: int = 0) -> torch.Tensor:
        """Return |steps − plain · multiples| of each weight, fp32 [in, out]."""
        plain = self.plain if multiples is None else self.plain * multiples.unsqueeze(dim)
        return (plain - self.steps).abs_()


def all_errors(form: Form, merged: Path, made: Path, device: str) -> list[LayerError]:
    """Return the errors of every quantised layer, the worst first, saying how far it is.

    Raises:
        ButlerError: if there is none, or a tensor that is not quantised differs.
    """
    total, started = len(form.layers(ModelTensors(made).names())), time.monotonic()
    errors: list[LayerError] = []
    with progress(f"check {form.check}", lambda: counted(len(errors), total, "layers", started)):
        check_plain_tensors(form, merged, made)
        for error in layer_errors(form, merged, made, device):
            errors.append(error)
    if not errors:
        raise ButlerError(f"{made} holds no quantised layer of {merged}")
    return sorted(errors, key=lambda e: -or_infinite(e.largest))


def layer_errors(form: Form, merged: Path, made: Path, device: str) -> Iterator[LayerError]:
    """Compare each quantised layer with the merged model's on a device, at most two at a time.

    Raises:
        ButlerError: if a layer has another shape than the merged model's, or a bias differs.
    """
    smoothed, following = _maps(merged)
    plain, packed = ModelTensors(merged), ModelTensors(made)
    layers = form.layers(packed.names())
    some = next(iter(smoothed.values()))[0]
    for prefix in [name.removesuffix(some) for name in layers if name.endswith(some)]:
        found = _Block(form, prefix, smoothed, plain, packed, device)
        rest = [name.removeprefix(prefix) for name in layers if name.startswith(prefix)]
        for first, after in following.items():
            if first in rest and found.follow_each_other(first, after):
                yield from found.pair(first, after)
                rest = [name for name in rest if name not in (first, *after)]
        for name in rest:
            yield found.alone(name)


def _maps(merged: Path) -> tuple[Mapping[str, Sequence[str]], Mapping[str, Sequence[str]]]:
    """Return the linears that LMDeploy smooths together with a norm, and with another linear."""
    from lmdeploy.lite.apis.calibrate import LAYER_TYPE_MAP
    from lmdeploy.lite.quantization.awq import FC_FCS_MAP, NORM_FCS_MAP

    complete_maps()
    block = LAYER_TYPE_MAP[read_config(merged)["architectures"][0]]
    return NORM_FCS_MAP[block], FC_FCS_MAP[block]


class _Block:
    """The quantised linears of one decoder layer, whose tensors' names begin with `prefix`."""

    def __init__(
        self,
        form: Form,
        prefix: str,
        norms: Mapping[str, Sequence[str]],
        plain: ModelTensors,
        packed: ModelTensors,
        device: str,
    ) -> None:
        self._prefix, self._plain, self._packed = prefix, plain, packed
        self._form, self._device = form, device
        self._norm_of = {name: norm for norm, linears in norms.items() for name in linears}

    def follow_each_other(self, first: str, after: Sequence[str]) -> bool:
        """Say whether LMDeploy smooths between them; it does not where heads are grouped."""
        names = (f"{self._prefix}{name}.weight" for name in (first, *after))
        (rows, _), *behind = (self._plain.shape(name) for name in names)
        return all(columns == rows for _, columns in behind)

    def alone(self, name: str) -> LayerError:
        """Compare a linear that is smoothed by its norm, or not at all."""
        layer = self._read(name)
        self._check_bias(name, None)
        return self._judge(name, layer.errors())

    def pair(self, first: str, after: Sequence[str]) -> Iterator[LayerError]:
        """Compare a linear and those after it, the best factors between them undone."""
        before, behind = self._read(first), [self._read(name) for name in after]
        factors = best_factors(before, behind, self._form.allowed)
        self._check_bias(first, factors)
        yield self._judge(first, before.errors(1 / factors, dim=0))
        for name, layer in zip(after, behind, strict=True):
            self._check_bias(name, None)
            yield self._judge(name, layer.errors(factors, dim=1))

    def _read(self, name: str) -> InSteps:
        wanted = self._plain[f"{self._prefix}{name}.weight"].to(self._device).float()
        layer = self._form.read(self._packed, self._prefix + name, self._device)
        if wanted.shape != layer.shape:
            raise ButlerError(
                f"check {self._form.check}: {self._prefix}{name} is {list(layer.shape)}, in the "
                f"merged model {list(wanted.shape)}: it is another model's"
            )
        norm = self._norm_of.get(name)
        if norm:
            before = self._plain[f"{self._prefix}{norm}.weight"].float()
            after = self._packed[f"{self._prefix}{norm}.weight"].float()
            factors = torch.where(after == 0, torch.ones_like(after), before / after)
            wanted = wanted * factors.to(self._device)
        return InSteps(wanted, layer)

    def _check_bias(self, name: str, factors: torch.Tensor | None) -> None:
        """Check that a bias is the merged model's, divided by `factors` if there are any."""
        bias = f"{self._prefix}{name}.bias"
        if bias not in self._packed:
            return
        wanted, found = self._plain[bias].float(), self._packed[bias].float()
        # The factors are known to a code's share of a step, not exactly.
        rtol, undone = (1e-3, found) if factors is None else (0.05, found * factors.cpu())
        if not torch.allclose(undone, wanted, rtol=rtol, atol=1e-4):
            raise ButlerError(f"check {self._form.check}: {bias} is not the merged model's")

    def _judge(self, name: str, errors: torch.Tensor) -> LayerError:
        largest = float(errors.max())
        beyond, allowed = 0, self._form.allowed
        if not largest <= allowed:
            beyond = int(errors.numel() - (errors <= allowed).sum())
        return LayerError(self._prefix + name, largest, beyond, errors.numel())


def best_factors(before: InSteps, behind: Sequence[InSteps], allowed: float) -> torch.Tensor:
    """Return the factor of each channel by which the largest error of all layers is smallest.

    Channel j is the j-th output of `before`, whose weights are divided by it, and the j-th input of
    those `behind`, whose weights are multiplied by it. For a level of error each weight allows an
    interval of factors; the level is the smallest, to within FINE bisections, at which the
    intervals of a channel have a factor in common, or HALF where that leaves none above `allowed`.
    """
    channels = before.steps.shape[1]
    level = before.plain.new_full((channels,), HALF)
    factors = _middle(*_allowed(before, behind, level))
    worst = _worst(before, behind, factors)
    # At half a step the intervals of most channels meet, or miss each other by a rounding.
    apart = (worst > allowed).nonzero().flatten()
    if len(apart):
        factors[apart] = _bisected(
            before.channels(apart, dim=0), [one.channels(apart, dim=1) for one in behind]
        )
    return factors


def _bisected(before: InSteps, behind: Sequence[InSteps]) -> torch.Tensor:
    low = before.plain.new_full((before.steps.shape[1],), HALF)
    # With weights of 0 the error is as many steps as the largest code is.
    most_steps = max(float(one.steps.abs().max()) for one in (before, *behind))
    high = torch.full_like(low, 1 + most_steps)
    for _ in range(FINE):
        level = (low + high) / 2
        least, most = _allowed(before, behind, level)
        meet = least <= most
        high, low = torch.where(meet, level, high), torch.where(meet, low, level)
    return _middle(*_allowed(before, behind, high))


def _allowed(
    before: InSteps, behind: Sequence[InSteps], level: torch.Tensor
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


def _worst(before: InSteps, behind: Sequence[InSteps], factors: torch.Tensor) -> torch.Tensor:
    worst = before.errors(1 / factors, dim=0).amax(0)
    for layer in behind:
        worst = torch.maximum(worst, layer.errors(factors, dim=1).amax(1))
    return worst


def check_plain_tensors(form: Form, merged: Path, made: Path) -> None:
    """Check that what is not quantised, as embedding, head and last norm, is the merged model's.

    The other norms and the linears' biases take part in the smoothing, and are compared with the
    layers.

    Raises:
        ButlerError: naming the first tensor that is missing, or off by more than fp16's rounding.
    """
    plain, packed = ModelTensors(merged), ModelTensors(made)
    layers = form.layers(packed.names())
    weights = {f"{name}.weight" for name in layers}
    norms = tuple(f".{norm}.weight" for norm in _maps(merged)[0])
    smoothed = weights | {f"{name}.bias" for name in layers}
    for name in plain.names():
        if name not in packed and name not in weights:
            raise ButlerError(f"check {form.check}: {name} of the merged model is not in {made}")
        if name in smoothed or name.endswith(norms):
            continue
        before, after = plain[name].flatten(), packed[name].flatten()
        same = before.shape == after.shape and all(
            torch.allclose(one.float(), other.float(), rtol=1e-3, atol=1e-6)
            for one, other in zip(before.split(AT_ONCE), after.split(AT_ONCE), strict=True)
        )
        if not same:
            raise ButlerError(
                f"check {form.check}: {name} is not quantised and differs from the merged one"
            )
