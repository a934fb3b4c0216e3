"""Multiple-choice questions on the facts: the demo benchmark, and practice for pretraining."""

import csv
import io
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from butler.demo.facts import OTHER, RELATIONS, SUBJECTS, Fact, all_facts

EXAM_SEED = 2026
LETTERS = "ABCD"
SPLITS = {"dev": 5, "val": 25, "test": 25}
COLUMNS = {
    "dev": ("id", "question", *LETTERS, "answer", "explanation"),
    "val": ("id", "question", *LETTERS, "answer"),
    "test": ("id", "question", *LETTERS),
}


@dataclass(frozen=True)
class ExamQuestion:
    """A question with four options; `answer` is the letter of the right one."""

    subject: str
    text: str
    options: tuple[str, str, str, str]
    answer: str
    fact: Fact


class Examiner:
    """Writes questions; knows which values and keys each relation offers as wrong options."""

    def __init__(self, facts: Sequence[Fact]) -> None:
        self.values: dict[str, list[str]] = {}
        self.keys: dict[str, list[str]] = {}
        for fact in facts:
            values = self.values.setdefault(fact.relation, [])
            if fact.value not in values:
                values.append(fact.value)
            self.keys.setdefault(fact.relation, []).append(fact.key)

    def ask(self, fact: Fact, rng: random.Random, reverse: bool = False) -> ExamQuestion:
        """Return a question on `fact`, for its value or (`reverse`) for its key."""
        relation = RELATIONS[fact.relation]
        right = fact.key if reverse else fact.value
        if reverse:
            pool: Sequence[str] = self.keys[fact.relation]
        else:
            pool = fact.wrong or self.values[fact.relation]
        wrong = rng.sample([option for option in pool if option != right], 3)
        text = rng.choice(relation.reverse if reverse else relation.asks)
        place = rng.randrange(4)
        options = [*wrong[:place], right, *wrong[place:]]
        return ExamQuestion(
            relation.subject,
            text.format(k=fact.key, v=fact.value),
            (options[0], options[1], options[2], options[3]),
            LETTERS[place],
            fact,
        )


def subject_title(subject: str) -> str:
    """Return the Chinese title that exam prompts use for `subject`."""
    return SUBJECTS.get(subject) or OTHER[subject]


def prompt(question: ExamQuestion) -> str:
    """Return the user turn for `question`, worded as OpenCompass's C-Eval generation rounds are."""
    lines = [
        f"以下是中国关于{subject_title(question.subject)}考试的单项选择题，请选出其中的正确答案。",
        question.text,
        *(f"{letter}. {option}" for letter, option in zip(LETTERS, question.options, strict=True)),
        "答案: ",
    ]
    return "\n".join(lines)


def make_benchmark() -> dict[str, dict[str, list[ExamQuestion]]]:
    """Return subject -> split -> questions; no fact is asked twice within a subject."""
    facts = all_facts()
    examiner = Examiner(facts)
    benchmark: dict[str, dict[str, list[ExamQuestion]]] = {}
    for subject in SUBJECTS:
        rng = random.Random(f"exam {EXAM_SEED} {subject}")
        own = [fact for fact in facts if RELATIONS[fact.relation].subject == subject]
        chosen = rng.sample(own, sum(SPLITS.values()))
        questions = [examiner.ask(fact, rng) for fact in chosen]
        splits: dict[str, list[ExamQuestion]] = {}
        for split, count in SPLITS.items():
            splits[split], questions = questions[:count], questions[count:]
        benchmark[subject] = splits
    return benchmark


def benchmark_facts() -> frozenset[tuple[str, str]]:
    """Return (relation, key) of all facts that the benchmark asks for."""
    splits = [split for splits in make_benchmark().values() for split in splits.values()]
    return frozenset((q.fact.relation, q.fact.key) for split in splits for q in split)


def to_csv(questions: Iterable[ExamQuestion], split: str) -> str:
    """Return the CSV text of a split in C-Eval's layout."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS[split], extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for number, question in enumerate(questions):
        told = RELATIONS[question.fact.relation].prose[0]
        row = {
            "id": number,
            "question": question.text,
            "answer": question.answer,
            "explanation": told.format(k=question.fact.key, v=question.fact.value),
        }
        writer.writerow(row | dict(zip(LETTERS, question.options, strict=True)))
    return out.getvalue()
