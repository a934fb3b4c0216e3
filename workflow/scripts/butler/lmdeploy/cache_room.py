"""Room in TurboMind's KV cache: whole blocks of tokens for each chat."""

from dataclasses import dataclass

BLOCK_TOKENS = 64  # TurboMind's cache_block_seq_len


@dataclass(frozen=True)
class Room:
    """A cache that holds `chats` chats of `tokens` tokens each at once."""

    chats: int
    tokens: int

    @property
    def blocks(self) -> int:
        """Blocks of BLOCK_TOKENS tokens; no block is shared between chats."""
        return self.chats * -(-self.tokens // BLOCK_TOKENS)

    @property
    def held(self) -> int:
        """Tokens that the blocks hold."""
        return self.blocks * BLOCK_TOKENS
