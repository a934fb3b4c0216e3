"""The engine: a workspace in memory, ready for logits, likelihoods and generation."""

import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from butler.errors import ButlerError
from butler.reference.batch import Generation, RunningBatch, prefill_chunks
from butler.reference.cache import KVCache, codecs_of
from butler.reference.model import Decoder
from butler.reference.sampling import SamplingParams
from butler.reference.workspace_reader import Workspace

GREEDY = SamplingParams()


@dataclass(frozen=True)
class Completion:
    """A whole answer: its token ids without the stop token, and "stop" or "length"."""

    tokens: list[int]
    finish: str


class Engine:
    """Runs one workspace in fp32 on the CPU.

    Args:
        workspace: the opened workspace.
        kv: how the cache is held: a KV scheme as TurboMind has it, `fp32`, or `static` (by the
            past_kv_scale files); None takes what the workspace's engine_config says.
        max_batch: most sequences that `generate` runs at once.
    """

    def __init__(
        self,
        workspace: Workspace,
        kv: str | None = None,
        max_batch: int = 32,
    ) -> None:
        self.workspace = workspace
        self.kv = kv or workspace.kv.name
        self.max_batch = max_batch
        self._codecs = codecs_of(workspace, self.kv)
        self.decoder = Decoder(workspace.config, workspace.load_weights(), workspace.session_len)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        kv: str | None = None,
        threads: int | None = None,
        max_batch: int = 32,
    ) -> "Engine":
        """Load the workspace at `path`; `threads` sets torch's for the whole process."""
        if threads is not None:
            if threads < 1:
                raise ButlerError(f"threads is {threads}; it must be 1 or more")
            torch.set_num_threads(threads)
        return cls(Workspace(Path(path)), kv, max_batch)

    def new_cache(self) -> KVCache:
        """Return an empty KV cache of this engine's kind."""
        config = self.workspace.config
        return KVCache(self._codecs, config.kv_heads, config.head_dim)

    def new_batch(self) -> RunningBatch:
        """Return an empty batch on a cache of its own."""
        return RunningBatch(
            self.decoder, self.new_cache(), self.workspace.session_len, self.max_batch
        )

    @torch.inference_mode()
    def logits(self, tokens: Sequence[int]) -> torch.Tensor:
        """Return fp32 [len(tokens), vocab]: row i predicts token i + 1."""
        self._check(tokens)
        cache = self.new_cache()
        chunks = prefill_chunks(self.decoder, cache, cache.add(), tokens)
        return torch.cat([self.decoder.logits(hidden) for hidden in chunks])

    @torch.inference_mode()
    def nll(self, tokens: Sequence[int]) -> float:
        """Return the mean negative log-likelihood per token, in nats, of tokens 1..n-1."""
        if len(tokens) < 2:
            raise ButlerError("a likelihood needs at least 2 tokens")
        self._check(tokens)
        cache, total, done = self.new_cache(), 0.0, 1
        for hidden in prefill_chunks(self.decoder, cache, cache.add(), tokens[:-1]):
            wanted = torch.tensor(tokens[done : done + len(hidden)])
            total += float(F.cross_entropy(self.decoder.logits(hidden), wanted, reduction="sum"))
            done += len(hidden)
        return total / (len(tokens) - 1)

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        params: SamplingParams = GREEDY,
        stop_ids: Sequence[int] = (),
    ) -> list[Completion]:
        """Answer all prompts (token ids), batched; results are in the order of the prompts."""
        batch = self.new_batch()
        stops = frozenset(stop_ids)
        answers = [batch.submit(prompt, params, stops) for prompt in prompts]
        finished: dict[Generation, str] = {}
        while len(batch):
            finished |= {s.answer: s.finish for s in batch.step() if s.finish}
        return [Completion(_without_stop(a), finished[a]) for a in answers]

    def stream(
        self, prompt: Sequence[int], params: SamplingParams, stop_ids: Sequence[int]
    ) -> Generator[int, None, None]:
        """Yield the answer's tokens as they come, without the stop token."""
        batch = self.new_batch()
        batch.submit(prompt, params, frozenset(stop_ids))
        while len(batch):
            for step in batch.step():
                if step.finish != "stop":
                    yield step.token

    def _check(self, tokens: Sequence[int]) -> None:
        config, limit = self.workspace.config, self.workspace.session_len
        if not 1 <= len(tokens) <= limit:
            raise ButlerError(f"{len(tokens)} tokens given; the workspace takes 1 to {limit}")
        if not all(0 <= token < config.vocab for token in tokens):
            raise ButlerError(f"a token lies outside the vocabulary of {config.vocab}")


def _without_stop(answer: Generation) -> list[int]:
    stopped = answer.tokens and answer.tokens[-1] in answer.stop_ids
    return answer.tokens[:-1] if stopped else answer.tokens
