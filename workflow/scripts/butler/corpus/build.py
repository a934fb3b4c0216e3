"""The corpus stage: raw JSON Lines in; train, test, rejected and statistics out."""

import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import orjson

from butler.corpus.read import check_input, decode, numbered_lines
from butler.corpus.recipe import Rejected, parse
from butler.corpus.sample import Limits, answer, judge, question
from butler.corpus.select import (
    Candidate,
    Split,
    candidate,
    drop_duplicates,
    shuffle,
    split_by_dish,
)
from butler.errors import ButlerError
from butler.files import atomic_open

_HISTOGRAM_STEP = 100


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

    `forms` maps the ending of a question to its weight; `sample` 0 keeps all records.
    """

    system: str
    seed: int
    test_size: int
    sample: int
    forms: Mapping[str, float]
    limits: Limits = field(default_factory=Limits)


@dataclass
class _Pass:
    """What the first reading leaves: candidates, rejections by line, and how many lines."""

    candidates: list[Candidate]
    rejected: dict[int, dict[str, Any]]
    read: int = 0

    def reject(self, line: int, reason: str, detail: str, name: object) -> None:
        named = name[:60] if isinstance(name, str) else None
        self.rejected[line] = {
            "line": line,
            "reason": reason,
            "detail": detail,
            "name": named,
        }


def build_corpus(source: Path, outputs: Outputs, settings: Settings) -> dict[str, Any]:
    """Make the four files from `source`, all or none; return the statistics.

    Raises:
        ButlerError: if the input or an output path is unusable, or nothing could be kept.
    """
    check_input(source)
    _check_outputs(source, outputs)
    with tempfile.TemporaryFile() as spool:
        first = _read(source, spool, settings)
        kept, groups, duplicates = _choose(first, settings)
        if not kept:
            reasons = _reasons(first.rejected.values())
            raise ButlerError(f"{source}: no usable record in {first.read} lines ({reasons})")
        if settings.test_size >= len(kept):
            raise ButlerError(
                f"test_size {settings.test_size} leaves nothing to train on: {source} gives "
                f"{len(kept)} usable records; choose a smaller test_size"
            )
        split = split_by_dish(kept, settings.test_size, settings.seed)
        stats = _stats(first, split, settings)
        stats["duplicates"] = {"groups": groups, "removed": duplicates}
        stats["characters"] = _histogram(item.characters for item in kept)
        _write(outputs, split, first, stats, spool)
    return stats


def _read(source: Path, spool: IO[bytes], settings: Settings) -> _Pass:
    """Clean and judge every line; usable samples go to the spool, the rest is rejected."""
    state = _Pass([], {})
    offset = 0
    for number, line in numbered_lines(source):
        state.read += 1
        raw: Any = None
        try:
            raw = decode(line)
            recipe = parse(raw)
            judge(recipe, settings.limits)
        except Rejected as why:
            name = raw.get("name") if isinstance(raw, dict) else None
            state.reject(number, why.reason, why.detail, name)
            continue
        text = answer(recipe)
        asked = question(recipe, settings.forms, settings.seed)
        turn = {"system": settings.system, "input": asked, "output": text}
        sample = orjson.dumps({"conversation": [turn]}) + b"\n"
        place = (offset, spool.write(sample))
        offset += len(sample)
        state.candidates.append(candidate(recipe, number, len(text), place, sample))
    return state


def _choose(first: _Pass, settings: Settings) -> tuple[list[Candidate], int, int]:
    """Drop duplicates, then sample; every record that goes is written down as rejected."""
    best, dropped, groups = drop_duplicates(first.candidates)
    by_line = {item.line: item for item in first.candidates}
    for line, kept_line in dropped.items():
        detail = f"same ingredients and steps as line {kept_line}"
        first.reject(line, "duplicate", detail, by_line[line].name)
    if settings.sample and settings.sample < len(best):
        drawn = shuffle(best, settings.seed, "sample")
        best = drawn[: settings.sample]
        for item in drawn[settings.sample :]:
            detail = f"not among the {settings.sample} drawn"
            first.reject(item.line, "not_sampled", detail, item.name)
    return best, groups, len(dropped)


def _sample(spool: IO[bytes], item: Candidate) -> bytes:
    offset, size = item.place
    spool.seek(offset)
    return spool.read(size)


def _check_outputs(source: Path, outputs: Outputs) -> None:
    paths = [source.resolve(), *(path.resolve() for path in vars(outputs).values())]
    if len(set(paths)) < len(paths):
        raise ButlerError("--input, --train, --test, --rejected and --stats must all differ")
    for path in vars(outputs).values():
        if path.is_dir():
            raise ButlerError(f"{path} is a folder; give the name of a file to write")


def _reasons(rejected: Iterable[Mapping[str, Any]]) -> str:
    counts = Counter(entry["reason"] for entry in rejected)
    return ", ".join(f"{reason} {count}" for reason, count in counts.most_common())


def _stats(first: _Pass, split: Split, settings: Settings) -> dict[str, Any]:
    train, test, rejected = len(split.train), len(split.test), len(first.rejected)
    if train + test + rejected != first.read:
        raise ButlerError(
            f"the counts do not add up: {train} + {test} kept, {rejected} rejected, "
            f"{first.read} read; this is a fault of corpus.py"
        )
    reasons = Counter(entry["reason"] for entry in first.rejected.values())
    return {
        "read": first.read,
        "kept": train + test,
        "train": train,
        "test": test,
        "rejected": rejected,
        "reasons": dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
        "dishes": {"train": split.train_dishes, "test": split.test_dishes},
        "unnamed_dishes": sum(item.rank[0] for item in split.train + split.test),
        "settings": asdict(settings),
    }


def _histogram(lengths: Iterable[int]) -> dict[str, int]:
    """Number of answers by length in characters; the key is the shortest length of its bin."""
    bins = Counter(length // _HISTOGRAM_STEP * _HISTOGRAM_STEP for length in lengths)
    return {str(start): bins[start] for start in sorted(bins)}


def _write(
    outputs: Outputs,
    split: Split,
    first: _Pass,
    stats: Mapping[str, Any],
    spool: IO[bytes],
) -> None:
    with ExitStack() as files:
        # Renamed in reverse order: stats.json, by which a reader knows a finished corpus, is last.
        streams = {
            name: files.enter_context(atomic_open(getattr(outputs, name)))
            for name in ("stats", "rejected", "test", "train")
        }
        for name in ("train", "test"):
            for item in getattr(split, name):
                streams[name].write(_sample(spool, item).decode())
        for line in sorted(first.rejected):
            streams["rejected"].write(orjson.dumps(first.rejected[line]).decode() + "\n")
        text = orjson.dumps(stats, option=orjson.OPT_INDENT_2).decode()
        streams["stats"].write(text + "\n")
