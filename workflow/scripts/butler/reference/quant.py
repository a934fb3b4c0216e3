"""Quantised numbers as TurboMind stores them: W4 weights and the KV cache."""

import torch

I8_MIN, I8_MAX = -128, 127


def unpack_u4(packed: torch.Tensor) -> torch.Tensor:
    """Unpack int32 [in, out/8] to uint8 [in, out]; nibble i of a word is its column i.

    Source: lmdeploy 0.7.3, turbomind/deploy/parameter.py, pack_u4_row.
    """
    shifts = torch.arange(0, 32, 4, dtype=torch.int32)
    return ((packed.unsqueeze(-1) >> shifts) & 0xF).to(torch.uint8).flatten(-2)


def dequantise_w4(packed: torch.Tensor, scales: torch.Tensor, zeros: torch.Tensor) -> torch.Tensor:
    """Return fp32 [in, out] with w = (q - zero) * scale.

    Args:
        packed: int32 [in, out/8].
        scales, zeros: fp32 [groups, out]; a group is in/groups consecutive input rows.

    Source: AWQ's definition (activation-aware weight quantisation, group-wise asymmetric).
    """
    codes = unpack_u4(packed).float()
    groups, columns = scales.shape
    grouped = codes.view(groups, -1, columns)
    return ((grouped - zeros.unsqueeze(1)) * scales.unsqueeze(1)).view(-1, columns)


def quantise_online(x: torch.Tensor, bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Quantise over the last axis as TurboMind does its KV cache: each token and kv head by itself.

    s = (max - min) / (2^bits - 1), zero = min, q = (x - zero) / s rounded half to even and
    saturated to 0 .. 2^bits - 1; keys after the rotary embedding. int4 (quant_policy 4) and int8
    (8) differ in `bits` alone. s and zero are kept in fp16 and as they stand here: the int4 variant
    that stores zero - 64 s for a faster way back (kFuseU4F16Dequant) is switched off in 0.7.3.
    Where all features are equal, every code is 0.

    The codes are found as TurboMind finds them in an fp16 model: x, x - zero, fp16's 1 / s and
    their product are each rounded to fp16. In fp32 some codes beside a tie are their neighbours,
    which at 4 bits is seen in likelihoods. (In a bfloat16 model TurboMind does it in bfloat16.)

    Args:
        x: fp32 [..., head_dim].
        bits: 1 to 8.

    Returns:
        Codes, uint8 [..., head_dim], and parameters, fp16 [..., 2] (s, zero).

    Source: lmdeploy 0.7.3, turbomind/kernels/attention/quantization.h, warp_stats, ConvertKvCache
    and quant; the layout, bits × head_dim / 8 + 4 bytes a vector, is block.h beside it.
    """
    x = x.half()
    low, high = x.amin(-1), x.amax(-1)
    largest = 2**bits - 1
    params = torch.stack([((high.float() - low.float()) / largest).half(), low], dim=-1)
    scale, zero = params.unsqueeze(-2).unbind(-1)
    inverse = (1 / scale.float()).half()
    # Where 1 / s is beyond fp16, as for equal features, 0 · ∞ is no number, which CUDA turns to 0.
    steps = ((x - zero) * inverse).float().nan_to_num(nan=0.0)
    return steps.round().clamp(0, largest).to(torch.uint8), params


def dequantise_online(codes: torch.Tensor, params: torch.Tensor) -> torch.Tensor:
    """Return fp32 [..., head_dim] = code * s + zero."""
    scale, zero = params.float().unsqueeze(-2).unbind(-1)
    return torch.addcmul(zero, codes.float(), scale)


def pack_codes(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """Pack uint8 [..., n] of `bits` bits, which divide 8, to uint8 [..., n * bits / 8].

    The axis is cut into 8 / bits equal parts and a byte holds one code of each, the first part's in
    its lowest bits. TurboMind's order within a byte is another; no value depends on it.
    """
    first, *more = codes.chunk(8 // bits, dim=-1)
    for place, part in enumerate(more, start=1):
        first = first | part << bits * place
    return first


def unpack_codes(packed: torch.Tensor, bits: int) -> torch.Tensor:
    """Undo `pack_codes`."""
    shifts = range(0, 8, bits)
    if len(shifts) == 1:
        return packed
    return torch.cat([packed >> shift & 2**bits - 1 for shift in shifts], dim=-1)


def quantise_static(x: torch.Tensor, scale: float, zero_point: float) -> torch.Tensor:
    """Return codes of 8 bits with a sign: (x - zp) / scale rounded half to even, saturated.

    Source: lmdeploy's kv_qparams (zp = (min + max) / 2, scale = (max - min) / 255).
    """
    return ((x - zero_point) / scale).round().clamp(I8_MIN, I8_MAX).to(torch.int8)


def dequantise_static(codes: torch.Tensor, scale: float, zero_point: float) -> torch.Tensor:
    """Return fp32 code * scale + zp."""
    return codes.float() * scale + zero_point
