"""Choosing the next token."""

import math
from dataclasses import dataclass

import torch

from butler.errors import ButlerError


@dataclass(frozen=True)
class SamplingParams:
    """How to choose tokens; the default is greedy.

    Attributes:
        max_new_tokens: most tokens to generate; None for as many as the session has room for.
        temperature: in [0, 2]; 0 is greedy and ignores top_k and top_p.
        top_k: keep the k likeliest tokens; 0 keeps all.
        top_p: in (0, 1], keep the smallest set of tokens with this probability together.
        repetition_penalty: above 0; 1 does nothing.
        seed: makes sampling repeatable; None draws a fresh one.

    Raises:
        ButlerError: if a value is out of range.
    """

    max_new_tokens: int | None = None
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        limits = {
            "max_new_tokens": (
                self.max_new_tokens is None or self.max_new_tokens >= 1,
                "1 or more",
            ),
            "temperature": (0 <= self.temperature <= 2, "in [0, 2]"),
            "top_k": (self.top_k >= 0, "0 or more"),
            "top_p": (0 < self.top_p <= 1, "in (0, 1]"),
            "repetition_penalty": (0 < self.repetition_penalty < math.inf, "above 0"),
            "seed": (self.seed is None or -(2**63) <= self.seed < 2**63, "a 64-bit integer"),
        }
        for name, (valid, wanted) in limits.items():
            if not valid:
                raise ButlerError(f"{name} is {getattr(self, name)}; it must be {wanted}")

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is always taken."""
        return self.temperature == 0

    def generator(self) -> torch.Generator:
        """Return this request's own source of random numbers."""
        generator = torch.Generator()
        if self.seed is None:
            generator.seed()
        else:
            generator.manual_seed(self.seed)
        return generator


def penalise_repetition(logits: torch.Tensor, seen: torch.Tensor, penalty: float) -> torch.Tensor:
    """Divide positive and multiply negative logits of `seen` tokens by `penalty`.

    Source: Keskar et al., CTRL (2019), in the form that spares negative logits.

    Args:
        logits: fp32 [vocab].
        seen: int64 [n], the tokens of prompt and answer so far.
    """
    chosen = logits[seen]
    out = logits.clone()
    out[seen] = torch.where(chosen > 0, chosen / penalty, chosen * penalty)
    return out


def filtered_probabilities(logits: torch.Tensor, params: SamplingParams) -> torch.Tensor:
    """Return fp32 [vocab] probabilities after temperature, top_k and top_p, in this order."""
    scaled = logits / params.temperature
    if 0 < params.top_k < scaled.numel():
        limit = scaled.topk(params.top_k).values[-1]
        scaled = scaled.masked_fill(scaled < limit, -math.inf)
    probabilities = scaled.softmax(-1)
    if params.top_p < 1:
        ordered, order = probabilities.sort(descending=True, stable=True)
        before = ordered.cumsum(-1) - ordered
        probabilities[order[before >= params.top_p]] = 0
    return probabilities / probabilities.sum()


def choose(
    logits: torch.Tensor, params: SamplingParams, seen: list[int], generator: torch.Generator
) -> int:
    """Return the next token for fp32 `logits` [vocab] after the tokens `seen`."""
    if params.repetition_penalty != 1:
        logits = penalise_repetition(logits, torch.tensor(seen), params.repetition_penalty)
    if params.greedy:
        return int(logits.argmax())
    probabilities = filtered_probabilities(logits, params)
    return int(torch.multinomial(probabilities, 1, generator=generator))
