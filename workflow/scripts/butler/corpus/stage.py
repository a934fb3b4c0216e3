"""The corpus stage: raw files in; train, test, rejected and statistics out, all or none."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from butler.corpus import tallies
from butler.corpus.chunk import Style
from butler.corpus.contaminate import OverlapRule, Protected
from butler.corpus.draw import in_order
from butler.corpus.drop import Drops, drop_contaminated, drop_exact, drop_like, drop_unsampled
from butler.corpus.near import NearRule
from butler.corpus.processes import Processes, Spools
from butler.corpus.read import Source, find_files
from butler.corpus.select import Dishes, Gatherer, Split, Table, Texts, split_by_dish
from butler.corpus.worker import Job
from butler.errors import ButlerError
from butler.files import atomic_path, scratch_dir
from butler.protected_texts import read_protected
from butler.settings.corpus_stage import CorpusSettings

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Outputs:
    """The four files of the stage."""

    train: Path
    test: Path
    rejected: Path
    stats: Path


@dataclass(frozen=True)
class _Rules:
    """What chooses among the usable records; None for a step that is skipped."""

    settings: CorpusSettings
    seed: int
    near: NearRule | None
    overlap: OverlapRule | None


def _rules(settings: CorpusSettings, seed: int) -> _Rules:
    near, overlap = settings.near_duplicates, settings.decontaminate
    return _Rules(
        settings,
        seed,
        NearRule(near.threshold, near.shingle) if near.threshold else None,
        OverlapRule(overlap.ngram, overlap.share) if overlap.share else None,
    )


def build_corpus(
    path: Path,
    outputs: Outputs,
    settings: CorpusSettings,
    seed: int,
    protected: Sequence[Path] = (),
    processes: int = 1,
) -> dict[str, Any]:
    """Make the four files from `path`, all or none; return the statistics.

    Args:
        path: a file or a folder; that of the settings is not looked at.
        protected: files and folders with texts that nothing of may be trained on.
        processes: how many share the work; they change nothing in what comes out.

    Raises:
        ButlerError: if the input or an output path is unusable, or nothing could be kept.
    """
    source = find_files(path, settings.format)
    _check_outputs(path, outputs, protected)
    asked = read_protected(protected)
    rules = _rules(settings, seed)
    overlap = rules.overlap
    sought = None
    if overlap and asked.texts:
        sought = Protected([text for _, text in asked.texts], overlap)
    home = outputs.train.parent
    with _made(home), scratch_dir(home / "corpus") as folder:
        ngram = overlap.ngram if overlap else 0
        job = Job(settings.format, Style(settings, seed), Path(folder), rules.near, ngram, sought)
        with Processes(job, processes) as workers:
            gatherer = _read(source, workers)
            table = gatherer.table()
            if not len(table):
                raise ButlerError(_nothing_usable(path, gatherer, settings))
            with Spools(job, table) as spools:
                names = [name for name, _ in asked.texts]
                split, drops, counts = _choose(
                    source, gatherer, table, spools, workers, rules, names
                )
            stats = tallies.statistics(source, gatherer, table, split, drops)
            stats |= counts | {"settings": settings.model_dump(exclude={"path"}) | {"seed": seed}}
            stats["unread_protected"] = asked.unread
            if sought:
                stats["contamination"]["questions"] = len(asked.texts)
                stats["contamination"]["questions_too_short"] = sought.short
            _write(outputs, source, gatherer, table, split, drops, stats, workers)
    return stats


def _nothing_usable(path: Path, gatherer: Gatherer, settings: CorpusSettings) -> str:
    """What to say, and which key to look at, where every record was rejected."""
    reasons = tallies.reason_counts(gatherer)
    told = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
    advice = {
        "other_language": f"is corpus.language {settings.language} theirs?",
        "too_long": f"is corpus.max_chars {settings.max_chars} too small?",
        "too_short": f"is corpus.min_chars {settings.min_chars} too large?",
    }.get(next(iter(dict(reasons.most_common(1))), ""))
    return f"{path}: no usable record in {sum(gatherer.read.values())} lines ({told}); " + (
        advice or f"is corpus.format {settings.format} theirs?"
    )


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
    rules: _Rules,
    questions: Sequence[str],
) -> tuple[Split, Drops, dict[str, Any]]:
    """Drop duplicates and contaminated records, sample, and split; and what was counted on it."""
    settings, overlap = rules.settings, rules.overlap
    drops = Drops(len(table))
    counts: dict[str, Any] = {}
    kept, exact = drop_exact(gatherer, table, spools, drops)
    counts["duplicates"] = exact
    if rules.near:
        kept, counts["near_duplicates"] = drop_like(table, kept, spools, rules.near, drops)
    if overlap:
        kept = drops.benchmark(gatherer, table, kept, questions)
    if settings.sample and settings.sample < len(kept):
        numbers = processes.draw(table, rules.seed, "sample")
        drawn = in_order(kept, numbers, table.contents)
        kept = drop_unsampled(drawn, settings.sample, drops)
    if not len(kept):
        raise ButlerError(
            f"all records of {source.root} hold questions of the benchmarks; give another corpus, "
            "or a larger corpus.decontaminate.share or ngram"
        )
    if settings.test_size >= len(kept):
        raise ButlerError(
            f"corpus.test_size {settings.test_size} leaves nothing to train on: {source.root} "
            f"gives {len(kept)} usable records; choose a smaller corpus.test_size"
        )
    dishes = Dishes(table, kept, Texts(gatherer, "names"), Texts(gatherer, "dishes"))
    split = split_by_dish(table, dishes, kept, settings.test_size, rules.seed)
    if settings.test_size and not len(split.test):
        raise ButlerError(
            f"no dish or question of {source.root} has so few records that corpus.test_size "
            f"{settings.test_size} holds them, so nothing would be tested; choose a larger "
            "corpus.test_size"
        )
    if overlap:
        split = drop_contaminated(table, split, spools, overlap, drops)
        counts["contamination"] = drops.contamination_counts()
    if not len(split.train):
        raise ButlerError(
            f"all records of {source.root} hold some of the test side's, so nothing is left to "
            "train on; choose a smaller corpus.test_size, or a larger corpus.decontaminate.share "
            "or ngram"
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


def _check_outputs(source: Path, outputs: Outputs, protected: Sequence[Path]) -> None:
    given = {source.resolve(), *(path.resolve() for path in protected)}
    paths = [path.resolve() for path in vars(outputs).values()]
    if len(given.union(paths)) < len(given) + len(paths):
        raise ButlerError(
            "--input, --protected, --train, --test, --rejected and --stats must all differ"
        )
    for path in vars(outputs).values():
        if path.is_dir():
            raise ButlerError(f"{path} is a folder; give the name of a file to write")
        # /dev/stdout may be a file; /dev/shm is a folder like others.
        device = path.absolute().parent in (Path("/dev"), Path("/dev/fd"))
        if device or (path.exists() and not path.is_file()):
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
            for lines in tallies.rejected_lines(source, gatherer, table, drops):
                stream.write(lines)
        beside["stats"].write_bytes(orjson.dumps(stats, option=orjson.OPT_INDENT_2) + b"\n")
        outputs.stats.unlink(missing_ok=True)  # it does not tell of the new files beside it
