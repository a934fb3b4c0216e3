"""What one process does with a chunk: read, decode, make samples, spool them, describe them."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from butler.corpus.chunk import Rejections, Style, make_samples
from butler.corpus.contaminate import Protected, sampled
from butler.corpus.folding import Grams
from butler.corpus.formats import FORMATS
from butler.corpus.gates import Array
from butler.corpus.near import NearRule, signatures
from butler.corpus.read import Chunk, decode_all, range_lines
from butler.corpus.recipe import Rejected

_PARTS = ("samples", "shingles", "grams")


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
    those of the usable records. `offsets` and `sizes` say where in spool `spool` a sample is;
    `names` and `dishes` hold a line per record, `keys` two.
    """

    chunk: Chunk
    entries: int
    rejected: list[tuple[int, str, str, str | None]]
    spool: int
    names: bytes = b""
    dishes: bytes = b""
    keys: bytes = b""
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
        records, why, numbers = self._entries(chunk)
        batch, rejected = make_samples(list(records.values()), self.job.style)
        rows = list(records)
        rejections = {rows[place]: reason for place, reason in rejected.items()} | why
        outcome = Outcome(
            chunk, len(numbers), _described(rejections, records, numbers), self.number
        )
        if not batch.rows:
            return outcome
        outcome.names = "\n".join(batch.names).encode()
        outcome.dishes = "\n".join(batch.dishes).encode()
        outcome.keys = "\n".join(batch.keys).encode()
        outcome.contents = b"".join(batch.contents)
        sizes = np.fromiter(map(len, batch.samples), np.int32, len(batch.samples))
        outcome.arrays = {
            "lines": np.array([numbers[rows[row]] for row in batch.rows], np.int64),
            "named": np.array([bool(dish) for dish in batch.dishes]),
            "characters": np.array(batch.characters, np.int32),
            "name_sizes": np.fromiter(map(len, batch.names), np.int32, len(batch.names)),
            "sizes": sizes,
            "offsets": self._write("samples", b"".join(batch.samples)) + _offsets(sizes),
        }
        self._compare(batch.texts, outcome)
        return outcome

    def _entries(self, chunk: Chunk) -> tuple[dict[int, Any], Rejections, list[int]]:
        """Decoded entries and rejections by place in the chunk, and the number of each place."""
        convert = FORMATS[self.job.format].convert
        lines = chunk.entries
        if lines is None:
            lines = range_lines(chunk.path, chunk.begin, chunk.end)
        numbers = chunk.numbers or list(
            range(max(chunk.first, 1), max(chunk.first, 1) + len(lines))
        )
        records: dict[int, Any] = {}
        why: Rejections = {}
        for place, value in enumerate(decode_all(lines) if chunk.numbers is None else lines):
            if isinstance(value, Rejected):
                why[place] = value.bare()
            elif convert is None:
                records[place] = value
            else:
                try:
                    records[place] = convert(value)
                except Rejected as reason:
                    why[place] = reason.bare()
        return records, why, numbers

    def _compare(self, texts: list[str], outcome: Outcome) -> None:
        """Spool what near-duplicates and protected texts are found by."""
        if self.job.near:
            found = signatures(texts, self.job.near)
            outcome.arrays["bands"] = found.bands
            outcome.arrays["shingles"] = found.counts.astype(np.int32)
            begin = self._write("shingles", found.shingles.tobytes())
            outcome.arrays["shingle_offsets"] = begin + _offsets(found.counts) * 4
        if self.job.ngram:
            hashes, counts = Grams(texts).hashes(self.job.ngram)
            runs, kept = sampled(hashes, counts)
            outcome.arrays["grams"] = kept.astype(np.int32)
            begin = self._write("grams", runs.tobytes())
            outcome.arrays["gram_offsets"] = begin + _offsets(kept) * 4
            if self.job.benchmark:
                outcome.contaminated = self.job.benchmark.find(hashes, counts)

    def _write(self, part: str, content: bytes) -> int:
        """Add to a spool; return where it begins there."""
        stream = self._files[part]
        begin = stream.tell()
        stream.write(content)
        stream.flush()
        return begin


def spool_path(folder: Path, part: str, number: int) -> Path:
    """Where worker `number` keeps a kind of bytes."""
    return folder / f"{part}.{number}"


def _offsets(sizes: Array) -> Array:
    return np.cumsum(sizes, dtype=np.int64) - sizes


def _described(
    rejections: Rejections, records: dict[int, Any], numbers: list[int]
) -> list[tuple[int, str, str, str | None]]:
    described = []
    for place in sorted(rejections):
        record = records.get(place)
        name = record.get("name") if isinstance(record, dict) else getattr(record, "question", None)
        named = name[:60] if isinstance(name, str) else None
        why = rejections[place]
        described.append((numbers[place], why.reason, why.detail, named))
    return described


_WORKER: Worker | None = None


def start(job: Job) -> None:
    """Make this process a worker."""
    global _WORKER
    _WORKER = Worker(job)


def work(chunk: Chunk) -> Outcome:
    """Do one chunk in this process."""
    assert _WORKER is not None
    return _WORKER.run(chunk)
