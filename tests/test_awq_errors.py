"""AWQ weights held against the model they come from: the smoothing between linears undone."""

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")


from butler.lmdeploy.packed_weights import QuantisedLinear
from butler.lmdeploy.smoothed_errors import InSteps, best_factors
from check_awq import ALLOWED

GROUP = 128


def quantised(weight):
    """Round a weight [out, in] as LMDeploy's pseudo_quantize_tensor does."""
    groups = weight.t().reshape(-1, GROUP, weight.shape[0])
    low, high = groups.amin(1), groups.amax(1)
    scales = (high - low).clamp(min=1e-5) / 15
    zeros = (-(low / scales).round()).clamp(0, 15)
    codes = ((groups / scales[:, None]).round() + zeros[:, None]).clamp(0, 15)
    whole = codes.reshape(weight.shape[1], -1)
    return QuantisedLinear(whole.to(torch.uint8), zeros.to(torch.uint8), scales.half().float())


class Pair:
    """An up and a down projection with outliers as real models have them, smoothed and rounded."""

    def __init__(self, half: bool) -> None:
        generator = torch.Generator().manual_seed(0)
        self.up = torch.randn(512, 256, generator=generator) * 0.02
        self.down = torch.randn(256, 512, generator=generator) * 0.02
        self.up[::7] *= 8
        self.up[:, ::50] *= 6
        self.down[:, ::31] *= 20
        factors = torch.randn(512, generator=generator).exp()
        smoothed = self.up / factors[:, None], self.down * factors
        if half:  # as on a GPU
            factors = factors.half()
            smoothed = self.up.half() / factors[:, None], self.down.half() * factors
        self.found = [quantised(one.float()) for one in smoothed]

    def worst(self, factors=None):
        """Return the largest error of both, in group scales."""
        up, down = InSteps(self.up, self.found[0]), InSteps(self.down, self.found[1])
        if factors is None:
            factors = best_factors(up, [down], ALLOWED)
        errors = up.errors(1 / factors, dim=0), down.errors(factors, dim=1)
        return max(float(one.max()) for one in errors)


@pytest.mark.parametrize("half", [False, True])
def test_outliers_between_linears_are_no_error(half):
    pair = Pair(half)
    by_least_squares = (pair.up * pair.up).sum(1) / (pair.up * pair.found[0].weight()).sum(1)
    assert pair.worst(by_least_squares) > 0.6  # as far off as a check by it would have to allow
    assert pair.worst() <= ALLOWED


def test_a_code_moved_by_one_is_an_error():
    pair = Pair(half=False)
    codes = pair.found[0].codes.clone()
    codes[5, 7] += 1 if codes[5, 7] < 15 else -1
    pair.found[0] = replace(pair.found[0], codes=codes)
    assert pair.worst() > ALLOWED


@pytest.mark.parametrize("which", [0, 1])
def test_shifted_zero_points_are_an_error(which):
    pair = Pair(half=False)
    pair.found[which] = replace(pair.found[which], zeros=pair.found[which].zeros + 1)
    assert pair.worst() > 1


@pytest.mark.parametrize("which", [0, 1])
def test_another_layer_and_another_order_are_errors(which):
    pair = Pair(half=False)
    layer = pair.found[which]
    pair.found[which] = replace(layer, codes=layer.codes.flip(1))
    assert pair.worst() > 1
    pair.found[which] = quantised(torch.randn(layer.codes.t().shape) * 0.02)
    assert pair.worst() > 1


def test_a_weight_that_is_no_number_is_the_worst():
    pair = Pair(half=False)
    pair.up[3, 5] = float("nan")
    assert not pair.worst() <= 16
