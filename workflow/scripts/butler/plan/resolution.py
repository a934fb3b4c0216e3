"""What a run's questions can settle: the loss that can be shown to be absent, told beforehand."""

from dataclasses import dataclass
from pathlib import Path

from butler.benchmarks.base import BenchmarkSettings
from butler.benchmarks.question_sheet import read_sheet
from butler.comparisons import common, sample_of
from butler.paired import resolvable_loss
from butler.plan.stage_needs import known_questions, sheet_path
from butler.question_rounds import read_records
from butler.rounds import plan_rounds
from butler.schemes import BASELINE
from butler.settings.run import Settings

ASSUMED = 0.1  # of the answers change, as far as nothing was measured


@dataclass(frozen=True)
class Resolution:
    """Of one benchmark: the least loss in points that its questions can exclude.

    In 4 of 5 runs, for a variant that loses nothing. `questions` count those of a cluster once;
    `changed` is the share of answers that change, `seen` in earlier results or assumed. `needed`
    are the questions that would exclude the limit.
    """

    questions: int
    changed: float
    seen: bool
    loss: float
    needed: int


def resolution(settings: Settings, benchmark: BenchmarkSettings, build: Path) -> Resolution | None:
    """Return what a benchmark resolves; None as long as its questions are not known."""
    decision = settings.decision
    questions = _different_questions(benchmark, settings, build)
    compared = len(settings.variants) - 1
    if questions is None or not compared:
        return None
    found = _changed(settings, benchmark, build)
    changed = ASSUMED if found is None else found
    rounds = plan_rounds(questions, decision.first_round or questions)
    level = decision.error / compared * rounds.shares[-1]
    loss = resolvable_loss(questions, changed, level)
    needed = round(questions * (loss / decision.max_loss) ** 2)
    return Resolution(questions, changed, found is not None, loss, needed)


def _different_questions(
    benchmark: BenchmarkSettings, settings: Settings, build: Path
) -> int | None:
    """Return how many a benchmark asks, those of a cluster counted once if they were read."""
    path = sheet_path(benchmark, build)
    if not path.is_file():
        return known_questions(benchmark, settings, build)
    data_sets = read_sheet(path, benchmark.name).data_sets.values()
    return len({one.cluster or one.question for of_set in data_sets for one in of_set})


def _changed(settings: Settings, benchmark: BenchmarkSettings, build: Path) -> float | None:
    """Return the largest share of answers that a variant changed, None if none was compared.

    Of graded answers it is the share of right or wrong ones that would vary as much.
    """
    paths = {
        name: build / "evaluate" / f"{benchmark.name}_{name}" / "details.jsonl"
        for name in settings.variants
    }
    there = {name: read_records(path) for name, path in paths.items() if path.is_file()}
    baseline = there.pop(BASELINE, None)
    if baseline is None or not there:
        return None
    samples = [sample_of(common(one, baseline)) for one in there.values()]
    return max(float(one.weights @ (one.differences / 100) ** 2) for one in samples)


def resolutions(settings: Settings, build: Path) -> list[str]:
    """Return what each benchmark resolves, in lines, and what to do if that is too little."""
    limit, lines, short = settings.decision.max_loss, [], False
    for benchmark in settings.benchmarks:
        found = resolution(settings, benchmark, build)
        if found is None:
            if len(settings.variants) > 1:
                lines.append(f"{benchmark.name}: known after snakemake prepare reads its questions")
            continue
        how = "as in earlier results" if found.seen else "assumed"
        lines.append(
            f"{benchmark.name}: {found.questions:,} questions can exclude a loss of "
            f"{found.loss:.1f} points if {found.changed:.0%} of the answers change ({how})"
        )
        if found.loss > limit:
            short = True
            lines.append(f"  decision.max_loss {limit:g} takes some {found.needed:,}")
    if short:
        lines.append(
            "Most runs would end undecided: give more questions, or raise decision.max_loss."
        )
    return lines
