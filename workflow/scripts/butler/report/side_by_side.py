"""The same questions answered by every model, side by side, with the differences marked."""

import re
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

from butler.decision import BASELINE
from butler.report.summary import Evaluations

_TOKENS = re.compile(r"\d+(?:\.\d+)?|[A-Za-z]+|\s+|.", re.DOTALL)
FLIPS_SHOWN = 30


def answers(
    evaluations: Evaluations, benchmark: str, quantised: Sequence[str], most: int
) -> list[dict[str, Any]]:
    """Return questions with every model's answer, the largest losses against fp16 first.

    At most `most`: those on which one of the `quantised` lost most, then the first ones. Each has
    `changes`, points against fp16 by quantised variant.
    """
    chosen = {v: e.details for (b, v), e in evaluations.items() if b == benchmark}
    reference = chosen[BASELINE]
    changes = [
        {name: chosen[name][index]["score"] - record["score"] for name in quantised}
        for index, record in enumerate(reference)
    ]
    worst = [min(change.values(), default=0.0) for change in changes]
    order = sorted(range(len(reference)), key=lambda index: (worst[index], index))
    return [
        {
            "question": reference[index]["question"],
            "reference": reference[index]["reference"],
            "change": worst[index],
            "changes": changes[index],
            "answers": [
                _answer(variant, details[index], reference[index], variant in quantised)
                for variant, details in chosen.items()
            ],
        }
        for index in order[:most]
    ]


def _answer(
    variant: str, record: Mapping[str, Any], reference: Mapping[str, Any], compared: bool
) -> dict[str, Any]:
    text = record["prediction"]
    return {
        "variant": variant,
        "text": text,
        "score": record["score"],
        "metrics": record.get("metrics", {}),
        "same": compared and text == reference["prediction"],
        "parts": differences(reference["prediction"], text) if compared else [("same", text)],
    }


def differences(before: str, after: str) -> list[tuple[str, str]]:
    """Return the text `after` in parts that are `same` as, `added` to or `removed` from `before`.

    Han characters are compared one by one, numbers and Latin words as a whole.
    """
    old, new = _TOKENS.findall(before), _TOKENS.findall(after)
    parts: list[tuple[str, str]] = []
    for kind, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            parts.append(("same", "".join(new[c:d])))
            continue
        if b > a:
            parts.append(("removed", "".join(old[a:b])))
        if d > c:
            parts.append(("added", "".join(new[c:d])))
    return parts


def flips(
    evaluations: Evaluations, benchmark: str, quantised: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the questions that a quantised variant alone answered wrong or right.

    At most FLIPS_SHOWN, those lost by most variants first. Nothing where a score is neither 0 nor
    100.
    """
    chosen = {v: e for (b, v), e in evaluations.items() if b == benchmark}
    if not all(evaluation.right_or_wrong for evaluation in chosen.values()):
        return []
    names = [BASELINE, *quantised]
    rows = []
    for index, record in enumerate(chosen[BASELINE].details):
        own = [chosen[name].details[index] for name in names]
        if len({answer["score"] for answer in own}) == 1:
            continue
        lost = sum(answer["score"] < record["score"] for answer in own)
        said = [(one.get("extracted") or one["prediction"], one["score"] == 100.0) for one in own]
        rows.append({**record, "lost": lost, "said": said})
    rows.sort(key=lambda row: -row["lost"])
    return rows[:FLIPS_SHOWN]
