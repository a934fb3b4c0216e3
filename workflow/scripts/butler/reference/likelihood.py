"""How likely workspaces find whole sequences, each with KV caches of its own, by streaming.

The layers are read one after another for each of them and batch; logits are made for a block of the
vocabulary at a time.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from butler.errors import ButlerError
from butler.model_likelihood import batches
from butler.reference.cache import Codec, codecs_of
from butler.reference.model import Decoder
from butler.reference.passing_cache import PassingCache
from butler.reference.workspace_reader import StreamedWeights, Workspace

Codecs = Sequence[tuple[Codec, Codec]]  # of keys and values, layer by layer
Done = Callable[[str, int], None]  # told after each pass of a name over so many sequences


@dataclass(frozen=True)
class Likelihood:
    """Of the counted tokens of each sequence, all but the first by default; tensors [tokens].

    `losses` are their negative log-likelihoods in nats, fp32; `divergences` the Kullback-Leibler
    divergence of the distribution from that of the first pass at the same place, in nats, fp32;
    `tops` the likeliest token there, int64.
    """

    losses: list[torch.Tensor]
    divergences: list[torch.Tensor]
    tops: list[torch.Tensor]


@dataclass(frozen=True)
class _Pass:
    """One way to run sequences: a decoder, its head, and what its KV cache does."""

    weights: StreamedWeights
    decoder: Decoder
    codecs: Codecs


class StreamingEngine:
    """A workspace that is read anew for each pass, in fp32 on the CPU."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._weights = StreamedWeights(workspace)
        self._decoder = Decoder(workspace.config, self._weights, workspace.session_len)

    def likelihoods(
        self,
        sequences: Sequence[Sequence[int]],
        kinds: Sequence[str],
        done: Done = lambda kind, sequences: None,
    ) -> dict[str, Likelihood]:
        """Return the likelihood of each sequence of token ids for each kind of cache.

        Args:
            sequences: each of 2 tokens or more, and no longer than a session.
            kinds: as butler.reference.cache.KINDS; the first is what the others diverge from.
            done: told after each pass of a kind over so many sequences.

        Raises:
            ButlerError: if a sequence is too short or too long, or a weight is damaged.
        """
        passes = {kind: self.passing(kind) for kind in kinds}
        counted = [[False, *[True] * (len(tokens) - 1)] for tokens in sequences]

        def head() -> Iterator[Mapping[str, torch.Tensor]]:
            return (dict.fromkeys(kinds, block) for block in self._weights.head_blocks())

        return _likelihoods(self.workspace, passes, head, sequences, counted, done)

    def passing(self, kind: str) -> _Pass:
        """Return a pass of this workspace with a cache of that kind."""
        return _Pass(self._weights, self._decoder, codecs_of(self.workspace, kind))


def workspace_likelihoods(
    workspaces: Mapping[str, Workspace],
    sequences: Sequence[Sequence[int]],
    counted: Sequence[Sequence[bool]],
    done: Done = lambda name, sequences: None,
) -> dict[str, Likelihood]:
    """Return the likelihood of each sequence through each workspace, with the cache of its own.

    Args:
        workspaces: by any name; the first is what the others diverge from.
        sequences: token ids, each of 2 tokens or more, and no longer than any session.
        counted: which tokens of each sequence to return; never the first, which nothing predicts.
        done: told after each pass of a workspace over so many sequences.

    Raises:
        ButlerError: if two workspaces have not the same vocabulary, a sequence is too short or too
            long, or a weight is damaged.
    """
    found = list(workspaces.values())
    for one in found[1:]:
        if one.config.vocab != found[0].config.vocab:
            raise ButlerError(
                f"{one.path} has a vocabulary of {one.config.vocab} tokens and {found[0].path} of "
                f"{found[0].config.vocab}: they are of two models and do not compare"
            )
    passes = {n: StreamingEngine(one).passing(one.kv.name) for n, one in workspaces.items()}
    shortest = min(found, key=lambda one: one.session_len)

    def head() -> Iterator[Mapping[str, torch.Tensor]]:
        blocks = zip(*(one.weights.head_blocks() for one in passes.values()), strict=True)
        return (dict(zip(passes, block, strict=True)) for block in blocks)

    return _likelihoods(shortest, passes, head, sequences, counted, done)


