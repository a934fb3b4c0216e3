"""The same questions answered by every model, side by side, with the differences marked."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from os.path import commonprefix
from typing import Any, Literal

from butler.report_sections.findings import Findings
from butler.schemes import BASELINE

Kind = Literal["same", "added", "removed"]
_WORDS = re.compile(r"\d+(?:\.\d+)?|[A-Za-z]+|\s+|.", re.DOTALL)
_SENTENCES = re.compile(r"[^\n。！？.!?]*[\n。！？.!?]+|[^\n。！？.!?]+")
# SequenceMatcher goes through all pairs of equal units, time and again: some 0.05 s for so many.
MOST_PAIRS = 100_000


@dataclass(frozen=True)
class GivenAnswer:
    """A model's answer, its main score from 0 to 100, and how it differs from the baseline's.

    `same`: it is the baseline's word for word. Nothing is marked in the baseline's own answer, nor
    in that of the model before fine-tuning, which is another model.
    """

    model: str
    text: str
    score: float
    same: bool
    parts: Sequence[tuple[Kind, str]]


@dataclass(frozen=True)
class OtherMetric:
    """A metric beside the main one: each model's value, None where it has none."""

    metric: str
    values: Sequence[float | None]


@dataclass(frozen=True)
class AnsweredQuestion:
    """A question with all answers; `changes` are points against the baseline by variant."""

    question: str
    reference: str
    changes: Mapping[str, float]
    answers: Sequence[GivenAnswer]
    others: Sequence[OtherMetric]


@dataclass(frozen=True)
class BenchmarkAnswers:
    """The questions of one benchmark that are shown; `metric` is its main one."""

    label: str
    metric: str
    questions: Sequence[AnsweredQuestion]


@dataclass(frozen=True)
class AnswersSection:
    """Every benchmark with grades between right and wrong; `compared` are the variants marked."""

    compared: Sequence[str]
    benchmarks: Sequence[BenchmarkAnswers]


def answers_section(findings: Findings, most: int) -> AnswersSection | None:
    """Return the section with at most `most` questions of each benchmark, None without any.

    A benchmark whose questions are right or wrong has none: accuracy_section.py lists those that
    changed sides.
    """
    shown = [
        BenchmarkAnswers(
            label, findings.evaluations[name, BASELINE].metric, answers(findings, name, most)
        )
        for name, label in findings.labels.items()
        if not findings.right_or_wrong(name)
    ]
    return AnswersSection(findings.compared, shown) if shown else None


def answers(findings: Findings, benchmark: str, most: int) -> list[AnsweredQuestion]:
    """Return questions with every model's answer, the largest losses against the baseline first.

    At most `most`: those on which one of the variants lost most, then the first ones.
    """
    details = {model: one.details for model, one in findings.shared(benchmark).items()}
    metric = findings.evaluations[benchmark, BASELINE].metric
    changes = [
        {name: details[name][index]["score"] - asked["score"] for name in findings.compared}
        for index, asked in enumerate(details[BASELINE])
    ]
    worst = [min(change.values(), default=0.0) for change in changes]
    order = sorted(range(len(worst)), key=lambda index: (worst[index], index))
    found = []
    for index in order[:most]:
        own = {model: records[index] for model, records in details.items()}
        asked = own[BASELINE]
        given = [_answer(name, own[name], asked, name in findings.compared) for name in own]
        others = _others(list(own.values()), metric)
        found.append(
            AnsweredQuestion(asked["question"], asked["reference"], changes[index], given, others)
        )
    return found


def _answer(
    model: str, record: Mapping[str, Any], baseline: Mapping[str, Any], compared: bool
) -> GivenAnswer:
    text, before = record["prediction"], baseline["prediction"]
    parts: list[tuple[Kind, str]] = differences(before, text) if compared else [("same", text)]
    return GivenAnswer(model, text, record["score"], compared and text == before, parts)


def _others(records: Sequence[Mapping[str, Any]], main: str) -> list[OtherMetric]:
    """Return the metrics beside the main one that any of the records has."""
    metrics = [record.get("metrics", {}) for record in records]
    names = dict.fromkeys(name for one in metrics for name in one if name != main)
    return [OtherMetric(name, [one.get(name) for one in metrics]) for name in names]


def differences(before: str, after: str) -> list[tuple[Kind, str]]:
    """Return the text `after` in parts that are `same` as, `added` to or `removed` from `before`.

    Han characters are compared one by one, numbers and Latin words as a whole. Texts too long for
    that are compared by sentences, and those that differ then in themselves; where even there are
    too many, what stands between the common beginning and the common end is given as changed.
    """
    exact = _compared(before, after, _WORDS)
    if exact is not None:
        return exact
    parts: list[tuple[Kind, str]] = []
    for kind, text in _compared(before, after, _SENTENCES) or _middle(before, after):
        removed = parts[-1] if parts else ("same", "")
        finer = None
        if kind == "added" and removed[0] == "removed":
            finer = _compared(removed[1], text, _WORDS)
        parts = [*parts[:-1], *finer] if finer else [*parts, (kind, text)]
    return parts


def _compared(before: str, after: str, units: re.Pattern[str]) -> list[tuple[Kind, str]] | None:
    """Return the parts by whole units, or None where that would take too long."""
    old, new = units.findall(before), units.findall(after)
    counts = Counter(new)
    if sum(counts[unit] for unit in old) > MOST_PAIRS:
        return None
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
