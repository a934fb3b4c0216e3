"""How fast TurboMind is to its users, from timed requests: with a spread, as rows and back.

Everything is counted on what the engine streams, in the process that started it: no network, no
tokenizer. At N requests at a time N are sent at once and each that ends is followed by the next.
All answers have the same length, so they go on in bursts, which is the hardest case for the time to
the first token. The wait between tokens is the time between two outputs of a request; one that
brings several tokens is one wait, as its reader waits once, and `tokens_per_output` says how many
it brings. Repeats are of one start of the engine.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from butler.efficiency.timings import Load, RequestTiming

PERCENTILES = (50, 90, 99)

Row = tuple[str, int | float, str]  # metric, value, unit

_TOKENS = "tokens_per_s"
_FIRST = "time_to_first_token_s"
_BETWEEN = "between_tokens_s"


def enough(percentile: int) -> int:
    """Return how many values a percentile needs: one beyond it is to be expected."""
    return round(100 / (100 - percentile))


def percentile_of(values: Sequence[float], percentile: int) -> float | None:
    """Return a percentile, NumPy's (linear between neighbours); None of too few values."""
    if len(values) < enough(percentile):
        return None
    return float(np.percentile(values, percentile))


@dataclass(frozen=True)
class Spread:
    """A figure over the repeats: the least, the median and the most."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, repeats: Iterable[float]) -> "Spread":
        """Return the spread of one value a repeat."""
        values = list(repeats)
        return cls(min(values), median(values), max(values))

    def over(self, other: "Spread") -> "Spread":
        """Return it as a multiple of another: ends are of the least here and the most there."""
        return Spread(self.low / other.high, self.median / other.median, self.high / other.low)

    def rows(self, metric: str, unit: str, load: str = "", digits: int = 3) -> list[Row]:
        """Return the three as rows."""
        named = {"min": self.low, "median": self.median, "max": self.high}
        return [(f"{metric}_{k}{load}", round(v, digits), unit) for k, v in named.items()]

    @classmethod
    def read(cls, values: Mapping[str, float], metric: str, load: str = "") -> "Spread":
        """Return it from the values of its rows."""
        return cls(*(values[f"{metric}_{name}{load}"] for name in ("min", "median", "max")))


@dataclass(frozen=True)
class Waits:
    """Seconds that were waited: percentiles over all waits of all repeats together.

    A percentile P is known of 100 / (100 - P) waits and more: a p99 of 100. `worst_p90` is the
    largest p90 of one repeat.
    """

    percentiles: Mapping[int, float]
    worst_p90: float | None

    @classmethod
    def of(cls, repeats: Sequence[Sequence[float]]) -> "Waits":
        """Return them of the waits of each repeat."""
        pooled = [wait for waits in repeats for wait in waits]
        found = {p: percentile_of(pooled, p) for p in PERCENTILES}
        by_repeat = [percentile_of(waits, 90) for waits in repeats]
        known = [value for value in by_repeat if value is not None]
        return cls(
            {p: value for p, value in found.items() if value is not None},
            max(known) if len(known) == len(by_repeat) else None,
        )

    def rows(self, metric: str, load: str) -> list[Row]:
        """Return those that are known as rows."""
        named = {f"p{p}": value for p, value in self.percentiles.items()}
        if self.worst_p90 is not None:
            named["p90_worst"] = self.worst_p90
        return [(f"{metric}_{name}{load}", round(v, 6), "s") for name, v in named.items()]

    @classmethod
    def read(cls, values: Mapping[str, float], metric: str, load: str) -> "Waits":
        """Return them from the values of their rows."""
        names = {p: f"{metric}_p{p}{load}" for p in PERCENTILES}
        found = {p: values[name] for p, name in names.items() if name in values}
        return cls(found, values.get(f"{metric}_p90_worst{load}"))


@dataclass(frozen=True)
class LoadSpeed:
    """Speed at a fixed number of requests at a time; `requests` are those of all repeats.

    `tokens_per_s` counts the new tokens of all requests, `prefill_tokens_per_s` the prompts' while
    nothing else is done, each over a repeat's whole time.
    """

    requests: int
    tokens_per_s: Spread
    prefill_tokens_per_s: Spread
    first_token: Waits
    between_tokens: Waits
    tokens_per_output: float

    @classmethod
    def of(cls, loads: Sequence[Load], prefills: Sequence[Load], prompt_tokens: int) -> "LoadSpeed":
        """Return it of the repeats, those that answer and those that only read prompts."""
        outputs = sum(1 + len(a.gaps) for load in loads for a in load.answers)
        return cls(
            requests=sum(len(load.answers) for load in loads),
            tokens_per_s=Spread.of(load.tokens_per_s for load in loads),
            prefill_tokens_per_s=Spread.of(
                prompt_tokens * len(load.answers) / load.seconds for load in prefills
            ),
            first_token=Waits.of([load.first_tokens_s for load in loads]),
            between_tokens=Waits.of([load.gaps for load in loads]),
            tokens_per_output=sum(load.tokens for load in loads) / outputs,
        )

    def rows(self, at_a_time: int) -> list[Row]:
        """Return its rows."""
        load = f"_{at_a_time}"
        return [
            (f"requests{load}", self.requests, "requests"),
            *self.tokens_per_s.rows(_TOKENS, "tokens/s", load),
            *self.prefill_tokens_per_s.rows(f"prefill_{_TOKENS}", "tokens/s", load),
            *self.first_token.rows(_FIRST, load),
            *self.between_tokens.rows(_BETWEEN, load),
            (f"tokens_per_output{load}", round(self.tokens_per_output, 3), "tokens"),
        ]

    @classmethod
    def read(cls, values: Mapping[str, float], at_a_time: int) -> "LoadSpeed":
        """Return it from the values of its rows."""
        load = f"_{at_a_time}"
        return cls(
            requests=int(values[f"requests{load}"]),
            tokens_per_s=Spread.read(values, _TOKENS, load),
            prefill_tokens_per_s=Spread.read(values, f"prefill_{_TOKENS}", load),
            first_token=Waits.read(values, _FIRST, load),
            between_tokens=Waits.read(values, _BETWEEN, load),
            tokens_per_output=values[f"tokens_per_output{load}"],
        )


@dataclass(frozen=True)
class Speed:
    """One variant's speed: one request after another, and `loads` by requests at a time.

    Of one request: the prompt's tokens over the time to the first new one, tokens per second after
    it, and seconds to it.
    """

    repeats: int
    prefill_tokens_per_s: Spread
    decode_tokens_per_s: Spread
    first_token_s: Spread
    loads: Mapping[int, LoadSpeed]

    @classmethod
    def of(
        cls,
        single: Sequence[RequestTiming],
        loads: Sequence[Load],
        prefills: Sequence[Load],
        prompt_tokens: int,
    ) -> "Speed":
        """Return it of timed requests.

        Args:
            single: one request after another, one a repeat.
            loads: several at a time, of each number of them one a repeat.
            prefills: the same, of reading prompts alone.
            prompt_tokens: of each request.
        """
        counts = sorted({load.concurrency for load in loads})
        return cls(
            repeats=len(single),
            prefill_tokens_per_s=Spread.of(prompt_tokens / a.first_token_s for a in single),
            decode_tokens_per_s=Spread.of((a.tokens - 1) / (a.last - a.first) for a in single),
            first_token_s=Spread.of(a.first_token_s for a in single),
            loads={
                count: LoadSpeed.of(_at(loads, count), _at(prefills, count), prompt_tokens)
                for count in counts
            },
        )

    def rows(self) -> list[Row]:
        """Return its rows; those of a load end with how many requests it has at a time."""
        return [
            ("repeats", self.repeats, "repeats"),
            *self.prefill_tokens_per_s.rows(f"prefill_{_TOKENS}", "tokens/s"),
            *self.decode_tokens_per_s.rows(f"decode_{_TOKENS}", "tokens/s"),
            *self.first_token_s.rows(_FIRST, "s", digits=6),
            *(row for count, load in self.loads.items() for row in load.rows(count)),
        ]

    @classmethod
    def read(cls, values: Mapping[str, float]) -> "Speed":
        """Return it from the values of its rows.

        Raises:
            KeyError: with the first metric that is missing.
        """
        return cls(
            repeats=int(values["repeats"]),
            prefill_tokens_per_s=Spread.read(values, f"prefill_{_TOKENS}"),
            decode_tokens_per_s=Spread.read(values, f"decode_{_TOKENS}"),
            first_token_s=Spread.read(values, _FIRST),
            loads={count: LoadSpeed.read(values, count) for count in sorted(_counts(values))},
        )


def _at(loads: Sequence[Load], count: int) -> list[Load]:
    return [load for load in loads if load.concurrency == count]


def _counts(values: Mapping[str, float]) -> Iterator[int]:
    """Numbers of requests at a time that there are figures of."""
    start = "requests_"
    return (int(name.removeprefix(start)) for name in values if name.startswith(start))
