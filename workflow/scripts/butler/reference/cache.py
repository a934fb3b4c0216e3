"""The KV cache: one slot per running sequence, stored as the variant stores it."""

from collections.abc import Sequence
from typing import Protocol

import torch

from butler.errors import ButlerError
from butler.reference.quant import (
    dequantise_online,
    dequantise_static,
    pack_codes,
    quantise_online,
    quantise_static,
    unpack_codes,
)
from butler.reference.workspace_reader import Workspace
from butler.schemes import KV_CACHES, TURBOMIND

GROWTH = 256  # tokens that slots grow by
# The schemes that TurboMind has too, and two for the checks.
SCHEMES = {name: one for name, one in KV_CACHES.items() if TURBOMIND in one.backends}
KINDS = (*SCHEMES, "fp32", "static")


class Codec(Protocol):
    """How keys or values [..., head_dim] become stored tensors [..., width] and come back."""

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the tensors to store for fp32 `x`."""

    def decode(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return fp32 from what `encode` made."""


class FloatCodec:
    """Keeps values as floating point numbers of one type."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (x.to(self.dtype),)

    def decode(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        return parts[0].float()


class OnlineCodec:
    """TurboMind's: packed codes of `bits` bits, with fp16 scale and zero per token and head."""

    def __init__(self, bits: int) -> None:
        self.bits = bits

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        codes, params = quantise_online(x, self.bits)
        return pack_codes(codes, self.bits), params

    def decode(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        packed, params = parts
        return dequantise_online(unpack_codes(packed, self.bits), params)


class StaticCodec:
    """Codes of 8 bits with one scale and zero point for a whole layer."""

    def __init__(self, scale: float, zero_point: float) -> None:
        self.scale, self.zero_point = scale, zero_point

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (quantise_static(x, self.scale, self.zero_point),)

    def decode(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        return dequantise_static(parts[0], self.scale, self.zero_point)


def make_codecs(
    kind: str, layers: int, kv_scales: torch.Tensor | None = None
) -> list[tuple[Codec, Codec]]:
    """Return the (key, value) codecs of each layer.

    Args:
        kind: one of KINDS.
        layers: number of layers.
        kv_scales: fp32 [layers, 4] (k_scale, k_zp, v_scale, v_zp), for `static` only.
    """
    if kind == "fp32":
        return [(FloatCodec(torch.float32),) * 2] * layers
    if kind in SCHEMES:
        scheme = SCHEMES[kind]
        codec = OnlineCodec(scheme.bits) if scheme.quantised else FloatCodec(torch.float16)
        return [(codec, codec)] * layers
    if kind == "static" and kv_scales is not None:
        return [
            (StaticCodec(k_scale, k_zp), StaticCodec(v_scale, v_zp))
            for k_scale, k_zp, v_scale, v_zp in kv_scales.tolist()
        ]
    raise ButlerError(f"KV cache kind '{kind}' is none of {', '.join(KINDS)}")


def codecs_of(workspace: Workspace, kind: str) -> list[tuple[Codec, Codec]]:
    """Return the (key, value) codecs of each layer of a workspace for a `kind` of KINDS.

    Raises:
        ButlerError: if there is no such kind, or the workspace has no usable static parameters
            where it asks for them.
    """
    scales = workspace.load_kv_scales() if kind == "static" else None
    return make_codecs(kind, workspace.config.layers, scales)


class KVCache:
    """Keys and values of up to `slots` sequences.

    Per layer, K and V are tuples of tensors [slots, kv_heads, capacity, width]. Slots 0..n-1 are
    in use, so that a running batch is a view; both axes grow by whole chunks, which keeps the
    copying linear in the length.
    """

    def __init__(self, codecs: Sequence[tuple[Codec, Codec]], kv_heads: int, head_dim: int) -> None:
        self.codecs = codecs
        self.lengths: list[int] = []
        self._shape = (kv_heads, head_dim)
        self._store: list[list[list[torch.Tensor]]] = [
            [self._empty(codec, 0, 0) for codec in pair] for pair in codecs
        ]

    @property
    def capacity(self) -> tuple[int, int]:
        """Slots and tokens per slot that are allocated."""
        first = self._store[0][0][0]
        return first.shape[0], first.shape[2]

    def bytes_per_token(self) -> int:
        """Return the bytes one token takes in all layers, from the tensors themselves."""
        return sum(
            part.element_size() * part.shape[1] * part.shape[3]
            for pair in self._store
            for parts in pair
            for part in parts
        )

    def add(self) -> int:
        """Open an empty slot and return its row."""
        self.lengths.append(0)
        self.reserve(0)
        return len(self.lengths) - 1

    def stored(self, row: int, tokens: int) -> list[torch.Tensor]:
        """Return a slot's first tokens as they are stored: views [kv_heads, tokens, width]."""
        return [part[row, :, :tokens] for part in self._parts()]

    def fill(self, row: int, parts: Sequence[torch.Tensor]) -> None:
        """Put into the empty slot `row` what `stored` gave of another."""
        tokens = parts[0].shape[1]
        self.reserve(tokens)
        for own, new in zip(self._parts(), parts, strict=True):
            own[row, :, :tokens] = new
        self.lengths[row] = tokens

    def remove(self, row: int) -> int | None:
        """Close slot `row`; return the row whose sequence moved into it, if any."""
        last = len(self.lengths) - 1
        length = self.lengths[last]
        if row != last:
            for part in self._parts():
                part[row, :, :length] = part[last, :, :length]
            self.lengths[row] = length
        self.lengths.pop()
        return last if row != last else None

    def reserve(self, tokens: int) -> None:
        """Make room for all open slots, and for `tokens` tokens in a slot."""
        slots, capacity = self.capacity
        more_slots = max(2 * slots, 1) if len(self.lengths) > slots else slots
        more_tokens = capacity
        if tokens > capacity:
            more_tokens = -(-max(tokens, capacity * 5 // 4) // GROWTH) * GROWTH
        if (more_slots, more_tokens) == (slots, capacity):
            return
        for pair, codecs in zip(self._store, self.codecs, strict=True):
            for side, codec in enumerate(codecs):
                grown = self._empty(codec, more_slots, more_tokens)
                for new, old in zip(grown, pair[side], strict=True):
                    new[:slots, :, :capacity] = old
                pair[side] = grown

    def write(
        self,
        layer: int,
        rows: slice,
        positions: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
    ) -> None:
        """Store keys and values [rows, kv_heads, tokens, head_dim] at `positions` [rows, tokens].

        Positions must be reserved. The rows' lengths are the caller's to advance.
        """
        row_index = torch.arange(rows.start, rows.stop).view(-1, 1)
        for side, x in enumerate((keys, values)):
            encoded = self.codecs[layer][side].encode(x)
            for part, new in zip(self._store[layer][side], encoded, strict=True):
                part[row_index, :, positions] = new.transpose(1, 2)

    def read(self, layer: int, rows: slice, tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return fp32 keys and values [rows, kv_heads, tokens, head_dim] as the cache has them."""
        keys, values = (
            codec.decode([part[rows, :, :tokens] for part in parts])
            for codec, parts in zip(self.codecs[layer], self._store[layer], strict=True)
        )
        return keys, values

    def _parts(self) -> list[torch.Tensor]:
        return [part for pair in self._store for parts in pair for part in parts]

    def _empty(self, codec: Codec, slots: int, tokens: int) -> list[torch.Tensor]:
        heads, head_dim = self._shape
        sample = codec.encode(torch.zeros(1, head_dim))
        return [
            torch.zeros(slots, heads, tokens, part.shape[-1], dtype=part.dtype) for part in sample
        ]
