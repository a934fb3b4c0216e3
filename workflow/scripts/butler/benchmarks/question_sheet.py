"""A question sheet, build/benchmarks/NAME.jsonl: what a benchmark asks, a line for each question.

It is read before the training, kept from it, and what an evaluation is held to.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from butler.errors import ButlerError
from butler.files import atomic_write_text


@dataclass(frozen=True)
class Question:
    """One question: `question` is a text for people, `reference` the right answer as text.

    Args:
        dataset: the part of the benchmark; index: its place there, from 0.
        system: the system prompt that it is asked with; only where the prompt is ours to say.
        group: the group that OpenCompass counts the data set to, "" if it has none.
        cluster: what it shares with questions that are no news beside it, "" for its text alone.
        round: in which it is asked, from 1 (docs/how_it_works.md).
    """

    dataset: str
    index: int
    question: str
    reference: str
    system: str = ""
    group: str = ""
    cluster: str = ""
    round: int = 1

    @property
    def messages(self) -> list[dict[str, str]]:
        """The chat that asks it, where the prompt is ours to say."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, {"role": "user", "content": self.question}]


@dataclass(frozen=True)
class QuestionSheet:
    """The questions of one benchmark by data set, in the order asked."""

    benchmark: str
    data_sets: Mapping[str, list[Question]]

    @property
    def total(self) -> int:
        """How many questions there are."""
        return sum(len(questions) for questions in self.data_sets.values())


def write_sheet(path: Path, questions: Iterable[Question]) -> None:
    """Write the questions whole or not at all, without what is as by default."""
    default = {one.name: one.default for one in fields(Question)}
    lines = [
        json.dumps(
            {key: value for key, value in asdict(question).items() if value != default[key]},
            ensure_ascii=False,
        )
        for question in questions
    ]
    atomic_write_text(path, "\n".join(lines) + "\n")


def read_sheet(path: Path, benchmark: str) -> QuestionSheet:
    """Read what `write_sheet` wrote.

    Raises:
        ButlerError: if it is missing, or a line is no question.
    """
    if not path.is_file():
        raise ButlerError(f"{path} is missing; questions.py makes it")
    data_sets: dict[str, list[Question]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line:
            continue
        try:
            question = Question(**json.loads(line))
        except (ValueError, TypeError) as error:
            raise ButlerError(
                f"{path} line {number} is no question ({error}); make the file again"
            ) from error
        data_sets.setdefault(question.dataset, []).append(question)
    if not data_sets:
        raise ButlerError(f"{path} holds no question; make the file again")
    return QuestionSheet(benchmark, data_sets)
