"""What one process does with a chunk: read, decode, make samples, spool them, describe them."""

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

import numpy as np
import orjson

from butler.corpus.chunk import Rejections, Style, make_samples
from butler.corpus.contaminate import Protected
from butler.corpus.draw import drawn_for, drawn_numbers
from butler.corpus.folding import Grams
from butler.corpus.formats import FORMATS
from butler.corpus.gates import Array
from butler.corpus.near import NearRule, signatures
from butler.corpus.ngrams import Runs
from butler.corpus.pieces import put_pieces
from butler.corpus.read import Chunk, decode_all, range_lines
from butler.corpus.recipe import Rejected
from butler.settings.corpus_stage import CorpusSettings

SHARES = 64  # of the drawn order, in each of which samples are spooled apart
SAMPLES = tuple(f"samples.{share}" for share in range(SHARES))
_PARTS = (*SAMPLES, "shingles", "grams")
_NOTHING = np.frombuffer(b"", np.uint8)


@dataclass(frozen=True)
class Job:
    """What all processes do; `folder` is for their spools, `ngram` 0 without decontamination."""

    format: str
    style: Style
    folder: Path
    near: NearRule | None = None
    ngram: int = 0
    benchmark: Protected | None = None


@dataclass
class Outcome:
    """What a chunk left: how many entries it had, rejections, and arrays over its usable records.

    `rejected` holds (entry, reason, detail, name), entries from 1 within the chunk; `lines` are
    those of the usable records. `drawn` is a record's number in the order of the outputs (uint64),
    `offsets` and `sizes` say where its sample is in the spool of its share of that order, which
    worker `spool` wrote. `key_numbers` has a number of the keys of name and dish, 0 for none,
    uint64 [records, 2]. `names` and `dishes` hold a text per record, a NUL between two.
    """

    chunk: Chunk
    entries: int
    rejected: list[tuple[int, str, str, str | None]]
    spool: int
    names: bytes = b""
    dishes: bytes = b""
    contents: bytes = b""
    arrays: dict[str, Array] = field(default_factory=dict)
    contaminated: dict[int, tuple[int, float]] = field(default_factory=dict)


