"""The corpus stage: raw files in; train, test, rejected and statistics out, all or none."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from butler.corpus import report
from butler.corpus.chunk import Style
from butler.corpus.contaminate import OverlapRule, Protected, benchmark_questions
from butler.corpus.draw import in_order
from butler.corpus.drop import Drops, drop_contaminated, drop_exact, drop_like, drop_unsampled
from butler.corpus.near import NearRule
from butler.corpus.processes import Processes, Spools
from butler.corpus.read import Source, find_files
from butler.corpus.sample import Limits
from butler.corpus.select import Dishes, Gatherer, Split, Table, Texts, split_by_dish
from butler.corpus.worker import Job
from butler.errors import ButlerError
from butler.files import atomic_path, scratch_dir

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Outputs:
    """The four files of the stage."""

    train: Path
    test: Path
    rejected: Path
    stats: Path


@dataclass(frozen=True)
class Settings:
    """What the corpus is made by; everything else follows from the input.

    `forms` maps the ending of a question to its weight; `sample` 0 keeps all records; `near` and
    `overlap` None skip their steps. `processes` changes nothing in what comes out.
    """

    system: str
    seed: int
    test_size: int
    sample: int
    forms: Mapping[str, float]
    limits: Limits = field(default_factory=Limits)
    format: str = "xiachufang"
    near: NearRule | None = None
    overlap: OverlapRule | None = None
    processes: int = 1


def build_corpus(
    path: Path, outputs: Outputs, settings: Settings, benchmark: Sequence[Path] = ()
) -> dict[str, Any]:
    """Make the four files from `path`, all or none; return the statistics.

    `benchmark` names the files with questions that nothing of may be trained on.

    Raises:
        ButlerError: if the input or an output path is unusable, or nothing could be kept.
    """
    source = find_files(path, settings.format)
    _check_outputs(path, outputs, benchmark)
    questions, names = benchmark_questions(benchmark)
    protected = None
    if settings.overlap and questions:
        protected = Protected(questions, settings.overlap)
    home = outputs.train.parent
    with _made(home), scratch_dir(home / "corpus") as folder:
        style = Style(settings.system, settings.seed, settings.forms, settings.limits)
        ngram = settings.overlap.ngram if settings.overlap else 0
        job = Job(settings.format, style, Path(folder), settings.near, ngram, protected)
        with Processes(job, settings.processes) as processes:
            gatherer = _read(source, processes)
            table = gatherer.table()
            if not len(table):
                read = sum(gatherer.read.values())
                reasons = report.reason_list(gatherer)
                raise ButlerError(f"{path}: no usable record in {read} lines ({reasons})")
            with Spools(job, table) as spools:
                split, drops, counts = _choose(
                    source, gatherer, table, spools, processes, settings, names
                )
            stats = report.statistics(source, gatherer, table, split, drops)
            stats |= counts | {"settings": report.settings(settings)}
            if protected and settings.overlap:
                stats["contamination"]["questions"] = len(questions)
                stats["contamination"]["questions_too_short"] = protected.short
            _write(outputs, source, gatherer, table, split, drops, stats, processes)
    return stats


def _read(source: Source, processes: Processes) -> Gatherer:
    """Clean and judge everything.

    Raises:
        ButlerError: if no file could be read.
    """
    gatherer = Gatherer()
    for outcome in processes.outcomes(source.chunks()):
        gatherer.add(outcome)
    if not gatherer.read and source.damage:
        first = min(source.damage)
        raise ButlerError(f"{source.files[first]}: {source.damage[first]}; nothing could be read")
    return gatherer


def _choose(
    source: Source,
    gatherer: Gatherer,
    table: Table,
    spools: Spools,
    processes: Processes,
    settings: Settings,
    questions: Sequence[str],
) -> tuple[Split, Drops, dict[str, Any]]:
    """Drop duplicates and contaminated records, sample, and split; and what was counted on it."""
    drops = Drops(len(table))
    counts: dict[str, Any] = {}
    kept, exact = drop_exact(gatherer, table, spools, drops)
    counts["duplicates"] = exact
    if settings.near:
        kept, counts["near_duplicates"] = drop_like(table, kept, spools, settings.near, drops)
    if settings.overlap:
        kept = drops.benchmark(gatherer, table, kept, questions)
    if settings.sample and settings.sample < len(kept):
        numbers = processes.draw(table, settings.seed, "sample")
        drawn = in_order(kept, numbers, table.contents)
        kept = drop_unsampled(drawn, settings.sample, drops)
    if not len(kept):
        raise ButlerError(f"{source.root}: the benchmark's questions leave no record to train on")
    if settings.test_size >= len(kept):
        raise ButlerError(
            f"test_size {settings.test_size} leaves nothing to train on: {source.root} gives "
            f"{len(kept)} usable records; choose a smaller test_size"
        )
    dishes = Dishes(table, kept, Texts(gatherer, "names"), Texts(gatherer, "dishes"))
    split = split_by_dish(table, dishes, kept, settings.test_size, settings.seed)
    if settings.test_size and not len(split.test):
        raise ButlerError(
            f"no dish of {source.root} has so few records that test_size {settings.test_size} "
            "holds them, so nothing would be tested; choose a larger test_size"
        )
    if settings.overlap:
        split = drop_contaminated(table, split, spools, settings.overlap, drops)
        counts["contamination"] = drops.contamination_counts()
    if not len(split.train):
        raise ButlerError(
            f"all records of {source.root} hold some of the test side's, so nothing is left to "
            "train on; choose a smaller test_size, or a larger decontaminate.share or ngram"
        )
    return split, drops, counts


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make a folder and those above it; take away, after a failure, the new ones that are empty.

    Spools always lie there, so that the next run finds those of one that was killed.
    """
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException as error:
        for path in new:
            with suppress(OSError):  # something else is in it by now
                path.rmdir()
        if isinstance(error, OSError) and not error.filename:
            error.filename = str(folder)  # a write that fails names no file
        raise


