"""Quantised numbers: W4 unpacking and the definitions of the KV cache."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiny_workspace import HEAD, pack_nibbles

torch = pytest.importorskip("torch")

from butler.errors import ButlerError
from butler.reference.cache import GROWTH, KVCache, make_codecs
from butler.reference.quant import (
    dequantise_online,
    dequantise_static,
    dequantise_w4,
    pack_codes,
    quantise_online,
    quantise_static,
    unpack_codes,
    unpack_u4,
)
from butler.schemes import KV_CACHES


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


BITS = sorted(one.bits for one in KV_CACHES.values() if one.quantised)


@settings(max_examples=100, deadline=None)
@given(
    bits=st.sampled_from(BITS),
    seed=st.integers(0, 10**6),
    spread=st.floats(1e-2, 1e3),  # below it steps are beyond fp16's normal numbers
    offset=st.floats(-4, 4),
)
def test_an_online_code_errs_by_half_a_step_at_most(
    bits: int, seed: int, spread: float, offset: float
) -> None:
    drawn = torch.randn(5, HEAD, generator=torch.Generator().manual_seed(seed))
    x = ((drawn + offset) * spread).half().float()  # as TurboMind has keys and values
    codes, params = quantise_online(x, bits)
    assert codes.dtype == torch.uint8 and int(codes.max()) <= 2**bits - 1
    assert params.dtype == torch.float16
    step = params[:, :1].float()
    # Beyond half a step: what fp16 loses of the step, of x − zero, of 1 / s and of their product.
    slack = 4 * step * 2**bits * 2**-11
    error = (dequantise_online(codes, params) - x).abs()
    assert (error <= step / 2 + slack).all()


@pytest.mark.parametrize("bits", BITS)
def test_an_online_code_takes_min_and_max_per_token_and_head(bits: int) -> None:
    largest = 2**bits - 1
    x = torch.zeros(2, 3, HEAD)
    x[0, 1, 0], x[1, 2, 5] = largest, -51.0
    codes, params = quantise_online(x, bits)
    assert params[0, 1].tolist() == [1.0, 0.0]
    assert codes[0, 1, 0] == largest
    assert params[1, 2].tolist() == [pytest.approx(51 / largest, rel=1e-3), -51.0]
    assert codes[1, 2, 5] == 0 and codes[1, 2, 6] == largest


@settings(max_examples=40, deadline=None)
@given(bits=st.sampled_from(BITS), value=st.floats(-60_000, 60_000, width=16))
def test_equal_features_come_back_as_they_are(bits: int, value: float) -> None:
    x = torch.full((2, HEAD), value)
    codes, params = quantise_online(x, bits)
    assert not codes.any() and not params[:, 0].any()
    assert torch.equal(dequantise_online(codes, params), x)


@pytest.mark.parametrize("bits", BITS)
def test_a_step_that_fp16_rounds_down_saturates(bits: int) -> None:
    # The step is rounded down to the smallest number that fp16 has, and 1 / step is beyond its
    # largest: what is not 0 gets the last code, as in TurboMind.
    largest, smallest = 2**bits - 1, 2.0**-24
    x = torch.zeros(1, HEAD)
    x[0, 0], x[0, 1] = round(1.4 * largest) * smallest, smallest
    codes, params = quantise_online(x, bits)
    assert params.tolist() == [[smallest, 0.0]]
    assert codes[0, :3].tolist() == [largest, largest, 0]


@settings(max_examples=60, deadline=None)
@given(
    bits=st.sampled_from([1, 2, 4, 8]),
    heads=st.integers(1, 3),
    half=st.integers(1, 40),
    seed=st.integers(0, 10**6),
)
def test_codes_are_packed_without_a_gap_and_come_back(
    bits: int, heads: int, half: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(2**bits, (2, heads, 8 * half), generator=generator).to(torch.uint8)
    packed = pack_codes(codes, bits)
    assert packed.dtype == torch.uint8
    assert packed.numel() * 8 == codes.numel() * bits
    assert torch.equal(unpack_codes(packed, bits), codes)


def test_ties_round_to_even() -> None:
    for bits in BITS:
        x = torch.zeros(1, HEAD)
        x[0, :5] = torch.tensor([2**bits - 1, 0.5, 1.5, 2.5, 3.5])
        assert quantise_online(x, bits)[0][0, 1:5].tolist() == [0, 2, 2, 4]
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
    ("kind", "tolerance"),
    [("fp32", 0), ("fp16", 2e-3), ("int8", 0.03), ("int4", 0.28), ("static", 0.017)],
)
def test_cache_returns_what_was_written_while_it_grows(kind: str, tolerance: float) -> None:
    cache, x = filled(kind, 3 * GROWTH)
    keys, values = cache.read(0, slice(0, 3), 3 * GROWTH)
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
    with pytest.raises(ButlerError, match="'int2' is none of fp16, int8, int4, fp32, static"):
        make_codecs("int2", 1)
