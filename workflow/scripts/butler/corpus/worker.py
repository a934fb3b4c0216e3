"""What one process does with a block: decode, run the steps, and describe what is left."""

import gc
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np

from butler.corpus.doubt import in_doubt, taken_out
from butler.corpus.formats import FORMATS
from butler.corpus.near import NearRule, signatures
from butler.corpus.ngrams import Array, Grams, letters_of, sampled
from butler.corpus.pipeline import pair_steps, recipe_steps, run
from butler.corpus.protected import Protected
from butler.corpus.reading import Block
from butler.corpus.records import Pair, Recipe, Rejected
from butler.corpus.rules.dish import dish_key, question_key
from butler.corpus.samples import Questions, answer, content_key, sample, stable_hash
from butler.settings.corpus_stage import CorpusSettings


@dataclass(frozen=True)
class Job:
    """What all processes do; `ngram` is 0 without decontamination."""

    settings: CorpusSettings
    seed: int
    near: NearRule | None = None
    ngram: int = 0
    benchmark: Protected | None = None


@dataclass
class Outcome:
    """What a block left: how many entries it had, rejections, and columns of its usable records.

    `rejected` holds (line, reason, detail, name). `samples` are the finished lines in a row.
    Columns: lines, named (the corpus names the dish), characters (of the answer), name_sizes,
    sizes (of the sample in bytes), contents (the content key), keys (of name and dish, 0 for
    none), ties (by dish and sample); with near-duplicates bands and shingle_counts, with
    decontamination run_counts; where doubt is weighed in_doubt (characters, and of how many) and
    taken_out_sizes (bytes of `taken_out`). `contaminated` is {record: (protected text, share)}.
    """

    block: Block
    entries: int
    rejected: list[tuple[int, str, str, str | None]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    samples: bytes = b""
    taken_out: bytes = b""
    columns: dict[str, Array] = field(default_factory=dict)
    shingles: Array | None = None
    runs: Array | None = None
    contaminated: dict[int, tuple[int, float]] = field(default_factory=dict)


class Worker:
    """Turns blocks into outcomes."""

    def __init__(self, job: Job) -> None:
        self.job = job
        settings = job.settings
        self._convert = FORMATS[settings.format].convert
        self._recipe_steps = recipe_steps(settings)
        self._pair_steps = pair_steps(settings)
        self._questions = Questions(settings.recipes.question_forms, job.seed)

    def run(self, block: Block) -> Outcome:
        """Every entry becomes a sample or a rejection."""
        outcome = Outcome(block, 0)
        kept: list[Recipe | Pair] = []
        lines: list[int] = []
        for number, entry in block.entries():
            outcome.entries += 1
            name, left = self._cleaned(entry)
            if isinstance(left, Rejected):
                outcome.rejected.append((number, left.reason, left.detail, name))
            else:
                kept.append(left)
                lines.append(number)
        if kept:
            self._describe(kept, lines, outcome)
        outcome.block = Block(block.file)  # the input itself is not sent back
        return outcome

    def _cleaned(self, entry: Any) -> tuple[str | None, Recipe | Pair | Rejected]:
        """What it called itself, and the record after the steps or why it goes."""
        if isinstance(entry, Rejected):
            return None, entry
        try:
            record = self._convert(entry)
        except Rejected as why:
            name = entry.get("name") if isinstance(entry, dict) else None
            return (name[:60] if isinstance(name, str) else None), why
        if isinstance(record, Recipe):
            return record.name[:60], run(self._recipe_steps, record)
        return record.question[:60], run(self._pair_steps, record)

    def _describe(self, kept: list[Recipe | Pair], lines: list[int], outcome: Outcome) -> None:
        told = list(map(self._told, kept))
        samples = [one.sample for one in told]
        letters = letters_of([text for one in told for text in one.compared])
        contents = [content_key(*both) for both in zip(letters[::2], letters[1::2], strict=True)]
        outcome.names = [one.name for one in told]
        outcome.samples = b"".join(samples)
        sizes = np.fromiter(map(len, samples), np.int32, len(samples))
        outcome.columns = {
            "lines": np.array(lines, np.int64),
            "named": np.array([one.named for one in told]),
            "characters": np.array([one.characters for one in told], np.int32),
            "name_sizes": np.fromiter(map(len, outcome.names), np.int32, len(told)),
            "sizes": sizes,
            "contents": np.frombuffer(b"".join(contents), ">u8").astype(np.uint64).reshape(-1, 2),
            "keys": np.array([one.keys for one in told], np.uint64),
            "ties": np.array([one.tie for one in told], np.uint64),
        }
        if self.job.settings.weighs_doubt:
            recipes = [record for record in kept if isinstance(record, Recipe)]
            gone = [taken_out(recipe).encode("utf-8", "surrogatepass") for recipe in recipes]
            outcome.taken_out = b"".join(gone)
            outcome.columns["taken_out_sizes"] = np.fromiter(map(len, gone), np.int32, len(gone))
            outcome.columns["in_doubt"] = np.array([in_doubt(one) for one in recipes], np.int32)
        grams = Grams.of_letters(
            [f"{a}{b}" for a, b in zip(letters[::2], letters[1::2], strict=True)]
        )
        if self.job.near:
            found = signatures(grams, self.job.near)
            outcome.columns["bands"] = found.bands
            outcome.columns["shingle_counts"] = found.counts.astype(np.int32)
            outcome.shingles = found.shingles
        if self.job.ngram:
            hashes, counts = grams.hashes(self.job.ngram)
            outcome.runs, outcome.columns["run_counts"] = sampled(hashes, counts)
            if self.job.benchmark:
                outcome.contaminated = self.job.benchmark.find(hashes, counts)

    def _told(self, record: Recipe | Pair) -> "_Told":
        system = self.job.settings.system
        if isinstance(record, Pair):
            line = sample(system, record.question, record.answer)
            key = stable_hash(question_key(record.question))
            one_line = record.question.replace("\n", " ")
            compared = (one_line, record.answer)
            return _Told(record.question, "", line, len(record.answer), (key, 0), compared)
        text = answer(record.ingredients, record.steps)
        line = sample(system, self._questions.ask(record.name, record.keywords), text)
        of_dish = stable_hash(dish_key(record.dish)) if record.dish else 0
        keys = stable_hash(dish_key(record.name)), of_dish
        return _Told(
            record.name, record.dish, line, len(text), keys, (record.ingredients, record.steps)
        )


class _Told(NamedTuple):
    """A finished sample, and what it is known by."""

    name: str
    dish: str
    sample: bytes
    characters: int
    keys: tuple[int, int]
    compared: tuple[str, str]

    @property
    def named(self) -> bool:
        """Whether the corpus names the dish."""
        return bool(self.dish)

    @property
    def tie(self) -> int:
        """What decides between records that are as good."""
        digest = blake2b(self.dish.encode() + self.sample, digest_size=8).digest()
        return int.from_bytes(digest, "big")


_WORKER: Worker | None = None


def start(job: Job, end_with_parent: Callable[[], None] | None) -> None:
    """Make this process a worker that SIGTERM ends, its parent's too.

    The handler inherited would leave as by sys.exit(), which a task gives back as its result.
    """
    global _WORKER
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # processes.py held it back
    if end_with_parent:
        end_with_parent()
    gc.disable()  # nothing here makes cycles, and blocks make many objects
    _WORKER = Worker(job)


def work(block: Block) -> Outcome:
    """Do one block in this process."""
    assert _WORKER is not None
    return _WORKER.run(block)
