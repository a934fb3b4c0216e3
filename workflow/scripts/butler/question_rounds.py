"""The questions of a benchmark in rounds."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from butler.benchmarks.question_sheet import Question, QuestionSheet
from butler.errors import ButlerError
from butler.rounds import Rounds, plan_rounds, round_of_each


def in_rounds(
    questions: Sequence[Question], first: int | None, most: int | None, seed: int
) -> list[Question]:
    """Return the questions to ask, in their order, each with its round.

    Args:
        first: questions of the first round, at least; None asks all in one.
        most: how many are asked in all; None: all. Which is drawn by seed, as the rounds are.
    """
    asked = min(len(questions), most or len(questions))
    sizes = list(plan_rounds(asked, first or asked).sizes)
    # What is not asked at all is in a round of its own, which comes last and is left out.
    rounds = Rounds([*sizes, len(questions)] if asked < len(questions) else sizes)
    found = round_of_each(
        [one.dataset for one in questions],
        [one.cluster or one.question for one in questions],
        rounds,
        seed,
    )
    return [
        replace(one, round=number)
        for one, number in zip(questions, found, strict=True)
        if number <= len(sizes)
    ]


def planned_rounds(sheet: QuestionSheet) -> list[int]:
    """Return how many questions of a sheet are asked after each of its rounds."""
    sizes = Counter(one.round for of_set in sheet.data_sets.values() for one in of_set)
    return list(accumulate(sizes[number] for number in sorted(sizes)))


def up_to_round(sheet: QuestionSheet, number: int) -> QuestionSheet:
    """Return the sheet of what is asked by the end of a round."""
    chosen = {
        name: [one for one in questions if one.round <= number]
        for name, questions in sheet.data_sets.items()
    }
    return QuestionSheet(
        sheet.benchmark, {name: of_set for name, of_set in chosen.items() if of_set}
    )


def read_records(path: Path) -> list[dict[str, Any]]:
    """Read the records of an evaluation (details.jsonl).

    Raises:
        ButlerError: if the file is missing, or a line is no record.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
        return [json.loads(line) for line in lines if line]
    except (OSError, ValueError) as error:
        raise ButlerError(f"{path} is no details.jsonl ({error}); evaluate again") from error