class Worker:
    """One process's spools and settings."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.number = os.getpid()
        self._files: dict[str, IO[bytes]] = {
            part: spool_path(job.folder, part, self.number).open("ab") for part in _PARTS
        }

    def close(self) -> None:
        """Let the spools be read."""
        for stream in self._files.values():
            stream.close()

    def run(self, chunk: Chunk) -> Outcome:
        """Turn a chunk into samples on the spool and a description of them."""
        lines, numbers = _lines(chunk)
        batch, rejected = make_samples(self._entries(lines, chunk), self.job.style)
        outcome = Outcome(
            chunk, len(lines), self._described(rejected, lines, chunk, numbers), self.number
        )
        if not batch.rows:
            return outcome
        outcome.names = "\0".join(batch.names).encode()
        outcome.dishes = "\0".join(batch.dishes).encode()
        outcome.contents = b"".join(batch.contents)
        sizes = np.concatenate(batch.sizes).astype(np.int32)
        seed = self.job.style.seed
        drawn = drawn_numbers(seed, "order", outcome.contents)
        # Two keys of millions have the same 64 bits by a chance of 1 to ten million, and then two
        # dishes would only go to the same side.
        keys = drawn_for(seed, "split", batch.keys)
        outcome.arrays = {
            "lines": numbers[batch.rows],
            "named": np.fromiter(map(bool, batch.dishes), bool, len(batch.dishes)),
            "characters": np.concatenate(batch.characters).astype(np.int32),
            "name_sizes": np.fromiter(map(len, batch.names), np.int32, len(batch.names)),
            "key_numbers": keys.reshape(-1, 2),
            "drawn": drawn,
            "sizes": sizes,
            "offsets": self._spooled(b"".join(batch.samples), sizes, drawn),
        }
        self._compare(Grams.joined(batch.letters), outcome)
        return outcome

    def _entries(self, lines: list[Any], chunk: Chunk) -> Iterator[Any]:
        """What is made of each line, row or text: a record, or the Rejected that says why none."""
        convert = FORMATS[self.job.format].convert
        entries = decode_all(lines) if chunk.numbers is None else lines
        if convert:
            entries = (_converted(entry, convert) for entry in entries)
        return iter(entries)

    def _described(
        self, rejections: Rejections, lines: list[Any], chunk: Chunk, numbers: Array
    ) -> list[tuple[int, str, str, str | None]]:
        places = sorted(rejections)
        described = []
        # Few are rejected: their names are read again.
        again = self._entries([lines[place] for place in places], chunk)
        for place, record in zip(places, again, strict=True):
            why = rejections[place]
            described.append((int(numbers[place]), why.reason, why.detail, _name(record)))
        return described

    def _compare(self, grams: Grams, outcome: Outcome) -> None:
        """Spool what near-duplicates and protected texts are found by."""
        if self.job.near:
            found = signatures(grams, self.job.near)
            outcome.arrays["bands"] = found.bands
            outcome.arrays["shingles"] = found.counts.astype(np.int32)
            begin = self._write("shingles", found.shingles)
            outcome.arrays["shingle_offsets"] = begin + _offsets(found.counts) * 4
        if self.job.ngram:
            runs = Runs(grams, self.job.ngram)
            hashes, kept = runs.sampled()
            outcome.arrays["grams"] = kept.astype(np.int32)
            begin = self._write("grams", hashes)
            outcome.arrays["gram_offsets"] = begin + _offsets(kept) * 4
            if self.job.benchmark:
                outcome.contaminated = self.job.benchmark.find(grams, runs)

    def _spooled(self, samples: bytes, sizes: Array, drawn: Array) -> Array:
        """Write each sample to the spool of its share; return where it begins there."""
        shares = share_of(drawn)
        order = np.argsort(shares, kind="stable")
        pieces = _offsets(sizes)[order], sizes[order]
        places = _offsets(sizes[order])
        bounds = np.searchsorted(shares[order], np.arange(SHARES + 1))
        written = np.empty(len(samples), np.uint8)
        put_pieces(np.frombuffer(samples, np.uint8), *pieces, _NOTHING, places, written)
        cuts = np.append(places, len(samples))[bounds]
        starts = [
            self._write(part, written[begin:end])
            for part, begin, end in zip(SAMPLES, cuts[:-1], cuts[1:], strict=True)
        ]
        offsets = np.empty(len(sizes), np.int64)
        offsets[order] = places + np.repeat(starts - cuts[:-1], np.diff(bounds))
        return offsets

    def _write(self, part: str, content: Array) -> int:
        """Add to a spool; return where it begins there."""
        stream = self._files[part]
        begin = stream.tell()
        stream.write(content)
        stream.flush()
        return begin


def spool_path(folder: Path, part: str, number: int) -> Path:
    """Where worker `number` keeps a kind of bytes."""
    return folder / f"{part}.{number}"


def share_of(drawn: Array) -> Array:
    """The share of the drawn order that each number falls in, as uint8."""
    return (drawn >> np.uint64(64 - (SHARES - 1).bit_length())).astype(np.uint8)


def _offsets(sizes: Array) -> Array:
    return np.cumsum(sizes, dtype=np.int64) - sizes


def _lines(chunk: Chunk) -> tuple[list[Any], Array]:
    """The lines, rows or texts of a chunk, and the number of each."""
    lines = chunk.entries
    if lines is None:
        lines = range_lines(chunk.path, chunk.begin, chunk.end)
    numbers = chunk.numbers or range(max(chunk.first, 1), max(chunk.first, 1) + len(lines))
    return lines, np.array(numbers, np.int64)


def _converted(entry: Any, convert: Callable[[Any], Any]) -> Any:
    if isinstance(entry, Rejected):
        return entry
    try:
        return convert(entry)
    except Rejected as why:
        return why.bare()


def _name(record: Any) -> str | None:
    name = record.get("name") if isinstance(record, dict) else getattr(record, "question", None)
    return name[:60] if isinstance(name, str) else None


_RECIPE = {
    "name": "青菜",
    "recipeIngredient": ["青菜"],
    "recipeInstructions": ["青菜洗净切段，放入锅中炒熟", "加盐盛出，趁热上桌吃完。"],
}
_USABLE = CorpusSettings(language=None, min_chars=0)


def compile_loops(job: Job) -> None:
    """Compile the loops over characters, or read them where they are kept.

    Processes forked after it have them.
    """
    style = replace(job.style, settings=_USABLE)  # by which the recipe is
    with TemporaryDirectory(dir=job.folder) as folder:
        worker = Worker(replace(job, format="xiachufang", style=style, folder=Path(folder)))
        worker.run(Chunk(0, "", first=1, entries=[orjson.dumps(_RECIPE)]))
        worker.close()


_WORKER: Worker | None = None


def start(job: Job, end_with_parent: Callable[[], None] | None) -> None:
    """Make this process a worker that SIGTERM ends, its parent's too.

    The handler inherited would leave as by sys.exit(), which a task gives back as its result.
    """
    global _WORKER
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # run.py held it back
    if end_with_parent:
        end_with_parent()
    _WORKER = Worker(job)


def work(chunk: Chunk) -> Outcome:
    """Do one chunk in this process."""
    assert _WORKER is not None
    return _WORKER.run(chunk)
