"""Requests to an engine as they were timed, each on its own stream of outputs."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class RequestTiming:
    """One request, in seconds of one clock.

    `sent` is when the engine was given it, `first` and `last` when the first and the last of its
    outputs came that brought new tokens, `gaps` the time from each of these outputs to the next,
    and `tokens` how many new ones they brought together.
    """

    sent: float
    first: float
    last: float
    tokens: int
    gaps: Sequence[float] = ()

    @property
    def first_token_s(self) -> float:
        """What its user waits for the first token; the engine's own queue is in it."""
        return self.first - self.sent


@dataclass(frozen=True)
class Load:
    """All the requests of one run at a fixed number of requests at a time."""

    concurrency: int
    answers: Sequence[RequestTiming]

    @property
    def seconds(self) -> float:
        """From the first request to the last token."""
        return max(a.last for a in self.answers) - min(a.sent for a in self.answers)

    @property
    def tokens(self) -> int:
        """New tokens of all requests."""
        return sum(a.tokens for a in self.answers)

    @property
    def tokens_per_s(self) -> float:
        """New tokens of all requests per second."""
        return self.tokens / self.seconds

    @property
    def first_tokens_s(self) -> list[float]:
        """Time to the first token of each request."""
        return [a.first_token_s for a in self.answers]

    @property
    def gaps(self) -> list[float]:
        """Seconds between two outputs of a request, of all requests."""
        return [gap for a in self.answers for gap in a.gaps]


def most_at_once(answers: Sequence[RequestTiming]) -> int:
    """Return how many requests were being answered at the same moment at most."""
    events = sorted(
        [(a.first, 1) for a in answers] + [(a.last, -1) for a in answers],
        key=lambda event: (event[0], -event[1]),
    )
    most = now = 0
    for _, change in events:
        now += change
        most = max(most, now)
    return most
