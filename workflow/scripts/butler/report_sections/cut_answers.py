"""Answers that were cut at max_new_tokens: how many, and whether they decide."""

from dataclasses import dataclass
from statistics import mean

from butler.benchmarks.opencompass.proof import CUT
from butler.decision import too_much
from butler.report_sections.findings import Findings
from butler.results import Evaluation
from butler.schemes import BASELINE
from butler.texts import Phrase, phrase

MANY = 0.5  # from this share on, a score judges how answers begin


@dataclass(frozen=True)
class CountedChange:
    """A mean change in points, and the number of questions that it is of."""

    points: float
    count: int


def cut_remarks(findings: Findings, max_loss: float) -> list[Phrase]:
    """Return what a reader must know of cut answers before trusting a comparison.

    They decide on a variant if its change over all questions, and that over the questions which it
    and the baseline both answered whole, lie on two sides of the rule's limit, `max_loss` points.
    """
    remarks = []
    for benchmark, label in findings.labels.items():
        found = {name: findings.evaluations[benchmark, name] for name in findings.variants}
        many = {name: one.cut_share() for name, one in found.items() if one.cut_share() >= MANY}
        if many:
            shares = [phrase("remark.cut_share", variant=n, share=it) for n, it in many.items()]
            remarks.append(phrase("remark.cut_many", benchmark=label, shares=shares))
        for name in findings.compared:
            every = change(found[name], found[BASELINE])
            whole = change(found[name], found[BASELINE], whole_only=True)
            if not (every and whole):
                continue
            if too_much(every.points, max_loss) != too_much(whole.points, max_loss):
                values = {"variant": name, "baseline": BASELINE, "benchmark": label}
                values |= {"points": every.points, "whole": whole.points, "count": whole.count}
                remarks.append(phrase("remark.cut_decides", limit=-max_loss, **values))
    return remarks


def change(
    variant: Evaluation, baseline: Evaluation, whole_only: bool = False
) -> CountedChange | None:
    """Return the mean over data sets of the mean difference per question.

    Args:
        whole_only: of the questions alone that both answered whole; data sets without any are left
            out, and None is returned if there are none at all.
    """
    differences: dict[str, list[float]] = {}
    for one, other in zip(variant.details, baseline.details, strict=True):
        if not (whole_only and CUT in (one["finish"], other["finish"])):
            differences.setdefault(one["dataset"], []).append(one["score"] - other["score"])
    if not differences:
        return None
    points = mean(map(mean, differences.values()))
    return CountedChange(points, sum(map(len, differences.values())))