@torch.inference_mode()
def _likelihoods(
    workspace: Workspace,
    passes: Mapping[str, _Pass],
    head: Callable[[], Iterable[Mapping[str, torch.Tensor]]],
    sequences: Sequence[Sequence[int]],
    counted: Sequence[Sequence[bool]],
    done: Done,
) -> dict[str, Likelihood]:
    """Run each pass over batches of sequences; `workspace` says what these may hold."""
    config, longest = workspace.config, workspace.session_len
    for tokens in sequences:
        if not 2 <= len(tokens) <= longest:
            raise ButlerError(f"a likelihood takes 2 to {longest} tokens, not {len(tokens)}")
        if not all(0 <= token < config.vocab for token in tokens):
            raise ButlerError(f"a token lies outside the vocabulary of {config.vocab}")
    found = {name: Likelihood(*([None] * len(sequences) for _ in range(3))) for name in passes}
    # Of a sequence the last token is only predicted; the state at a place predicts the next.
    lengths = [len(tokens) - 1 for tokens in sequences]
    places = [torch.tensor(one[1:]).nonzero().flatten() for one in counted]
    for batch in batches(lengths, {"num_attention_heads": config.heads}):
        rows = [torch.tensor(sequences[index]) for index in batch]
        ids = torch.nn.utils.rnn.pad_sequence([row[:-1] for row in rows], batch_first=True)
        hidden = {}
        for name, one in passes.items():
            # What pads a sequence comes after its tokens, which do not see it.
            states = one.decoder.forward(ids, PassingCache(one.codecs, len(rows)), 0)
            hidden[name] = torch.cat(
                [state[places[index]] for index, state in zip(batch, states, strict=True)]
            )
            del states
            done(name, len(batch))
        wanted = torch.cat([row[1:][places[index]] for index, row in zip(batch, rows, strict=True)])
        sizes = [len(places[index]) for index in batch]
        for name, values in compare(hidden, wanted, head()).items():
            for of, into in zip(vars(values).values(), vars(found[name]).values(), strict=True):
                for index, part in zip(batch, of[0].split(sizes), strict=True):
                    into[index] = part
    return found


def compare(
    hidden: Mapping[str, torch.Tensor],
    wanted: torch.Tensor,
    head: Iterable[Mapping[str, torch.Tensor]],
) -> dict[str, Likelihood]:
    """Return losses, divergences and tops, each as a list of one tensor [n], from hidden states.

    With p of the first name and q of another, of logits a and b: KL(p‖q) = E_p[a − b] − lse(a) +
    lse(b). The expectation and the logarithms of the sums (lse) are carried on from block to block.

    Args:
        hidden: fp32 [n, width] by name.
        wanted: int64 [n], the tokens that came.
        head: blocks of rows of each output matrix, fp32 [rows, width] by name, in order; those of
            one block have as many rows.
    """
    first, n = next(iter(hidden)), len(wanted)
    sums = {name: torch.full((n,), -torch.inf) for name in hidden}
    chosen = {name: torch.zeros(n) for name in hidden}
    expected = {name: torch.zeros(n) for name in hidden}
    highest = {name: torch.full((n,), -torch.inf) for name in hidden}
    tops = {name: torch.zeros(n, dtype=torch.int64) for name in hidden}
    start = 0
    for block in head:
        logits = {name: states @ block[name].t() for name, states in hidden.items()}
        of_block = {name: values.logsumexp(1) for name, values in logits.items()}
        whole = {name: torch.logaddexp(sums[name], of_block[name]) for name in hidden}
        end = start + len(block[first])
        here = ((wanted >= start) & (wanted < end)).nonzero().flatten()
        share = (of_block[first] - whole[first]).exp()  # of p so far that lies in this block
        p = (logits[first] - of_block[first].unsqueeze(1)).exp()
        for name, values in logits.items():
            chosen[name][here] = values[here, wanted[here] - start]
            best, place = values.max(1)
            higher = best > highest[name]
            highest[name] = torch.where(higher, best, highest[name])
            tops[name] = torch.where(higher, place + start, tops[name])
            if name != first:
                mean = (p * (logits[first] - values)).sum(1)
                expected[name] = torch.lerp(expected[name], mean, share)
        sums, start = whole, end
    return {
        name: Likelihood(
            [sums[name] - chosen[name]],
            [(expected[name] - sums[first] + sums[name]).clamp(min=0)],
            [tops[name]],
        )
        for name in hidden
    }
