"""Two models on the same questions: the change of each score, by round, data set and cluster.

A record is a line of details.jsonl. Its `cluster` names what it shares with questions that are no
news beside it (none: its own text), its `round` the round in which it was asked, from 1.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from butler.paired import PairedSample, paired_sample, sides
from butler.rounds import Looks, Rounds

Record = Mapping[str, Any]
Key = tuple[str, int]  # data set and place in it
Pair = tuple[Record, Record]  # the answers of a model and of the one that it is compared with


@dataclass(frozen=True)
class Change:
    """A model's score minus another's over the questions asked of both, in points of 0 to 100.

    `low` and `high` bound the 95 % interval of this one comparison by itself, whatever else was
    looked at. Where each question is right or wrong, `lost` counts those that the other alone had
    right and `gained` those that the model alone has; elsewhere both are None. `questions` is how
    many were asked of both.
    """

    points: float
    low: float
    high: float
    questions: int
    lost: int | None = None
    gained: int | None = None


def key_of(record: Record) -> Key:
    """Return which question of a benchmark it is."""
    return record["dataset"], record["index"]


def cluster_of(record: Record) -> str:
    """Return the name of what a question shares with those that are no news beside it."""
    return str(record.get("cluster") or record["question"])


def round_of(record: Record) -> int:
    """Return the round in which a question was asked, from 1."""
    return int(record.get("round", 1))


def common(model: Iterable[Record], other: Iterable[Record]) -> list[Pair]:
    """Return both answers to each question that was asked of both, in the model's order."""
    answers = {key_of(record): record for record in other}
    return [(one, answers[key_of(one)]) for one in model if key_of(one) in answers]


def looks_of(pairs: Sequence[Pair], rounds: Rounds) -> Looks:
    """Return what was seen of the pairs after each round.

    Raises:
        ButlerError: if there is no question of the first round.
    """
    asked = max((round_of(one) for one, _ in pairs), default=1)
    samples = [
        sample_of([pair for pair in pairs if round_of(pair[0]) <= last])
        for last in range(1, asked + 1)
    ]
    return Looks(samples, rounds)


def sample_of(pairs: Sequence[Pair]) -> PairedSample:
    """Return the changes of all pairs in points.

    Raises:
        ButlerError: if there is none.
    """
    changes = [one["score"] - other["score"] for one, other in pairs]
    return _sample(changes, [one for one, _ in pairs])


def _sample(values: Sequence[float], records: Sequence[Record]) -> PairedSample:
    """Return values, −100 to 100, with the data sets and clusters of their records."""
    numbers: dict[str, int] = {}  # a number for each cluster: texts may be long
    clusters = [numbers.setdefault(cluster_of(one), len(numbers)) for one in records]
    return paired_sample(values, [one["dataset"] for one in records], clusters)


def change_of(pairs: Sequence[Pair]) -> Change:
    """Return the mean change over data sets and its interval.

    Raises:
        ButlerError: if there is no pair.
    """
    sample = sample_of(pairs)
    counted = sides([other["score"] for _, other in pairs], [one["score"] for one, _ in pairs])
    return Change(sample.mean, *sample.interval(), len(pairs), **counted)


def interval_of(
    records: Sequence[Record], value: Callable[[Record], float] = lambda record: record["score"]
) -> tuple[float, float]:
    """Return the 95 % interval of the mean over data sets of a figure of 0 to 100.

    The same test as of changes: a figure of 0 to 100, doubled and moved, is one of −100 to 100.
    Where each question is right or wrong and comes once, it is close to Wilson's interval.

    Raises:
        ButlerError: if there is no record.
    """
    sample = _sample([min(2 * value(one) - 100, 100.0) for one in records], records)
    low, high = ((100 + end) / 2 for end in sample.interval())
    return low, high


def repeats(records: Iterable[Record]) -> tuple[int, int]:
    """Return how many questions there are, and how many different ones."""
    clusters = [cluster_of(record) for record in records]
    return len(clusters), len(set(clusters))


def without(pairs: Iterable[Pair], flaw: Callable[[Record], bool]) -> list[Pair]:
    """Return the pairs of which neither answer has the flaw."""
    return [pair for pair in pairs if not any(map(flaw, pair))]
