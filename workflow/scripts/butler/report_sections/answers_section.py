"""The same questions answered by every model, side by side, with the differences marked."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from os.path import commonprefix
from typing import Any, Literal

from butler.report_sections.findings import Findings
from butler.schemes import BASELINE
from butler.texts import Phrase, named, phrase

Kind = Literal["same", "added", "removed"]
_WORDS = re.compile(r"\d+(?:\.\d+)?|[A-Za-z]+|\s+|.", re.DOTALL)
_SENTENCES = re.compile(r"[^\n。！？.!?]*[\n。！？.!?]+|[^\n。！？.!?]+")
# SequenceMatcher goes through all pairs of equal units, time and again: some 0.05 s for so many.
MOST_PAIRS = 100_000
FP16 = 2  # bytes of a weight
# Weights below which a model shows that the chain works, and little else: the smallest bases that
# people use have several times as many.
SMALL = 100_000_000
LONGEST = 5_000  # characters of a text that are shown and compared; details.jsonl has all


@dataclass(frozen=True)
class GivenAnswer:
    """A model's answer, its main score from 0 to 100, and how it differs from the baseline's.

    `same`: it is the baseline's word for word. Nothing is marked in the baseline's own answer, nor
    in that of the model before fine-tuning, which is another model. `characters` is the length of
    the answer; `parts` have LONGEST of each text at most; `coarse` says that they were too long and
    too alike to be compared word by word.
    """

    model: str
    score: float
    same: bool
    parts: Sequence[tuple[Kind, str]]
    characters: int
    coarse: bool

    @property
    def cut(self) -> bool:
        """Whether not all of it is shown."""
        return self.characters > LONGEST


@dataclass(frozen=True)
class Differences:
    """A text in parts; `coarse` says that some are changed as a whole, not word by word."""

    parts: list[tuple[Kind, str]]
    coarse: bool


@dataclass(frozen=True)
class OtherMetric:
    """A metric beside the main one: each model's value, None where it has none."""

    metric: str
    values: Sequence[float | None]


@dataclass(frozen=True)
class AnsweredQuestion:
    """A question with all answers; `changes` are points against the baseline by variant.

    `others` are the metrics in which the answers differ, `equal` names those in which none does.
    """

    question: str
    reference: str
    changes: Mapping[str, float]
    answers: Sequence[GivenAnswer]
    others: Sequence[OtherMetric]
    equal: Sequence[Phrase]


@dataclass(frozen=True)
class BenchmarkAnswers:
    """The questions of one benchmark that are shown; `metric` is its main one.

    `examples` are named by their place among the `asked` questions: best, middle or worst.
    """

    label: str
    metric: str
    asked: int
    examples: Mapping[str, AnsweredQuestion]
    questions: Sequence[AnsweredQuestion]


@dataclass(frozen=True)
class AnswersSection:
    """Every benchmark with grades between right and wrong; `compared` are the variants marked.

    `small` is how many weights the model has, to two digits, where they are less than SMALL.
    """

    compared: Sequence[str]
    benchmarks: Sequence[BenchmarkAnswers]
    small: float | None
    longest: int = LONGEST


def answers_section(findings: Findings, most: int, weight_bytes: float) -> AnswersSection | None:
    """Return the section with at most `most` questions of each benchmark, None without any.

    `weight_bytes` are those of the baseline, which tell how small it is.

    A benchmark whose questions are right or wrong has none: accuracy_section.py lists those that
    changed sides.
    """
    shown = [
        _benchmark(findings, name, most)
        for name in findings.labels
        if not findings.right_or_wrong(name)
    ]
    weights = weight_bytes / FP16
    small = float(f"{weights:.2g}") if weights < SMALL else None
    return AnswersSection(findings.compared, shown, small) if shown else None


def _benchmark(findings: Findings, name: str, most: int) -> BenchmarkAnswers:
    scores = [one["score"] for one in findings.shared(name)[BASELINE].details]
    places = examples(scores)
    return BenchmarkAnswers(
        findings.labels[name],
        findings.evaluations[name, BASELINE].metric,
        len(scores),
        dict(zip(places, answered(findings, name, places.values()), strict=True)),
        answers(findings, name, most),
    )


