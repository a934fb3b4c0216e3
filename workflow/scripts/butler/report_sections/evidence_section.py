"""What is finer than scores: the next token against the baseline's, and the form of answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from butler.answer_form import LONG, AnswerForm, characters, form_of
from butler.divergence import answers_differ
from butler.paired import sides
from butler.report_sections.findings import Findings
from butler.results import Divergence
from butler.schemes import BASELINE
from butler.texts import Phrase, phrase

MUCH_REPEATED = 5.0  # points more of an answer than in the baseline's: seen at a glance


@dataclass(frozen=True)
class EvidenceRow:
    """One variant: its next token, and how many right-or-wrong answers changed sides.

    `sides` has lost, gained and questions by the label of a benchmark.
    """

    variant: str
    divergence: Divergence | None
    said: Phrase | None
    far: bool
    sides: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class FormTable:
    """The answers of the baseline and each variant to one benchmark."""

    label: str
    forms: Mapping[str, AnswerForm]


@dataclass(frozen=True)
class EvidenceSection:
    """A line for each variant, and a table for each benchmark whose answers are long.

    `flipped` are the labels of the benchmarks whose questions are right or wrong.
    """

    rows: Sequence[EvidenceRow]
    flipped: Sequence[str]
    forms: Sequence[FormTable]


def evidence_section(
    findings: Findings, divergences: Mapping[str, Divergence]
) -> EvidenceSection | None:
    """Return the section; None where no variant was compared."""
    if not findings.compared:
        return None
    flipped = [name for name in findings.labels if findings.right_or_wrong(name)]
    return EvidenceSection(
        rows=[_row(findings, name, divergences.get(name), flipped) for name in findings.compared],
        flipped=[findings.labels[name] for name in flipped],
        forms=[
            FormTable(label, _forms(findings, name))
            for name, label in findings.labels.items()
            if _long(findings, name)
        ],
    )


def evidence_remarks(findings: Findings, divergences: Mapping[str, Divergence]) -> list[Phrase]:
    """Return a remark on each variant whose answers often differ or repeat themselves."""
    found = []
    for name, one in divergences.items():
        if answers_differ(one.values):
            values = {key: one.values[key] for key in ("same_top", "kl_mean", "nll_change")}
            share = max(one.values["kl_mean"], one.values["nll_change"])
            share /= one.values["nll_baseline"]
            found.append(
                phrase("remark.differs", variant=name, baseline=BASELINE, share=share, **values)
            )
    for benchmark in filter(lambda name: _long(findings, name), findings.labels):
        for name, form in _forms(findings, benchmark).items():
            low = form.repeated.low
            if (
                name != BASELINE
                and low is not None
                and low > 0
                and form.repeated.change > (MUCH_REPEATED)
            ):
                values = {"own": form.repeated.mean, "more": form.repeated.change}
                values |= {"variant": name, "baseline": BASELINE}
                label = findings.labels[benchmark]
                found.append(phrase("remark.repeats_itself", benchmark=label, **values))
    return found


def _row(
    findings: Findings, variant: str, divergence: Divergence | None, flipped: Sequence[str]
) -> EvidenceRow:
    said = divergence and phrase(
        "evidence.said",
        variant=variant,
        baseline=BASELINE,
        same=divergence.values["same_top"],
        places=int(divergence.values["tokens"]),
    )
    far = divergence is not None and answers_differ(divergence.values)
    return EvidenceRow(
        variant,
        divergence,
        said,
        far,
        {findings.labels[name]: _sides(findings, name, variant) for name in flipped},
    )


def _sides(findings: Findings, benchmark: str, variant: str) -> dict[str, int]:
    pairs = findings.pairs(benchmark, variant)
    before, after = ([one["score"] for one in of] for of in zip(*map(reversed, pairs), strict=True))
    return {**sides(before, after), "questions": len(pairs)}


def _long(findings: Findings, benchmark: str) -> bool:
    answers = [characters(one) for one in findings.evaluations[benchmark, BASELINE].details]
    return sum(answers) / len(answers) >= LONG


def _forms(findings: Findings, benchmark: str) -> dict[str, AnswerForm]:
    return {name: form_of(findings.pairs(benchmark, name)) for name in findings.variants}
