"""How likely a workspace finds whole sequences with KV caches of several kinds, by streaming.

The layers are read one after another for each kind and batch; logits are made for a block of the
vocabulary at a time.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch

from butler.errors import ButlerError
from butler.model_likelihood import batches
from butler.reference.cache import KVCache, codecs_of
from butler.reference.model import Decoder
from butler.reference.passing_cache import PassingCache
from butler.reference.workspace_reader import StreamedWeights, Workspace


@dataclass(frozen=True)
class Likelihood:
    """Of the tokens of each sequence but the first, in nats, fp32 [tokens - 1].

    `losses` are their negative log-likelihoods, `divergences` the Kullback-Leibler divergence of
    the distribution from that of the first kind of cache at the same place.
    """

    losses: list[torch.Tensor]
    divergences: list[torch.Tensor]


class StreamingEngine:
    """A workspace that is read anew for each pass, in fp32 on the CPU."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._weights = StreamedWeights(workspace)
        self._decoder = Decoder(workspace.config, self._weights, workspace.session_len)

    def bytes_per_token(self, kind: str) -> int:
        """Return the bytes of a token in all layers of a KV cache of that kind."""
        config = self.workspace.config
        codecs = codecs_of(self.workspace, kind)
        return KVCache(codecs, config.kv_heads, config.head_dim).bytes_per_token()

    @torch.inference_mode()
    def likelihoods(
        self,
        sequences: Sequence[Sequence[int]],
        kinds: Sequence[str],
        done: Callable[[str, int], None] = lambda kind, sequences: None,
    ) -> dict[str, Likelihood]:
        """Return the likelihood of each sequence of token ids for each kind of cache.

        Args:
            sequences: each of 2 tokens or more, and no longer than a session.
            kinds: as butler.reference.cache.KINDS; the first is what the others diverge from.
            done: told after each pass of a kind over so many sequences.

        Raises:
            ButlerError: if a sequence is too short or too long, or a weight is damaged.
        """
        config, longest = self.workspace.config, self.workspace.session_len
        for tokens in sequences:
            if not 2 <= len(tokens) <= longest:
                raise ButlerError(f"a likelihood takes 2 to {longest} tokens, not {len(tokens)}")
            if not all(0 <= token < config.vocab for token in tokens):
                raise ButlerError(f"a token lies outside the vocabulary of {config.vocab}")
        found = {
            kind: Likelihood([None] * len(sequences), [None] * len(sequences)) for kind in kinds
        }
        codecs = {kind: codecs_of(self.workspace, kind) for kind in kinds}
        # Of a sequence the last token is only predicted.
        lengths = [len(tokens) - 1 for tokens in sequences]
        for batch in batches(lengths, {"num_attention_heads": config.heads}):
            rows = [torch.tensor(sequences[index]) for index in batch]
            ids = torch.nn.utils.rnn.pad_sequence([row[:-1] for row in rows], batch_first=True)
            hidden = {}
            for kind in kinds:
                # What pads a sequence comes after its tokens, which do not see it.
                states = self._decoder.forward(ids, PassingCache(codecs[kind], len(rows)), 0)
                hidden[kind] = torch.cat(
                    [state[: lengths[index]] for index, state in zip(batch, states, strict=True)]
                )
                del states
                done(kind, len(batch))
            wanted = torch.cat([row[1:] for row in rows])
            sizes = [lengths[index] for index in batch]
            for kind, values in compare(hidden, wanted, self._weights.head_blocks()).items():
                for name in ("losses", "divergences"):
                    parts = getattr(values, name)[0].split(sizes)
                    for index, part in zip(batch, parts, strict=True):
                        getattr(found[kind], name)[index] = part
        return found


def compare(
    hidden: dict[str, torch.Tensor], wanted: torch.Tensor, head: Iterable[torch.Tensor]
) -> dict[str, Likelihood]:
    """Return losses and divergences, each as a list of one tensor [n], from hidden states.

    With p of the first kind and q of another, of logits a and b: KL(p‖q) = E_p[a − b] − lse(a) +
    lse(b). The expectation and the logarithms of the sums (lse) are carried on from block to block.

    Args:
        hidden: fp32 [n, width] by kind of cache.
        wanted: int64 [n], the tokens that came.
        head: blocks of rows of the output matrix, fp32 [rows, width], in order.
    """
    first, n = next(iter(hidden)), len(wanted)
    sums = {kind: torch.full((n,), -torch.inf) for kind in hidden}
    chosen = {kind: torch.zeros(n) for kind in hidden}
    expected = {kind: torch.zeros(n) for kind in hidden}
    start = 0
    for block in head:
        logits = {kind: states @ block.t() for kind, states in hidden.items()}
        of_block = {kind: values.logsumexp(1) for kind, values in logits.items()}
        whole = {kind: torch.logaddexp(sums[kind], of_block[kind]) for kind in hidden}
        here = ((wanted >= start) & (wanted < start + len(block))).nonzero().flatten()
        share = (of_block[first] - whole[first]).exp()  # of p so far that lies in this block
        p = (logits[first] - of_block[first].unsqueeze(1)).exp()
        for kind, values in logits.items():
            chosen[kind][here] = values[here, wanted[here] - start]
            if kind != first:
                mean = (p * (logits[first] - values)).sum(1)
                expected[kind] = torch.lerp(expected[kind], mean, share)
        sums, start = whole, start + len(block)
    return {
        kind: Likelihood(
            [sums[kind] - chosen[kind]],
            [(expected[kind] - sums[first] + sums[kind]).clamp(min=0)],
        )
        for kind in hidden
    }
