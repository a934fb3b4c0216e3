"""The corpus stage: raw files in; train, test, rejected and statistics out, all or none."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from butler.corpus.choice import (
    Drops,
    Split,
    drop_benchmark,
    drop_exact,
    drop_like,
    drop_test_records,
    split_by_dish,
)
from butler.corpus.counts import reason_counts, rejected_lines, statistics
from butler.corpus.formats import FORMATS
from butler.corpus.inputs import input_files
from butler.corpus.near import NearRule
from butler.corpus.processes import outcomes
from butler.corpus.protected import OverlapRule, Protected
from butler.corpus.reading import Source
from butler.corpus.sampling import draw_sample
from butler.corpus.table import Table
from butler.corpus.worker import Job
from butler.errors import ButlerError
from butler.files import atomic_path, scratch_dir
from butler.progress import say
from butler.protected_texts import read_protected
from butler.settings.corpus_stage import CorpusSettings

_SAY_EVERY = 200_000  # records


@dataclass(frozen=True)
class Outputs:
    """The four files of the stage."""

    train: Path
    test: Path
    rejected: Path
    stats: Path


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
    source = Source(FORMATS[settings.format], path, input_files(path, settings.format))
    _check_outputs(path, outputs, protected)
    asked = read_protected(protected)
    near, overlap = _rules(settings)
    sought = None
    if overlap and asked.texts:
        sought = Protected([text for _, text in asked.texts], overlap)
    job = Job(settings, seed, near, overlap.ngram if overlap else 0, sought)
    home = outputs.train.parent
    with _made(home), scratch_dir(home / "corpus") as folder, Table(Path(folder)) as table:
        _read(source, table, job, processes)
        if not len(table):
            raise ButlerError(_nothing_usable(path, table, settings))
        drops = Drops(len(table))
        split = _choose(path, table, drops, job, overlap, [name for name, _ in asked.texts])
        stats = statistics(source, table, split, drops)
        if drops.doubt:
            stats["doubt"] = drops.doubt
        if near:
            stats["near_duplicates"] = drops.removed("near_duplicate")
        if overlap:
            stats["contamination"] = drops.contamination()
        if sought:
            stats["contamination"]["questions"] = len(asked.texts)
            stats["contamination"]["questions_too_short"] = sought.short
        stats["settings"] = settings.model_dump(exclude={"path"}) | {"seed": seed}
        stats["unread_protected"] = asked.unread
        _write(outputs, source, table, split, drops, stats)
    return stats


def _rules(settings: CorpusSettings) -> tuple[NearRule | None, OverlapRule | None]:
    """Which records are like each other, and which hold protected texts; None where all stay."""
    near, overlap = settings.near_duplicates, settings.decontaminate
    return (
        NearRule(settings.like_from, near.shingle) if settings.like_from else None,
        OverlapRule(overlap.ngram, overlap.share) if overlap.share else None,
    )


def _nothing_usable(path: Path, table: Table, settings: CorpusSettings) -> str:
    """What to say, and which key to look at, where every record was rejected."""
    reasons = reason_counts(table)
    told = ", ".join(f"{reason} {count}" for reason, count in reasons.items())
    steps = f" or corpus.recipes.min_steps {settings.recipes.min_steps}"
    steps = steps if settings.of_recipes else ""
    advice = {
        "other_language": f"is corpus.language {settings.language} theirs?",
        "too_long": f"is corpus.max_chars {settings.max_chars} too small?",
        "too_short": f"is corpus.min_chars {settings.least_chars}{steps} too large?",
    }.get(next(iter(reasons), ""))
    return f"{path}: no usable record in {sum(table.read.values())} lines ({told}); " + (
        advice or f"is corpus.format {settings.format} theirs?"
    )


def _read(source: Source, table: Table, job: Job, processes: int) -> None:
    """Take every entry through the steps.

    Raises:
        ButlerError: if no file could be read, or one was changed meanwhile.
    """
    said = _SAY_EVERY
    with closing(outcomes(job, source.blocks(), processes)) as found:
        for outcome in found:
            table.add(outcome)
            if (read := sum(table.read.values())) >= said:
                say("corpus", f"{read:,} records read, {len(table.names):,} of them usable")
                said = read + _SAY_EVERY
    source.check_unchanged()
    table.finish()
    if not table.read and source.damage:
        first = min(source.damage)
        raise ButlerError(f"{source.files[first]}: {source.damage[first]}; nothing could be read")


def _choose(
    root: Path,
    table: Table,
    drops: Drops,
    job: Job,
    overlap: OverlapRule | None,
    asked: Sequence[str],
) -> Split:
    """Drop duplicates and contaminated records, sample, and split."""
    settings = job.settings
    kept = drop_exact(table, drops)
    if job.near:
        kept = drop_like(table, kept, job.near, drops)
    kept = drop_benchmark(table, kept, asked, drops)
    kept = draw_sample(table, kept, settings, job.seed, drops)
    if not len(kept):
        raise ButlerError(
            f"all records of {root} hold questions of the benchmarks; give another corpus, "
            "or a larger corpus.decontaminate.share or ngram"
        )
    if settings.test_size >= len(kept):
        raise ButlerError(
            f"corpus.test_size {settings.test_size} leaves nothing to train on: {root} "
            f"gives {len(kept)} usable records; choose a smaller corpus.test_size"
        )
    split = split_by_dish(table, kept, settings.test_size, job.seed)
    if settings.test_size and not len(split.test):
        raise ButlerError(
            f"no dish or question of {root} has so few records that corpus.test_size "
            f"{settings.test_size} holds them, so nothing would be tested; choose a larger "
            "corpus.test_size"
        )
    if overlap and len(split.test):
        split = drop_test_records(table, split, overlap, settings.of_recipes, drops)
    if not len(split.train):
        raise ButlerError(
            f"all records of {root} hold some of the test side's, so nothing is left to "
            "train on; choose a smaller corpus.test_size, or a larger corpus.decontaminate.share "
            "or ngram"
        )
    return split


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
    table: Table,
    split: Split,
    drops: Drops,
    stats: dict[str, Any],
) -> None:
    with ExitStack() as files:
        # Renamed in reverse order: stats.json, by which a reader knows a finished corpus, is last.
        beside = {
            name: files.enter_context(atomic_path(getattr(outputs, name)))
            for name in ("stats", "rejected", "test", "train")
        }
        table.write(split.train, beside["train"])
        table.write(split.test, beside["test"])
        with beside["rejected"].open("wb") as stream:
            stream.writelines(rejected_lines(source, table, drops))
        beside["stats"].write_bytes(orjson.dumps(stats, option=orjson.OPT_INDENT_2) + b"\n")
        outputs.stats.unlink(missing_ok=True)  # it does not tell of the new files beside it
