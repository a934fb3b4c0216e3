"""Choosing the next token."""

import math
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from butler.errors import ButlerError

MIN_TEMPERATURE = 1e-6  # below it, fp32 quotients are no numbers any more; it is greedy long before
MIN_TOP_P = 1e-30  # below it, fp32 has no number and not even the likeliest token would be left
MAX_TEMPERATURE = 2.0
MAX_PENALTY = 100.0
MAX_ADDED_PENALTY = 2.0
MAX_ALTERNATIVES = 20
SEEDS = range(-(2**63), 2**63)


@dataclass(frozen=True)
class SamplingParams:
    """How to choose tokens; the default is greedy.

    Attributes:
        max_new_tokens: most tokens to generate; None for as many as the session has room for.
        temperature: in [0, 2]; 0 is greedy and ignores top_k and top_p.
        top_k: keep the k likeliest tokens; 0 keeps all.
        top_p: in (0, 1], keep the smallest set of tokens with this probability together.
        repetition_penalty: in [0.01, 100], so that no logit overflows; 1 does nothing.
        presence_penalty: in [-2, 2], taken off the logits of the tokens that the answer has.
        frequency_penalty: in [-2, 2], taken off a logit as often as the answer has the token.
        seed: makes sampling repeatable; None draws a fresh one.
        alternatives: how many of the likeliest tokens are told in each place, with their
            log-probabilities and the chosen one's, 0 to 20; None tells none, not even the chosen's.

    Raises:
        ButlerError: if a value is out of range.
    """

    max_new_tokens: int | None = None
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int | None = None
    alternatives: int | None = None

    def __post_init__(self) -> None:
        limits = {
            "max_new_tokens": (
                self.max_new_tokens is None or self.max_new_tokens >= 1,
                "1 or more",
            ),
            "temperature": (
                0 <= self.temperature <= MAX_TEMPERATURE,
                f"in [0, {MAX_TEMPERATURE:.0f}]",
            ),
            "top_k": (self.top_k >= 0, "0 or more"),
            "top_p": (0 < self.top_p <= 1, "in (0, 1]"),
            "repetition_penalty": (
                1 / MAX_PENALTY <= self.repetition_penalty <= MAX_PENALTY,
                f"in [{1 / MAX_PENALTY}, {MAX_PENALTY:.0f}]",
            ),
            "presence_penalty": (
                abs(self.presence_penalty) <= MAX_ADDED_PENALTY,
                f"in [-{MAX_ADDED_PENALTY:.0f}, {MAX_ADDED_PENALTY:.0f}]",
            ),
            "frequency_penalty": (
                abs(self.frequency_penalty) <= MAX_ADDED_PENALTY,
                f"in [-{MAX_ADDED_PENALTY:.0f}, {MAX_ADDED_PENALTY:.0f}]",
            ),
            "alternatives": (
                self.alternatives is None or 0 <= self.alternatives <= MAX_ALTERNATIVES,
                f"in 0..{MAX_ALTERNATIVES}",
            ),
            "seed": (self.seed is None or self.seed in SEEDS, "a 64-bit integer"),
        }
        for name, (valid, wanted) in limits.items():
            if not valid:
                found = reprlib.repr(getattr(self, name))
                raise ButlerError(f"{name} is {found}; it must be {wanted}")

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


def penalise_use(
    logits: torch.Tensor, answer: torch.Tensor, presence: float, frequency: float
) -> torch.Tensor:
    """Take `presence` off the logits of tokens in `answer`, and `frequency` for each time.

    Source: OpenAI's API reference, "Frequency and presence penalties": it counts what was sampled,
    so the prompt does not.

    Args:
        logits: fp32 [vocab].
        answer: int64 [n], the tokens of the answer so far.
    """
    counts = torch.bincount(answer, minlength=len(logits))
    return logits - frequency * counts - presence * (counts > 0)


def filtered_probabilities(logits: torch.Tensor, params: Sequence[SamplingParams]) -> torch.Tensor:
    """Return fp32 [rows, vocab] probabilities after temperature, top_k and top_p, in this order.

    Args:
        logits: fp32 [rows, vocab].
        params: of each row; its temperature is above 0.
    """
    temperatures = torch.tensor([max(p.temperature, MIN_TEMPERATURE) for p in params])
    scaled = (logits - logits.amax(-1, keepdim=True)) / temperatures.unsqueeze(-1)
    vocab = scaled.shape[-1]
    top_k = torch.tensor([min(p.top_k or vocab, vocab) for p in params]).unsqueeze(-1)
    if int(top_k.min()) < vocab:
        limited = torch.where(top_k < vocab, top_k, 1)
        highest = scaled.topk(int(limited.max())).values
        limits = highest.gather(-1, limited - 1).masked_fill(top_k == vocab, -math.inf)
        scaled = scaled.masked_fill(scaled < limits, -math.inf)
    probabilities = scaled.softmax(-1)
    top_p = torch.tensor([max(p.top_p, MIN_TOP_P) for p in params]).unsqueeze(-1)
    if bool((top_p < 1).any()):
        ordered, order = probabilities.sort(descending=True, stable=True)
        dropped = (ordered.cumsum(-1) - ordered >= top_p) & (top_p < 1)
        probabilities.scatter_(-1, order, ordered.masked_fill(dropped, 0))
    return probabilities / probabilities.sum(-1, keepdim=True)


def choose(
    logits: torch.Tensor,
    params: Sequence[SamplingParams],
    prompts: Sequence[list[int]],
    answers: Sequence[list[int]],
    generators: Sequence[torch.Generator],
) -> list[int]:
    """Return the next token of each row of fp32 `logits` [rows, vocab], which comes after the
    tokens of its prompt and of its answer so far."""
    logits = torch.stack(
        [_penalised(*row) for row in zip(logits, params, prompts, answers, strict=True)]
    )
    chosen = logits.argmax(-1).tolist()
    sampled = [row for row, p in enumerate(params) if not p.greedy]
    if sampled:
        found = filtered_probabilities(logits[sampled], [params[row] for row in sampled])
        for row, probabilities in zip(sampled, found, strict=True):
            chosen[row] = int(torch.multinomial(probabilities, 1, generator=generators[row]))
    return chosen


def _penalised(
    logits: torch.Tensor, params: SamplingParams, prompt: list[int], answer: list[int]
) -> torch.Tensor:
    if params.repetition_penalty != 1:
        seen = torch.tensor(prompt + answer)
        logits = penalise_repetition(logits, seen, params.repetition_penalty)
    presence, frequency = params.presence_penalty, params.frequency_penalty
    if answer and (presence or frequency):
        logits = penalise_use(logits, torch.tensor(answer), presence, frequency)
    return logits


@dataclass(frozen=True)
class Likelihood:
    """The log-probability of a token where it was chosen, in nats, before penalties and
    temperature; `likeliest` has the tokens that the model found likeliest there, with theirs."""

    own: float
    likeliest: list[tuple[int, float]]


def likelihood(logits: torch.Tensor, token: int, alternatives: int) -> Likelihood:
    """Return that of `token` by fp32 `logits` [vocab]."""
    found = logits.log_softmax(-1)
    values, tokens = found.topk(min(alternatives, len(found)))
    likeliest = list(zip(tokens.tolist(), values.tolist(), strict=True))
    return Likelihood(float(found[token]), likeliest)
