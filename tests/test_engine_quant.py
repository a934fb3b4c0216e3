"""Quantised numbers: W4 unpacking and the two int8 definitions of the KV cache."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiny_workspace import HEAD, pack_nibbles

torch = pytest.importorskip("torch")

from butler.errors import ButlerError
from butler.reference.cache import CHUNK, KVCache, make_codecs
from butler.reference.quant import (
    dequantise_online,
    dequantise_static,
    dequantise_w4,
    quantise_online,
    quantise_static,
    unpack_u4,
)


def test_w4_matches_the_definition_number_by_number() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 16, (256, 16), dtype=np.uint8)
    packed = torch.from_numpy(pack_nibbles(codes))
    assert torch.equal(unpack_u4(packed), torch.from_numpy(codes))
    scales, zeros = torch.rand(2, 16), torch.randint(0, 16, (2, 16)).float()
    weight = dequantise_w4(packed, scales, zeros)
    for row, column in [(0, 0), (127, 15), (128, 3), (255, 8)]:
        group = row // 128
        expected = (codes[row, column] - zeros[group, column]) * scales[group, column]
        assert float(weight[row, column]) == pytest.approx(float(expected))


def test_nibbles_of_a_word_are_consecutive_columns() -> None:
    word = torch.tensor([[0x76543210]], dtype=torch.int32)
    assert unpack_u4(word).tolist() == [[0, 1, 2, 3, 4, 5, 6, 7]]
    assert unpack_u4(torch.tensor([[-1]], dtype=torch.int32)).tolist() == [[15] * 8]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), spread=st.floats(1e-3, 1e3), offset=st.floats(-4, 4))
def test_online_int8_errs_by_half_a_step_at_most(seed: int, spread: float, offset: float) -> None:
    x = (torch.randn(5, HEAD, generator=torch.Generator().manual_seed(seed)) + offset) * spread
    codes, params = quantise_online(x)
    assert codes.dtype == torch.uint8
    assert params.dtype == torch.float16
    step = params[:, :1].float()
    # Beyond half a step: what fp16 loses of the zero point, of the step, and fp32 rounding.
    slack = step * 0.13 + params[:, 1:].float().abs() * 2**-11
    error = (dequantise_online(codes, params) - x).abs()
    assert (error <= step / 2 + slack).all()


def test_online_int8_takes_min_and_max_per_token_and_head() -> None:
    x = torch.zeros(2, 3, HEAD)
    x[0, 1, 0], x[1, 2, 5] = 255.0, -51.0
    codes, params = quantise_online(x)
    assert params[0, 1].tolist() == [1.0, 0.0]
    assert codes[0, 1, 0] == 255
    assert params[1, 2].tolist() == [pytest.approx(0.2, rel=1e-3), -51.0]
    assert codes[1, 2, 5] == 0
    assert torch.equal(dequantise_online(codes, params)[0, 0], x[0, 0])


def test_ties_round_to_even() -> None:
    x = torch.zeros(1, HEAD)
    x[0, :5] = torch.tensor([255.0, 0.5, 1.5, 2.5, 3.5])
    assert quantise_online(x)[0][0, 1:5].tolist() == [0, 2, 2, 4]
    static = quantise_static(torch.tensor([0.5, 1.5, -0.5, -1.5]), 1.0, 0.0)
    assert static.tolist() == [0, 2, 0, -2]


@settings(max_examples=40, deadline=None)
@given(low=st.floats(-50, 0), width=st.floats(0.01, 100))
def test_static_int8_covers_its_range_and_saturates_outside(low: float, width: float) -> None:
    scale, zero_point = width / 255, low + width / 2
    x = torch.linspace(low, low + width, 500)
    codes = quantise_static(x, scale, zero_point)
    error = (dequantise_static(codes, scale, zero_point) - x).abs()
    # The range has 255 steps around its middle, so its upper end may lie half a step outside.
    assert (error <= scale * 0.5001 + 1e-5).all()
    far = quantise_static(torch.tensor([low - width, low + 2 * width]), scale, zero_point)
    assert far.tolist() == [-128, 127]


def filled(kind: str, tokens: int) -> tuple[KVCache, torch.Tensor]:
    scales = torch.tensor([[8 / 255, 0.0, 8 / 255, 0.0]])
    cache = KVCache(make_codecs(kind, 1, scales), kv_heads=2, head_dim=HEAD)
    x = torch.randn(3, 2, tokens, HEAD, generator=torch.Generator().manual_seed(0)).clamp(-4, 4)
    for _ in range(3):
        cache.add()
    for start in range(0, tokens, 100):
        part = x[:, :, start : start + 100]
        stop = start + part.shape[2]
        cache.reserve(stop)
        positions = torch.arange(start, stop).expand(3, -1)
        cache.write(0, slice(0, 3), positions, part, -part)
        cache.lengths = [stop] * 3
    return cache, x


@pytest.mark.parametrize(
    ("kind", "tolerance"), [("fp32", 0), ("fp16", 2e-3), ("online", 0.03), ("static", 0.017)]
)
def test_cache_returns_what_was_written_while_it_grows(kind: str, tolerance: float) -> None:
    cache, x = filled(kind, 3 * CHUNK)
    keys, values = cache.read(0, slice(0, 3), 3 * CHUNK)
    torch.testing.assert_close(keys, x, atol=tolerance, rtol=0)
    torch.testing.assert_close(values, -x, atol=tolerance, rtol=0)


def test_closing_a_slot_moves_the_last_sequence_into_it() -> None:
    cache, x = filled("fp32", 10)
    assert cache.remove(0) == 2
    keys, _ = cache.read(0, slice(0, 2), 10)
    assert torch.equal(keys, x[[2, 1]])
    assert cache.remove(1) is None
    assert cache.lengths == [10]


def test_unknown_cache_kind_is_refused() -> None:
    with pytest.raises(ButlerError, match="'int4' is none of fp16, fp32, online, static"):
        make_codecs("int4", 1)
