"""What the corpus stage says about its work: rejected.jsonl, line by line, and stats.json."""

from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import orjson

from butler.corpus.choice import REASONS, Drops, Split
from butler.corpus.reading import Source
from butler.corpus.rules.adverts import scrub
from butler.corpus.samples import stable_hash
from butler.corpus.table import Table
from butler.errors import ButlerError
from butler.histograms import histogram

_EXAMPLES = 3


def reason_counts(table: Table, drops: Drops | None = None) -> dict[str, int]:
    """How often a record was rejected for each reason, the most frequent first."""
    counts = Counter(reason for _, _, reason, _, _ in table.rejected)
    if drops:
        dropped = np.bincount(drops.reason, minlength=len(REASONS)).tolist()
        counts.update({name: n for name, n in zip(REASONS[1:], dropped[1:], strict=True) if n})
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def statistics(source: Source, table: Table, split: Split, drops: Drops) -> dict[str, Any]:
    """The counts of a run; they add up, or this is a fault of the stage.

    Raises:
        ButlerError: if they do not.
    """
    reasons = reason_counts(table, drops)
    read, rejected = sum(table.read.values()), sum(reasons.values())
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
        "unnamed_dishes": int((~table.columns["named"][kept]).sum()),
        "characters": histogram(table.columns["characters"][kept]),
        "duplicates": drops.removed("duplicate"),
        "group_sizes": _group_sizes(drops),
        "examples": _examples(table, drops),
        "damaged": {source.name(file): why for file, why in sorted(source.damage.items())},
        "files": len(source.files),
    }


def _group_sizes(drops: Drops) -> dict[str, dict[str, int]]:
    """How many groups have how many records, for exact and near duplicates."""
    found = {}
    for name in ("duplicate", "near_duplicate"):
        kept = drops.instead[drops.reason == REASONS.index(name)]
        _, sizes = np.unique(kept, return_counts=True)
        counts = Counter((sizes + 1).tolist())
        found[name] = {str(size): counts[size] for size in sorted(counts)}
    return found


def _detail(record: int, drops: Drops, kept: str) -> str:
    """Why a usable record went; `kept` tells the one that stays in its place."""
    reason = REASONS[drops.reason[record]]
    if reason == "contaminated":
        return drops.details[record]
    if reason == "not_sampled":
        return f"not among the {drops.sample} drawn"
    same = "says the same as" if reason == "duplicate" else "hardly differs from"
    return f"{same} {kept}"


def rejected_lines(source: Source, table: Table, drops: Drops) -> Iterator[bytes]:
    """The lines of rejected.jsonl, in the order of the input."""
    file_name = cache(source.name)
    lines = table.columns["lines"]

    def place(record: int, other: int) -> str:
        same = table.files[record] == table.files[other]
        of_file = "" if same else f" of {file_name(int(table.files[other]))}"
        return f"line {lines[other]}{of_file}"

    entries: list[tuple[int, int, str, str, str | None]] = list(table.rejected)
    for record in np.flatnonzero(drops.reason).tolist():
        detail = _detail(record, drops, place(record, int(drops.instead[record])))
        where = int(table.files[record]), int(lines[record])
        entries.append((*where, REASONS[drops.reason[record]], detail, table.names[record][:60]))
    entries.sort(key=lambda entry: entry[:2])
    for file, line, reason, detail, name in entries:
        entry = {
            "file": file_name(file),
            "line": line,
            "reason": reason,
            "detail": detail,
            "name": name,
        }
        yield orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE)


def _examples(table: Table, drops: Drops) -> dict[str, list[dict[str, Any]]]:
    """Some rejected records of each reason, drawn by what they are, not by where they stood."""
    found: dict[str, dict[tuple[int, str | None, str], None]] = {}

    def offer(reason: str, name: str | None, detail: str) -> None:
        chosen = found.setdefault(reason, {})
        chosen[stable_hash(name, detail), name, detail] = None
        if len(chosen) > _EXAMPLES:
            del chosen[max(chosen, key=lambda one: one[0])]

    for _, _, reason, detail, name in table.rejected:
        # The report may be shown to others, and a contact is why some are rejected.
        offer(reason, name and (scrub(name) or None), detail)
    for number, reason in enumerate(REASONS[1:], 1):
        records = np.flatnonzero(drops.reason == number)
        # Drawn by content, so that one look at each is enough for a million of them.
        order = np.argsort(table.columns["contents"][records, 0], kind="stable")
        for record in records[order[: 4 * _EXAMPLES]].tolist():
            kept = table.names[int(drops.instead[record])]
            offer(reason, table.names[record][:60], _detail(record, drops, kept))
    return {
        reason: [
            {"name": name, "detail": detail}
            for _, name, detail in sorted(chosen, key=lambda one: one[0])
        ]
        for reason, chosen in sorted(found.items())
    }
