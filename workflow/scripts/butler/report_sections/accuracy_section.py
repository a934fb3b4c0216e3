"""Accuracy in detail: by group, data set and metric, and the questions that changed sides."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from butler.benchmarks.opencompass.proof import AVERAGE
from butler.comparisons import interval_of
from butler.evaluations import Evaluation
from butler.report_sections.answers_section import shortened
from butler.report_sections.charts import Charts, Colours, Dots, dots, range_of
from butler.report_sections.findings import Findings
from butler.schemes import BASELINE
from butler.texts import Phrase, named, phrase

FLIPS_SHOWN = 30


@dataclass(frozen=True)
class ScoreRow:
    """A line of a benchmark's table: the score of each model, 0 to 100, in the models' order.

    `dataset` is None in the line of the average; `main` marks what the decision goes by. `cut` are
    the shares, 0 to 1, of answers cut at max_new_tokens, in a data set's first line; 0 in others.
    `questions` are the numbers asked of each model; a score is None where there were none, and so
    are the `bounds` of its 95 % interval where the questions have no such metric of their own.
    """

    dataset: str | None
    metric: str
    questions: Sequence[int]
    scores: Sequence[float | None]
    bounds: Sequence[tuple[float, float] | None]
    main: bool
    cut: Sequence[float]


@dataclass(frozen=True)
class DataSetChart:
    """The name of a chart of data sets, and of the group that these are summed up in."""

    group: str | Phrase | None
    chart: str


@dataclass(frozen=True)
class Said:
    """What a model answered to a question that is right or wrong."""

    text: str
    right: bool


@dataclass(frozen=True)
class Flip:
    """A question that not all variants had right; `said` in the order of the models compared."""

    question: str
    reference: str
    said: Sequence[Said]


@dataclass(frozen=True)
class BenchmarkScores:
    """One benchmark in detail; charts and `several` are of those with more than one data set.

    Metrics beside the main one that tell nothing are not in `rows`: `equal` is the same in every
    model, `twins` are the same as another metric in every line.
    """

    label: str
    several: bool
    rows: Sequence[ScoreRow]
    equal: Sequence[Phrase | str]
    twins: Sequence[Phrase]
    group_chart: str | None
    dataset_charts: Sequence[DataSetChart]
    flips: Sequence[Flip]

    @property
    def metrics(self) -> int:
        """How many metrics the table has."""
        return len({row.metric for row in self.rows})

    @property
    def fewer(self) -> bool:
        """Whether some model was asked fewer questions than another."""
        return any(len(set(row.questions)) > 1 for row in self.rows)

    @property
    def any_cut(self) -> bool:
        """Whether any answer was cut."""
        return any(share for row in self.rows for share in row.cut)


@dataclass(frozen=True)
class AccuracySection:
    """Every benchmark in detail; `models` head the columns of scores, `compared` those of flips."""

    models: Sequence[str]
    compared: Sequence[str]
    benchmarks: Sequence[BenchmarkScores]
    charts: Charts


def accuracy_section(findings: Findings, colours: Colours) -> AccuracySection:
    """Return the section with all benchmarks in their order."""
    charts: Charts = {}
    compared = [BASELINE, *findings.compared]
    benchmarks = [_benchmark(findings, name, compared, colours, charts) for name in findings.labels]
    return AccuracySection(findings.models, compared, benchmarks, charts)


def _benchmark(
    findings: Findings, name: str, compared: Sequence[str], colours: Colours, charts: Charts
) -> BenchmarkScores:
    """Return one benchmark, its charts put into `charts`."""
    evaluations = list(findings.of(name).values())
    shared = list(findings.shared(name).values())
    several = any(len(one.by_dataset) > 1 for one in evaluations)
    group_chart, dataset_charts = None, []
    groups = by_group(shared) if several else []
    domain = range_of(one for group in groups for one in group.datasets) if groups else []
    if len(groups) > 1:
        group_chart = f"groups/{name}"
        charts[group_chart] = dots([group.total for group in groups], colours, domain)
    for place, group in enumerate(groups):
        chart = f"datasets/{name}/{place}"
        charts[chart] = dots(group.datasets, colours, domain)
        dataset_charts.append(DataSetChart(group.name, chart))
    flipped = flips(findings, name, compared) if findings.right_or_wrong(name) else []
    rows = score_rows(evaluations)
    main = evaluations[0].metric
    rows, equal = without_equal(rows, main)
    rows, twins = without_twins(rows, main)
    return BenchmarkScores(
        findings.labels[name], several, rows, equal, twins, group_chart, dataset_charts, flipped
    )


def score_rows(evaluations: Sequence[Evaluation]) -> list[ScoreRow]:
    """Return the lines of one benchmark's table, from the tables of all its models.

    With a single data set the average says nothing more, and is left out.
    """
    widest = max(evaluations, key=lambda one: one.questions)
    tables = [one.table.set_index(["dataset", "metric"]) for one in evaluations]
    single = len(widest.by_dataset) == 1
    rows, seen = [], set()
    for dataset, metric in zip(widest.table["dataset"], widest.table["metric"], strict=True):
        average = dataset == AVERAGE
        if average and single:
            continue
        own = [
            table.loc[(dataset, metric)] if (dataset, metric) in table.index else None
            for table in tables
        ]
        scores = [None if one is None else float(one["score"]) for one in own]
        questions = [0 if one is None else int(one["questions"]) for one in own]
        main = average or (single and metric == widest.metric)
        told = dataset in seen
        cut = [
            0.0 if told or not count else one.cut_share(dataset)
            for one, count in zip(evaluations, questions, strict=True)
        ]
        seen.add(dataset)
        bounds = [_bounds(one, dataset, metric) for one in evaluations]
        told_set = None if average else dataset
        rows.append(ScoreRow(told_set, metric, questions, scores, bounds, main, cut))
    return rows


def _bounds(evaluation: Evaluation, dataset: str, metric: str) -> tuple[float, float] | None:
    """Return the interval of a score in the table; None where questions have no such metric."""
    records = [one for one in evaluation.details if dataset in (AVERAGE, one["dataset"])]
    if metric == evaluation.metric:
        return interval_of(records) if records else None
    values = [one.get("metrics", {}).get(metric) for one in records]
    if not values or None in values:
        return None
    return interval_of(records, lambda record: record["metrics"][metric])


def without_equal(rows: Sequence[ScoreRow], main: str) -> tuple[list[ScoreRow], list[Phrase | str]]:
    """Return the lines of the metrics that differ between models, and the names of the others.

    The main metric is always listed; one that has the same value everywhere is named with it.
    """
    values: dict[str, list[Sequence[float | None]]] = {}
    for row in rows:
        values.setdefault(row.metric, []).append(row.scores)
    equal = {
        metric: {score for scores in found for score in scores}
        for metric, found in values.items()
        if metric != main and all(len(set(scores)) == 1 for scores in found)
    }
    told = [
        phrase("metric.value", metric=named("metric", metric), score=one)
        if len(scores) == 1 and (one := next(iter(scores))) is not None
        else named("metric", metric)
        for metric, scores in equal.items()
    ]
    return [row for row in rows if row.metric not in equal], told


def without_twins(rows: Sequence[ScoreRow], main: str) -> tuple[list[ScoreRow], list[Phrase]]:
    """Return the lines without metrics that are another's in every line, and what they are.

    Of the two the first is listed. The main metric has no twin: it is what the decision goes by.
    """
    values: dict[str, list[Sequence[float | None]]] = {}
    for row in rows:
        values.setdefault(row.metric, []).append(row.scores)
    found: dict[str, str] = {}
    for metric, scores in values.items():
        for other, others in values.items():
            if other == metric:
                break
            if main not in (metric, other) and other not in found and others == scores:
                found[metric] = other
    told = [
        phrase("metric.twin", metric=named("metric", metric), other=named("metric", other))
        for metric, other in found.items()
    ]
    return [row for row in rows if row.metric not in found], told


@dataclass(frozen=True)
class GroupScores:
    """Data sets summed up in one group (None: there are no groups), and their plain mean."""

    name: str | Phrase | None
    datasets: Sequence[Dots]
    total: Dots


def by_group(evaluations: Sequence[Evaluation]) -> list[GroupScores]:
    """Return the data sets by group, those in none last; one of all where there are no groups.

    A data set's score is the mean over its questions.
    """
    groups = evaluations[0].groups
    last = None if set(groups) == {None} else phrase("word.no_group")
    named_groups = [name for name in groups if name is not None] + [None] * (None in groups)
    found = []
    for name in named_groups:
        told = last if name is None else name
        lines = [_dots(one, [one], evaluations) for one in groups[name]]
        found.append(GroupScores(told, lines, _dots(told or "", groups[name], evaluations)))
    return found


def _dots(name: str | Phrase, datasets: Sequence[str], evaluations: Sequence[Evaluation]) -> Dots:
    """Return each model's plain mean over the data sets, with its interval."""
    records = [[r for r in one.details if r["dataset"] in datasets] for one in evaluations]
    scores = [mean(mean(one.by_dataset[dataset]) for dataset in datasets) for one in evaluations]
    return Dots(name, len(records[0]), scores, [interval_of(own) for own in records])


def flips(findings: Findings, benchmark: str, compared: Sequence[str]) -> list[Flip]:
    """Return the questions that some of the `compared` answered right and others wrong.

    At most FLIPS_SHOWN, those that most lost against the baseline first.
    """
    found = findings.shared(benchmark)
    answers = [found[name].details for name in compared]
    ranked = []
    for index, asked in enumerate(found[BASELINE].details):
        own = [details[index] for details in answers]
        if len({answer["score"] for answer in own}) == 1:
            continue
        lost = sum(answer["score"] < asked["score"] for answer in own)
        said = [
            Said(str(one.get("extracted") or one["prediction"]), one["score"] == 100) for one in own
        ]
        texts = (shortened(asked[name]) for name in ("question", "reference"))
        ranked.append((lost, Flip(*texts, said)))
    ranked.sort(key=lambda item: -item[0])
    return [flip for _, flip in ranked[:FLIPS_SHOWN]]