def _check_outputs(source: Path, outputs: Outputs, benchmark: Sequence[Path]) -> None:
    given = {source.resolve(), *(path.resolve() for path in benchmark)}
    paths = [path.resolve() for path in vars(outputs).values()]
    if len(given.union(paths)) < len(given) + len(paths):
        raise ButlerError(
            "--input, --benchmark, --train, --test, --rejected and --stats must all differ"
        )
    for path in vars(outputs).values():
        if path.is_dir():
            raise ButlerError(f"{path} is a folder; give the name of a file to write")
        if path.exists() and not path.is_file() or Path("/dev") in path.absolute().parents:
            raise ButlerError(f"{path} is no ordinary file; give the name of a file to write")
        if source.is_dir() and path.resolve().is_relative_to(source.resolve()):
            raise ButlerError(f"{path} lies in the input {source}; write it somewhere else")


def _write(
    outputs: Outputs,
    source: Source,
    gatherer: Gatherer,
    table: Table,
    split: Split,
    drops: Drops,
    stats: Mapping[str, Any],
    processes: Processes,
) -> None:
    with ExitStack() as files:
        # Renamed in reverse order: stats.json, by which a reader knows a finished corpus, is last.
        beside = {
            name: files.enter_context(atomic_path(getattr(outputs, name)))
            for name in ("stats", "rejected", "test", "train")
        }
        sides = [(split.train, beside["train"]), (split.test, beside["test"])]
        with processes.copying(table, sides), beside["rejected"].open("wb") as stream:
            for lines in report.rejected_lines(source, gatherer, table, drops):
                stream.write(lines)
        beside["stats"].write_bytes(orjson.dumps(stats, option=orjson.OPT_INDENT_2) + b"\n")
        outputs.stats.unlink(missing_ok=True)  # it does not tell of the new files beside it
