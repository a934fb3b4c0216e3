"""Answers as models may give them: of any length, and with characters that no page shows."""

import json
from collections.abc import Mapping
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any

import pytest

from browser import chromium
from butler.report_sections.answers_section import LONGEST, differences, examples
from butler.report_sections.visible_text import visible
from butler.schemes import VARIANTS
from report_stages import (
    Page,
    arguments_of,
    make_stages,
    report,
    run,
    write_checks,
    write_efficiency,
)
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


@pytest.mark.parametrize(
    ("scores", "places"),
    [
        ([50, 90, 10, 90, 10, 50, 70], {"best": 1, "middle": 0, "worst": 2}),
        ([0, 0, 0], {"best": 0, "middle": 1}),  # the first is the worst, too
        ([40], {"best": 0}),
        ([], {}),
    ],
)
def test_examples_go_by_rule(scores: list[float], places: dict[str, int]) -> None:
    assert examples(scores) == places


@pytest.mark.parametrize(("weight_bytes", "said"), [(14_688_768, True), (250_000_000, False)])
def test_a_tiny_model_is_called_one(tmp_path: Path, weight_bytes: int, said: bool) -> None:
    stages = make_stages(tmp_path)
    write_efficiency(stages, "fp16", (0.8, weight_bytes, 2048, 90.0))
    assert run(stages).returncode == 0
    html = (stages / "out" / "report.html").read_text(encoding="utf-8")
    assert ("This model has only some 7,300,000 weights" in html) is said
    shown = html.split('<section id="answers">')[1].split("</section>")[0]
    assert "of all 25 questions those with fp16&#39;s best, middle and worst" in shown
    assert [shown.count(f">{place}<") for place in ("best", "middle", "worst")] == [1, 1, 1]


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
        said = chr(ord("一") + list(VARIANTS).index(variant)) * LONGEST
        return graded(variant, number) | {"prediction": said, "reference": "答" * LONGEST}

    names = dict.fromkeys(("cooking", "baking"), ("rougeL", long))
    options = make(tmp_path, list(VARIANTS), **names)
    write_checks(tmp_path)
    done = report(arguments_of(options))
    assert done.returncode == 1 and not (tmp_path / "out").exists()
    assert "show fewer answers (report.answers is 20)" in done.stderr


HIDDEN = "\x1b[31m\x07\x00\r\x9b\u202e\u2066\u200f\u200b\ufeff\u2028\ud800"


def test_hidden_characters_are_shown_and_others_stay() -> None:
    assert visible("a\x1b[0m\u202eb") == "a␛[0m⟨U+202E⟩b"
    for text in ("炒饭\n\t1/2", "👨\u200d🍳", "می\u200cخواهم", "שלום"):
        assert visible(text) == text


def hostile(folder: Path) -> str:
    """Make a report whose texts all have characters that no page shows."""

    def asked(variant: str, number: int) -> Mapping[str, Any]:
        own = {"question": f"{number} שלום (2)! {HIDDEN}", "reference": f"R {HIDDEN}"}
        own |= {"prediction": f"{variant} {HIDDEN} مرحبا 12!"}
        return graded(variant, number) | own

    def sided(variant: str, number: int) -> Mapping[str, Any]:
        own = {"score": 100.0 * (variant == "fp16"), "metrics": {}, "extracted": f"E{HIDDEN}"}
        sets = {"dataset": f"set{number % 2}{HIDDEN[:-1]}"}
        return asked(variant, number) | own | sets

    options = make(folder, ["fp16", "w4"], cooking=("rougeL", asked), exam=("accuracy", sided))
    # The halves of a pair cannot stand in a CSV, nor on a command line.
    options["benchmarks"] = [f"cooking=C{HIDDEN[:2]}{HIDDEN[5:-1]}", "exam=exam"]
    options["benchmarks"] = [one.replace("\0", "") for one in options["benchmarks"]]
    stats = folder / "stats.json"
    counts = {"read": 2, "kept": 1, "train": 1, "test": 0, "reasons": {"too_short": 1}}
    examples = {"too_short": [{"name": HIDDEN, "detail": HIDDEN}]}
    stats.write_text(json.dumps({**counts, "examples": examples}), encoding="utf-8")
    return made(folder, options | {"corpus-stats": str(stats)})[1]


def test_no_text_of_a_model_or_a_corpus_hides_or_turns_anything(tmp_path: Path) -> None:
    html = hostile(tmp_path)
    page = Page()
    page.feed(html)
    own = "".join(html.split("<script>")[:2]) + html.split("const CHARTS")[1]
    left = {char for char in own if char in HIDDEN} - set("[31m")
    assert left == set()
    assert page.text.count("␛[31m␇␀␍⟨U+009B⟩⟨U+202E⟩⟨U+2066⟩⟨U+200F⟩") > 20


def test_text_from_right_to_left_turns_nothing_beside_it(tmp_path: Path) -> None:
    hostile(tmp_path)
    with chromium() as browser:
        page = browser.new_page()
        page.goto((tmp_path / "out" / "report.html").as_uri())
        kinds = page.evaluate(
            """() => {
              const found = [];
              const walker = document.createTreeWalker(document.querySelector("main"), 4);
              while (walker.nextNode()) {
                const node = walker.currentNode;
                if (!/[\u0590-\u06ff]/.test(node.data)) continue;
                const { unicodeBidi } = getComputedStyle(node.parentElement);
                found.push(unicodeBidi);
              }
              return found;
            }"""
        )
    assert len(kinds) > 40
    assert set(kinds) <= {"isolate", "plaintext", "isolate-override"}
