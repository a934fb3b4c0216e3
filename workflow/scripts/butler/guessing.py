"""What guessing scores on a benchmark of choices, and whether a model is better than that."""

from collections.abc import Sequence

from butler.comparisons import Record, cluster_of
from butler.paired import paired_sample

LEVEL = 0.025  # one-sided, as of a 95 % interval


def options(records: Sequence[Record]) -> str:
    """Return the letters of the options, "" where the questions are no choice between such.

    They are those from A to the last that is right anywhere, if each right answer is one letter and
    every answer is right or wrong.
    """
    letters = {record["reference"].strip() for record in records}
    choice = all(len(one) == 1 and "A" <= one <= "Z" for one in letters) and max(letters) > "A"
    if not choice or {record["score"] for record in records} - {0.0, 100.0}:
        return ""
    return "".join(map(chr, range(ord("A"), ord(max(letters)) + 1)))


def chance(records: Sequence[Record]) -> float | None:
    """Return the score of one who guesses, 0 to 100, None where it is not known."""
    letters = options(records)
    return 100 / len(letters) if letters else None


def better_than(records: Sequence[Record], score: float) -> bool:
    """Return whether the mean over data sets is shown to be above a score (paired.py's test)."""
    sample = paired_sample(
        [record["score"] - score for record in records],
        [record["dataset"] for record in records],
        [cluster_of(record) for record in records],
    )
    return sample.bound(LEVEL) > 0


def unread(record: Record, letters: str) -> bool:
    """Return whether no option could be extracted from an answer."""
    return not set(letters) & set(str(record.get("extracted", letters)))
