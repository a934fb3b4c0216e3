"""A KV cache for one pass over whole sequences: nothing is kept beyond the layer that runs."""

from collections.abc import Sequence

import torch

from butler.reference.cache import Codec


class PassingCache:
    """Gives keys and values back as a KV cache of these codecs would, and stores none.

    Each row's sequence must be given whole in one pass.
    """

    def __init__(self, codecs: Sequence[tuple[Codec, Codec]], rows: int) -> None:
        self._codecs = codecs
        self._held: list[torch.Tensor] = []
        self.lengths = [0] * rows

    def reserve(self, tokens: int) -> None:
        """There is nothing to make room for."""

    def write(
        self,
        layer: int,
        rows: slice,
        positions: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
    ) -> None:
        """Take keys and values [rows, kv_heads, tokens, head_dim], each through its codec."""
        sides = zip(self._codecs[layer], (keys, values), strict=True)
        self._held = [codec.decode(codec.encode(x)) for codec, x in sides]

    def read(self, layer: int, rows: slice, tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what was written last."""
        keys, values = self._held
        return keys, values
