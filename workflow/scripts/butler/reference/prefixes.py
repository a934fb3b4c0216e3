"""What many prompts begin with is run once: rows of the KV cache are copied, not computed again.

The questions of an exam share their examples, the chats of a server its system prompt. Only whole
chunks of a prefill are shared. A chunk's keys and values follow from its tokens and those before
it, by the same products of the same shapes whichever prompt it stands in, and the cache keeps them
token by token in the form it stores; so a copy is what running it again would give.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

CHUNK = 128  # tokens of a prefill's pass: fewer are slower, of more less is shared
PREFIX_BYTES = 256 << 20  # most that is kept of prompts whose answers have ended


@dataclass(frozen=True)
class CachedPrefix:
    """Tokens, and what the cache holds of them: tensors [kv_heads, tokens, width], see KVCache."""

    tokens: Sequence[int] = ()
    parts: Sequence[torch.Tensor] = field(default=(), repr=False)

    def first(self, tokens: int) -> "CachedPrefix":
        """Return the beginning of it, without a copy."""
        return CachedPrefix(self.tokens[:tokens], [part[:, :tokens] for part in self.parts])

    def copy(self) -> "CachedPrefix":
        """Return one with tensors of its own."""
        return CachedPrefix(self.tokens, [part.clone() for part in self.parts])

    @property
    def bytes(self) -> int:
        """The size of the tensors."""
        return sum(part.numel() * part.element_size() for part in self.parts)


def shared_chunks(prompt: Sequence[int], other: Sequence[int]) -> int:
    """Return how many tokens both begin with, in whole chunks; the prompt's last is none of them.

    The last token has to be run for the first logits.
    """
    whole = min(len(prompt) - 1, len(other)) // CHUNK * CHUNK
    for start in range(0, whole, CHUNK):
        if prompt[start : start + CHUNK] != other[start : start + CHUNK]:
            return start
    return whole


class PrefixStore:
    """The prompts of answers that have ended, as the cache held them; the latest used stay.

    Args:
        budget: most bytes; what is larger alone is not kept.
    """

    def __init__(self, budget: int = PREFIX_BYTES) -> None:
        self.budget = budget
        self._kept: list[CachedPrefix] = []  # the latest used last

    @property
    def bytes(self) -> int:
        """The size of all that is kept."""
        return sum(one.bytes for one in self._kept)

    def longest(self, prompt: Sequence[int]) -> CachedPrefix:
        """Return the longest beginning of `prompt` that is kept; it may be empty."""
        best, shared = None, 0
        for one in self._kept:
            if (found := shared_chunks(prompt, one.tokens)) > shared:
                best, shared = one, found
        if best is None:
            return CachedPrefix()
        self._kept.remove(best)
        self._kept.append(best)
        return best.first(shared)

    def keep(self, prefix: CachedPrefix) -> None:
        """Keep a copy of the whole chunks of `prefix`, unless they are kept already."""
        prefix = prefix.first(len(prefix.tokens) // CHUNK * CHUNK)
        size = prefix.bytes
        if not prefix.tokens or size > self.budget:
            return
        if any(one.tokens[: len(prefix.tokens)] == prefix.tokens for one in self._kept):
            return
        while self.bytes + size > self.budget:
            del self._kept[0]
        self._kept.append(prefix.copy())
