"""The decoder: RMSNorm, rotary attention over a KV cache, SwiGLU; everything in fp32."""

import math

import torch
import torch.nn.functional as F

from butler.reference.cache import KVCache
from butler.reference.passing_cache import PassingCache
from butler.reference.workspace_config import ModelConfig, Rope
from butler.reference.workspace_reader import LayerWeights, StreamedWeights, Weights


def inverse_frequencies(rope: Rope, head_dim: int) -> torch.Tensor:
    """Return fp64 [head_dim/2], radians per position.

    theta^(-2i/d) (Su et al., RoFormer), divided by `factor` for `linear`, and for `llama3`
    interpolated between the two by wavelength (Llama 3.1's scheme, as TurboMind has it). `dynamic`
    changes nothing within max_position_embeddings, where sessions end.
    """
    steps = torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim
    frequencies = rope.theta**-steps
    if rope.kind == "linear":
        return frequencies / rope.factor
    if rope.kind == "llama3":
        turns = rope.original_positions * frequencies / (2 * math.pi)
        low, high = rope.low_freq_factor, rope.high_freq_factor
        keep = ((turns - low) / (high - low)).clamp(0, 1)
        return frequencies * (keep + (1 - keep) / rope.factor)
    return frequencies


def rotate(x: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """Rotate neighbouring feature pairs of x [rows, tokens, heads, d] by `turns`.

    `turns` is complex64 [rows, tokens, 1, d/2]. The workspace interleaves the two halves of each
    head, so a pair is (2i, 2i+1).
    """
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turns).flatten(-2)


class Decoder:
    """The model of a workspace.

    Args:
        config, weights: as read from the workspace; streamed ones have no whole head for `logits`.
        max_positions: longest session in tokens; the rotary table has this many rows.
    """

    def __init__(
        self, config: ModelConfig, weights: Weights | StreamedWeights, max_positions: int
    ) -> None:
        self.config = config
        self.weights = weights
        angles = torch.outer(
            torch.arange(max_positions, dtype=torch.float64),
            inverse_frequencies(config.rope, config.head_dim),
        )
        self._turns = torch.polar(torch.ones_like(angles), angles).to(torch.complex64)

    def forward(
        self, tokens: torch.Tensor, cache: KVCache | PassingCache, first_row: int
    ) -> torch.Tensor:
        """Append `tokens` to the sequences in consecutive cache rows.

        Args:
            tokens: int64 [rows, n]; row r goes to cache row first_row + r, at its own length.
            cache: gets the new keys and values; its lengths advance by n.

        Returns:
            fp32 hidden states [rows, n, hidden] after the final norm.
        """
        rows = slice(first_row, first_row + tokens.shape[0])
        starts = torch.tensor(cache.lengths[rows])
        positions = starts.view(-1, 1) + torch.arange(tokens.shape[1])
        total = int(positions.max()) + 1
        cache.reserve(total)
        mask = self._mask(positions, total)
        turns = self._turns[positions].unsqueeze(2)
        x = self.weights.embed(tokens)
        for i, layer in enumerate(self.weights.layers):
            q, k, v = self._qkv(layer, self._norm(x, layer.attention_norm), turns)
            cache.write(i, rows, positions, k, v)
            keys, values = cache.read(i, rows, total)
            x = x + self._attend(layer, q, keys, values, mask)
            x = x + self._mlp(layer, self._norm(x, layer.ffn_norm))
        cache.lengths[rows] = [n + tokens.shape[1] for n in cache.lengths[rows]]
        return self._norm(x, self.weights.norm)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return fp32 [..., vocab] for hidden states [..., hidden]."""
        return F.linear(hidden, self.weights.output)

    def _norm_heads(self, layer: LayerWeights, qk: torch.Tensor) -> torch.Tensor:
        """Return queries and keys [rows, n, heads + kv_heads, d], normed if the model does that."""
        if layer.q_norm is None or layer.k_norm is None:
            return qk
        q, k = qk.split([self.config.heads, self.config.kv_heads], dim=2)
        return torch.cat((self._norm(q, layer.q_norm), self._norm(k, layer.k_norm)), dim=2)

    def _norm(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return F.rms_norm(x, (x.shape[-1],), weight, self.config.norm_eps)

    def _mask(self, positions: torch.Tensor, total: int) -> torch.Tensor | None:
        """Return bool [rows, 1, group * n, total]: a token sees itself and what came before.

        The queries of the heads that share a KV head are stacked, so the mask repeats per group.
        None if every query sees everything.
        """
        if positions.numel() == 1:
            return None
        seen = torch.arange(total) <= positions.unsqueeze(-1)
        group = self.config.heads // self.config.kv_heads
        return seen.repeat(1, group, 1).unsqueeze(1)

    def _qkv(
        self, layer: LayerWeights, x: torch.Tensor, turns: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return q [rows, kv_heads, group * n, d] and k, v [rows, kv_heads, n, d], rotated."""
        c = self.config
        rows, n, _ = x.shape
        qkv = x @ layer.w_qkv
        if layer.b_qkv is not None:
            qkv = qkv + layer.b_qkv
        qkv = qkv.view(rows, n, -1, c.head_dim)
        rotated = rotate(self._norm_heads(layer, qkv[:, :, : c.heads + c.kv_heads]), turns)
        q, k = rotated.split([c.heads, c.kv_heads], dim=2)
        q = q.transpose(1, 2).reshape(rows, c.kv_heads, -1, c.head_dim)
        return q, k.transpose(1, 2), qkv[:, :, c.heads + c.kv_heads :].transpose(1, 2)

    def _attend(
        self,
        layer: LayerWeights,
        q: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        mask: torch.Tensor | None,
    ) -> torch.Tensor:
        c = self.config
        rows = q.shape[0]
        mixed = F.scaled_dot_product_attention(
            q, keys, values, attn_mask=mask, scale=c.softmax_scale
        )
        mixed = mixed.reshape(rows, c.heads, -1, c.head_dim).transpose(1, 2).flatten(2)
        out = mixed @ layer.wo
        return out if layer.bo is None else out + layer.bo

    def _mlp(self, layer: LayerWeights, x: torch.Tensor) -> torch.Tensor:
        return (F.silu(x @ layer.w1) * (x @ layer.w3)) @ layer.w2
