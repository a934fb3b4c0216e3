"""Answers as models may give them: of any length, and with characters that no page shows."""

from collections.abc import Mapping
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any

import pytest

from butler.report_sections.answers_section import LONGEST, differences
from butler.schemes import VARIANTS
from test_report import arguments_of, report, write_checks
from test_report_lists import graded, made, make

MEGABYTE = 10**6
DRAW = Random(0)
LONG = {
    "han": ["".join(DRAW.choices("盐糖油米面，。", k=MEGABYTE)) for _ in range(2)],
    "one letter": ["a\n" * (MEGABYTE // 2), "b" * MEGABYTE],
    "an end of its own": ["盐" * MEGABYTE, "盐" * (MEGABYTE - 1) + "糖"],
}


@pytest.mark.parametrize("kind", LONG)
def test_one_answer_of_a_megabyte_takes_seconds_and_the_page_says_what_was_cut(
    tmp_path: Path, kind: str
) -> None:
    before, after = LONG[kind]

    def asked(variant: str, number: int) -> Mapping[str, Any]:
        said = before if variant == "fp16" else after
        return graded(variant, number) | ({"prediction": said} if number == 0 else {})

    options = make(tmp_path, ["fp16", "w4"], cooking=("rougeL", asked))
    began = perf_counter()
    _, html = made(tmp_path, options)
    assert perf_counter() - began < 20
    assert f"Only the first {LONGEST:,} of 1,000,000 characters are shown and compared" in html
    assert f"只显示并比较了 1,000,000 个字符中的前 {LONGEST:,} 个" in html
    assert "word for word as fp16" not in html.split("Question 0?")[1].split("</details>")[0]


def test_long_questions_and_references_are_cut_too(tmp_path: Path) -> None:
    def asked(variant: str, number: int) -> Mapping[str, Any]:
        long = {"question": f"{number} " + "问" * MEGABYTE, "reference": "答" * MEGABYTE}
        return graded(variant, number) | (long if number < 2 else {})

    def sided(variant: str, number: int) -> Mapping[str, Any]:
        return asked(variant, number) | {"score": 100.0 * (variant == "fp16"), "metrics": {}}

    options = make(tmp_path, ["fp16", "w4"], cooking=("rougeL", asked), exam=("accuracy", sided))
    _, html = made(tmp_path, options)
    assert f"… ({MEGABYTE + 2 - LONGEST:,})" in html and "问" * (LONGEST + 1) not in html


def test_answers_compared_coarsely_are_marked() -> None:
    few = ["".join(DRAW.choices("盐糖", k=4000)) for _ in range(2)]
    assert differences(*few).coarse
    assert not differences("盐", "糖").coarse


def test_many_changed_sentences_share_one_bound() -> None:
    """Each pair of sentences alone is within the bound, all together would take minutes."""
    texts = ["。".join("".join(DRAW.choices("盐糖", k=300)) for _ in range(400)) for _ in range(2)]
    began = perf_counter()
    found = differences(*texts)
    assert perf_counter() - began < 3 and found.coarse
    assert "".join(text for kind, text in found.parts if kind != "removed") == texts[1]


def test_a_report_too_large_says_what_to_do(tmp_path: Path) -> None:
    def long(variant: str, number: int) -> Mapping[str, Any]:
        said = "一二三四五六七八"[list(VARIANTS).index(variant)] * LONGEST
        return graded(variant, number) | {"prediction": said, "reference": "答" * LONGEST}

    names = dict.fromkeys(("cooking", "baking"), ("rougeL", long))
    options = make(tmp_path, list(VARIANTS), **names)
    write_checks(tmp_path)
    done = report(arguments_of(options))
    assert done.returncode == 1 and not (tmp_path / "out").exists()
    assert "show fewer answers (report.answers is 20)" in done.stderr
