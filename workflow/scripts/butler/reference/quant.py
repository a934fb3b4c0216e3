"""Quantised numbers as TurboMind stores them: W4 weights and the int8 KV cache."""

import torch

U8_MAX = 255
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


def quantise_online(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Quantise over the last axis as TurboMind does with quant_policy 8.

    s = (max - min) / 255, zero = min, q = (x - zero) / s rounded half to even, saturated to u8.
    s and zero are kept in fp16, the type of TurboMind's cache. Where all features are equal, s
    is 0 and every code is 0.

    Args:
        x: fp32 [..., head_dim].

    Returns:
        Codes, uint8 [..., head_dim], and parameters, fp16 [..., 2] (s, zero).

    Source: lmdeploy 0.7.3, turbomind/kernels/attention/quantization.h.
    """
    low, high = x.amin(-1), x.amax(-1)
    params = torch.stack([(high - low) / U8_MAX, low], dim=-1).half()
    scale, zero = params.float().unsqueeze(-2).unbind(-1)
    steps = torch.where(scale > 0, (x - zero) / scale, torch.zeros_like(x))
    return steps.round().clamp(0, U8_MAX).to(torch.uint8), params


def dequantise_online(codes: torch.Tensor, params: torch.Tensor) -> torch.Tensor:
    """Return fp32 [..., head_dim] = code * s + zero."""
    scale, zero = params.float().unsqueeze(-2).unbind(-1)
    return torch.addcmul(zero, codes.float(), scale)


def quantise_static(x: torch.Tensor, scale: float, zero_point: float) -> torch.Tensor:
    """Return int8 codes: (x - zp) / scale rounded half to even, saturated.

    Source: lmdeploy's kv_qparams (zp = (min + max) / 2, scale = (max - min) / 255).
    """
    return ((x - zero_point) / scale).round().clamp(I8_MIN, I8_MAX).to(torch.int8)


def dequantise_static(codes: torch.Tensor, scale: float, zero_point: float) -> torch.Tensor:
    """Return fp32 code * scale + zp."""
    return codes.float() * scale + zero_point