def examples(scores: Sequence[float]) -> dict[str, int]:
    """Return the places of the best, the middle and the worst of some scores.

    Of equal ones it is the first; where there are fewer than three, some of them.
    """
    order = sorted(range(len(scores)), key=lambda index: (-scores[index], index))
    if not order:
        return {}
    worst = min(order, key=lambda index: (scores[index], index))
    named_places = {"best": order[0], "middle": order[len(order) // 2], "worst": worst}
    return {
        name: place
        for number, (name, place) in enumerate(named_places.items())
        if place not in list(named_places.values())[:number]
    }


def answers(findings: Findings, benchmark: str, most: int) -> list[AnsweredQuestion]:
    """Return questions with every model's answer, the largest losses against the baseline first.

    At most `most`: those on which one of the variants lost most, then the first ones.
    """
    details = findings.shared(benchmark)
    worst = [
        min(
            (details[name].details[index]["score"] - asked["score"] for name in findings.compared),
            default=0.0,
        )
        for index, asked in enumerate(details[BASELINE].details)
    ]
    order = sorted(range(len(worst)), key=lambda index: (worst[index], index))
    return answered(findings, benchmark, order[:most])


def answered(findings: Findings, benchmark: str, indices: Iterable[int]) -> list[AnsweredQuestion]:
    """Return those questions, by their places among the shared ones, with all answers."""
    details = {model: one.details for model, one in findings.shared(benchmark).items()}
    metric = findings.evaluations[benchmark, BASELINE].metric
    found = []
    for index in indices:
        own = {model: records[index] for model, records in details.items()}
        asked = own[BASELINE]
        given = [_answer(name, own[name], asked, name in findings.compared) for name in own]
        others = _others(list(own.values()), metric)
        equal = [one for one in others if len(set(one.values)) == 1 and one.values[0] is not None]
        found.append(
            AnsweredQuestion(
                shortened(asked["question"]),
                shortened(asked["reference"]),
                {name: own[name]["score"] - asked["score"] for name in findings.compared},
                given,
                [one for one in others if one not in equal],
                [
                    phrase("metric.value", metric=named("metric", one.metric), score=one.values[0])
                    for one in equal
                ],
            )
        )
    return found


def _answer(
    model: str, record: Mapping[str, Any], baseline: Mapping[str, Any], compared: bool
) -> GivenAnswer:
    text, before = record["prediction"], baseline["prediction"]
    found = Differences([("same", text[:LONGEST])] if text else [], coarse=False)
    if compared:
        found = differences(before[:LONGEST], text[:LONGEST])
    same = compared and text == before
    return GivenAnswer(model, record["score"], same, found.parts, len(text), found.coarse)


def shortened(text: str) -> str:
    """Return at most LONGEST characters of a text, and how many more there are."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} … ({len(text) - LONGEST:,})"


def _others(records: Sequence[Mapping[str, Any]], main: str) -> list[OtherMetric]:
    """Return the metrics beside the main one that any of the records has."""
    metrics = [record.get("metrics", {}) for record in records]
    names = dict.fromkeys(name for one in metrics for name in one if name != main)
    return [OtherMetric(name, [one.get(name) for one in metrics]) for name in names]


def differences(before: str, after: str) -> Differences:
    """Return the text `after` in parts that are `same` as, `added` to or `removed` from `before`.

    Han characters are compared one by one, numbers and Latin words as a whole. Texts too long for
    that are compared by sentences, and those that differ then in themselves, as far as MOST_PAIRS
    goes for all of them; where even there are too many, what stands between the common beginning
    and the common end is given as changed.
    """
    if before == after:
        return Differences([("same", after)] if after else [], coarse=False)
    if _pairs(before, after, _WORDS) <= MOST_PAIRS:
        return Differences(_compared(before, after, _WORDS), coarse=False)
    by_sentences = _pairs(before, after, _SENTENCES) <= MOST_PAIRS
    rough = _compared(before, after, _SENTENCES) if by_sentences else _middle(before, after)
    parts: list[tuple[Kind, str]] = []
    left, coarse = MOST_PAIRS, False
    for kind, text in rough:
        if kind == "added" and parts and parts[-1][0] == "removed":
            needed = _pairs(parts[-1][1], text, _WORDS)
            if needed <= left:
                left -= needed
                parts += _compared(parts.pop()[1], text, _WORDS)
                continue
            coarse = True
        parts.append((kind, text))
    return Differences(parts, coarse)


def _pairs(before: str, after: str, units: re.Pattern[str]) -> int:
    """Return how many pairs of equal units two texts have, which is what a comparison costs."""
    counts = Counter(units.findall(after))
    return sum(counts[unit] for unit in units.findall(before))


def _compared(before: str, after: str, units: re.Pattern[str]) -> list[tuple[Kind, str]]:
    """Return the parts by whole units."""
    old, new = units.findall(before), units.findall(after)
    parts: list[tuple[Kind, str]] = []
    for kind, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            parts.append(("same", "".join(new[c:d])))
            continue
        if b > a:
            parts.append(("removed", "".join(old[a:b])))
        if d > c:
            parts.append(("added", "".join(new[c:d])))
    return parts


def _middle(before: str, after: str) -> list[tuple[Kind, str]]:
    """Return the common beginning and end as the same, all between as removed and added."""
    begin = len(commonprefix([before, after]))
    end = len(commonprefix([before[begin:][::-1], after[begin:][::-1]]))
    found: list[tuple[Kind, str]] = [
        ("same", after[:begin]),
        ("removed", before[begin : len(before) - end]),
        ("added", after[begin : len(after) - end]),
        ("same", after[len(after) - end :]),
    ]
    return [(kind, text) for kind, text in found if text]
