"""What the corpus stage says about its work: rejected.jsonl, line by line, and stats.json."""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
import orjson

from butler.corpus.adverts import scrub
from butler.corpus.drop import REASONS, Drops
from butler.corpus.read import Source
from butler.corpus.sample import stable_hash
from butler.corpus.select import Gatherer, Split, Table, Texts
from butler.errors import ButlerError

_HISTOGRAM_STEP = 100
_EXAMPLES = 3
Array = np.ndarray[Any, Any]
Place = Callable[[int], tuple[str, int]]


def reason_counts(gatherer: Gatherer) -> Counter[str]:
    """How often the first pass rejected a record for each reason."""
    return Counter(reason for o in gatherer.outcomes for _, reason, _, _ in o.rejected)


def _reasons(gatherer: Gatherer, drops: Drops) -> dict[str, int]:
    counts = reason_counts(gatherer)
    dropped = np.bincount(drops.reason, minlength=len(REASONS)).tolist()
    counts.update({name: n for name, n in zip(REASONS[1:], dropped[1:], strict=True) if n})
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def statistics(
    source: Source, gatherer: Gatherer, table: Table, split: Split, drops: Drops
) -> dict[str, Any]:
    """The counts of a run; they add up, or this is a fault of the stage.

    Raises:
        ButlerError: if they do not.
    """
    reasons = _reasons(gatherer, drops)
    read, rejected = sum(gatherer.read.values()), sum(reasons.values())
    train, test = len(split.train), len(split.test)
    if train + test + rejected != read:
        raise ButlerError(
            f"the counts do not add up: {train} + {test} kept, {rejected} rejected, "
            f"{read} read; this is a fault of corpus.py"
        )
    kept = np.concatenate((split.train, split.test))
    return {
        "read": read,
        "kept": train + test,
        "train": train,
        "test": test,
        "rejected": rejected,
        "reasons": reasons,
        "dishes": split.dish_counts(),
        "unnamed_dishes": int((~table.columns["named"][kept]).sum()) if len(kept) else 0,
        "characters": _histogram(table.columns["characters"][kept]),
        "group_sizes": _group_sizes(drops),
        "examples": _examples(gatherer, table, drops),
        "damaged": {source.name(file): why for file, why in sorted(source.damage.items())},
        "files": len(source.files),
    }


def _histogram(lengths: Array) -> dict[str, int]:
    """Number of answers by length in characters; the key is the shortest length of its bin."""
    counts = np.bincount(lengths // _HISTOGRAM_STEP).tolist()
    return {str(bin * _HISTOGRAM_STEP): count for bin, count in enumerate(counts) if count}


def _group_sizes(drops: Drops) -> dict[str, dict[str, int]]:
    """How many groups have how many records, for exact and near duplicates."""
    found = {}
    for name in ("duplicate", "near_duplicate"):
        kept = drops.instead[drops.reason == REASONS.index(name)]
        _, sizes = np.unique(kept, return_counts=True)
        counts = Counter((sizes + 1).tolist())
        found[name] = {str(size): counts[size] for size in sorted(counts)}
    return found


def _detail(record: int, drops: Drops, names: Texts, place: Place | None = None) -> str:
    """Why a usable record went; it names lines only if `place` tells them."""
    reason = REASONS[drops.reason[record]]
    if reason == "contaminated":
        return drops.details[record]
    if reason == "not_sampled":
        return f"not among the {drops.sample} drawn"
    same = "same ingredients and steps as" if reason == "duplicate" else "hardly differs from"
    kept = int(drops.instead[record])
    if place is None:
        return f"{same} {names.text(kept)}"
    file, line = place(kept)
    other = f" of {file}" if file != place(record)[0] else ""
    return f"{same} line {line}{other}"


def rejected_lines(
    source: Source, gatherer: Gatherer, table: Table, drops: Drops
) -> Iterator[bytes]:
    """The lines of rejected.jsonl, a chunk of the input at a time, in the order of the input."""
    names = Texts(gatherer, "names")
    file_name = cache(source.name)

    def place(record: int) -> tuple[str, int]:
        return file_name(int(table.files[record])), int(table.lines[record])

    begin = 0
    for outcome in gatherer.outcomes:
        file = file_name(outcome.chunk.file)
        entries = [
            {"file": file, "line": line, "reason": reason, "detail": detail, "name": name}
            for line, reason, detail, name in outcome.rejected
        ]
        end = begin + len(outcome.contents) // 16
        for record in (np.flatnonzero(drops.reason[begin:end]) + begin).tolist():
            entries.append(
                {
                    "file": file,
                    "line": int(table.lines[record]),
                    "reason": REASONS[drops.reason[record]],
                    "detail": _detail(record, drops, names, place),
                    "name": names.text(record)[:60],
                }
            )
        begin = end
        entries.sort(key=lambda entry: entry["line"])
        yield b"".join(orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE) for entry in entries)


def _examples(gatherer: Gatherer, table: Table, drops: Drops) -> dict[str, list[dict[str, Any]]]:
    """Some rejected records of each reason, drawn by what they are, not by where they stood."""
    found: dict[str, list[tuple[int, dict[str, Any]]]] = {}

    def offer(reason: str, name: str | None, detail: str) -> None:
        chosen = found.setdefault(reason, [])
        entry = (stable_hash(name, detail), {"name": name, "detail": detail})
        if (len(chosen) < _EXAMPLES or entry[0] < chosen[-1][0]) and entry not in chosen:
            chosen.append(entry)
            chosen.sort(key=lambda item: item[0])
            del chosen[_EXAMPLES:]

    for outcome in gatherer.outcomes:
        for _, reason, detail, name in outcome.rejected:
            # The report may be shown to others, and a contact is why some are rejected.
            offer(reason, name and (scrub(name) or None), detail)
    names = Texts(gatherer, "names")
    for number, reason in enumerate(REASONS[1:], 1):
        records = np.flatnonzero(drops.reason == number)
        # Drawn by content, so that one look at each is enough for a million of them.
        draw = table.contents[records, 0]
        for record in records[np.argsort(draw, kind="stable")[: 4 * _EXAMPLES]].tolist():
            offer(reason, names.text(record)[:60], _detail(record, drops, names))
    return {reason: [entry for _, entry in chosen] for reason, chosen in sorted(found.items())}
