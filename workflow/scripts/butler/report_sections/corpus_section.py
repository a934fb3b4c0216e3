"""The corpus section: the funnel from raw to kept, lengths, duplicates and rejected examples.

Reads build/corpus/stats.json; of its keys `read`, `kept`, `train`, `test` and `reasons` must be
there, everything else is shown where it is. The lengths in tokens are those of sample_lengths.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from butler.errors import ButlerError
from butler.report_sections import charts
from butler.report_sections.charts import Charts, FunnelStep
from butler.texts import Phrase, named, phrase

NEEDED = ("read", "kept", "train", "test", "reasons")
Fields = TypeVar("Fields", "Removed", "SampleLengths", "InDoubt")
HISTOGRAMS = ("characters", "tokens")
FEWEST_BARS = 3  # with fewer, a sentence says all that a chart would


@dataclass(frozen=True)
class Removed:
    """Groups of records that are the same, and how many records went for it."""

    groups: int
    removed: int


@dataclass(frozen=True)
class GroupSize:
    """How many groups of so many records there were, of one kind of sameness."""

    kind: str
    size: str
    groups: int


@dataclass(frozen=True)
class Contamination:
    """Records that held texts kept from training, of one kind, and what most of them held."""

    kind: str
    records: int
    texts: int
    examples: Mapping[str, int]


@dataclass(frozen=True)
class RejectedExample:
    """A record that was not taken: why, its name if it has one, and what was found in it."""

    reason: str
    name: str | None
    detail: str


@dataclass(frozen=True)
class SampleLengths:
    """What sample_lengths.py measured: training samples and their lengths in tokens."""

    records: int
    median: float
    p95: float
    max_length: int
    cut: int
    trained_share: float


@dataclass(frozen=True)
class InDoubt:
    """The mean share of a record's characters that is in doubt: of all, and of the sample."""

    all: float
    sample: float


@dataclass(frozen=True)
class CorpusSection:
    """From raw to kept; `histograms` are the names of lengths that have a chart.

    `told` says those in words that are in too few bins for one.
    """

    train: int
    test: int
    histograms: Sequence[str]
    told: Mapping[str, Sequence[Phrase]]
    lengths: SampleLengths | None
    doubt: InDoubt | None
    duplicates: Mapping[str, Removed]
    group_sizes: Sequence[GroupSize]
    contamination: Sequence[Contamination]
    examples: Sequence[RejectedExample]
    damaged: Mapping[str, str]
    charts: Charts


def funnel(stats: Mapping[str, Any]) -> list[FunnelStep]:
    """Return the steps from read to kept.

    Raises:
        ButlerError: if the statistics lack a count, or kept and rejected are not what was read.
    """
    missing = [name for name in NEEDED if name not in stats]
    if missing:
        raise ButlerError(f"the corpus's statistics lack {', '.join(missing)}; make it again")
    left = stats["read"]
    steps = [FunnelStep(named("reason", "read"), left, 0)]
    for reason, count in stats["reasons"].items():
        left -= count
        steps.append(FunnelStep(named("reason", reason), left, count))
    if left != stats["kept"]:
        raise ButlerError(
            f"the corpus's statistics say {stats['kept']} kept of {stats['read']}, their reasons "
            f"leave {left}; make the corpus again"
        )
    return [*steps, FunnelStep(named("reason", "kept"), left, 0)]


def histogram(stats: Mapping[str, Any], name: str) -> list[dict[str, int]]:
    """Return the bins of a histogram kept as {shortest length: answers}, gaps filled, or nothing.

    Bins are as wide as the smallest distance between two of them, 100 where there is one bin.
    """
    counts = {int(start): int(count) for start, count in stats.get(name, {}).items()}
    if not counts:
        return []
    starts = sorted(counts)
    distances = [after - before for before, after in zip(starts, starts[1:], strict=False)]
    width = min(distances, default=100)
    return [
        {"start": start, "end": start + width, "answers": counts.get(start, 0)}
        for start in range(starts[0], starts[-1] + 1, width)
    ]


def corpus_section(stats: Mapping[str, Any], lengths: Mapping[str, Any]) -> CorpusSection:
    """Return the section from the corpus's statistics and the lengths of its samples in tokens.

    Raises:
        ButlerError: if a count is missing or the counts do not add up.
    """
    drawn: Charts = {"funnel": charts.funnel(funnel(stats))}
    measured = {**stats, "tokens": lengths.get("tokens", {})}
    bins = {name: found for name in HISTOGRAMS if (found := histogram(measured, name))}
    shown = [name for name, found in bins.items() if len(found) >= FEWEST_BARS]
    drawn |= {f"lengths/{name}": charts.lengths(bins[name], name) for name in shown}
    return CorpusSection(
        train=stats["train"],
        test=stats["test"],
        histograms=shown,
        told={
            name: [phrase("lengths.bin", **one) for one in found]
            for name, found in bins.items()
            if name not in shown
        },
        lengths=_fields(SampleLengths, lengths) if lengths else None,
        doubt=_fields(InDoubt, stats["doubt"]) if stats.get("doubt") else None,
        duplicates={
            name: _fields(Removed, stats[name])
            for name in ("duplicates", "near_duplicates")
            if stats.get(name)
        },
        group_sizes=[
            GroupSize(kind, size, groups)
            for kind, sizes in stats.get("group_sizes", {}).items()
            for size, groups in sizes.items()
        ],
        contamination=[
            Contamination(kind, found["records"], found["texts"], found["examples"])
            for kind, found in stats.get("contamination", {}).items()
            if isinstance(found, Mapping) and found["records"]
        ],
        examples=[
            RejectedExample(reason, one["name"], one["detail"])
            for reason, items in stats.get("examples", {}).items()
            for one in items
        ],
        damaged=stats.get("damaged", {}),
        charts=drawn,
    )


def _fields(kind: type[Fields], values: Mapping[str, Any]) -> Fields:
    """Return a record of that class; what it has no field for is left out."""
    return kind(**{field.name: values[field.name] for field in fields(kind)})
