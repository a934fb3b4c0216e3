"""The report: what it needs, what it says, and that the page stands alone."""

import csv
import json
import re
from pathlib import Path

import pytest

from report_stages import VARIANTS, Page, run, write_records


def test_report_decides_and_writes_all_three(stages: Path) -> None:
    done = run(stages)
    assert done.returncode == 0, done.stderr
    decision = json.loads((stages / "out" / "decision.json").read_text(encoding="utf-8"))
    assert decision["variant"] == "w4"
    outcomes = {one["variant"]: one["outcome"] for one in decision["verdicts"]}
    assert outcomes == {"fp16": None, "kv8": "within", "w4": "within", "w4kv8": "over"}
    with (stages / "out" / "summary.csv").open(encoding="utf-8") as stream:
        rows = {row["variant"]: row for row in csv.DictReader(stream)}
    assert list(rows) == ["base", *VARIANTS]
    assert rows["w4"]["chosen"] == "True"
    assert float(rows["w4"]["memory_bytes"]) == 11_000_000 + 16384 * 2048
    change = float(rows["w4kv8"]["ceval_score"]) - float(rows["fp16"]["ceval_score"])
    assert float(rows["w4kv8"]["ceval_change"]) == pytest.approx(change, abs=0.011)
    low, high = (float(rows["w4kv8"][f"ceval_change_{end}"]) for end in ("low", "high"))
    assert low < change < high < 0
    assert rows["fp16"]["ceval_change"] == ""
    # w4kv8 has right what fp16 has, but for the questions that it lost
    lost = round(-change * 50 / 100)
    assert (rows["w4kv8"]["ceval_lost"], rows["w4kv8"]["ceval_gained"]) == (str(lost) + ".0", "0.0")
    assert "recipe_lost" not in rows["w4kv8"]
    assert [rows[name]["ceval_verdict"] for name in VARIANTS] == ["", "within", "within", "over"]
    assert float(rows["w4"]["ceval_least"]) > -20 > float(rows["w4kv8"]["ceval_most"])
    # Speeds of the reference engine are nobody's.
    assert not any("per_s" in name or "time_to" in name for name in rows["w4"])
    assert "Ship w4: 68% of fp16's memory, and shown to lose at most 20 points" in done.stdout


def test_page_stands_alone_and_escapes_what_models_say(stages: Path) -> None:
    assert run(stages).returncode == 0
    html = (stages / "out" / "report.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(html)
    assert len(html.encode()) < 5 * 2**20
    assert all(address.startswith(("#", "data:,")) for address in page.addresses)
    assert not re.search(r"@import", html)
    # The page's own three scripts: what a model says makes none.
    assert page.tags.count("script") == 3
    assert "alert(1)" in page.text and "<script>alert(1)" not in html
    assert "<b>&" not in html.split("</script>")[-3]
    assert page.text.index("Ship w4") < page.text.index("Weights + KV")


def test_page_tells_how_long_the_training_samples_are(stages: Path) -> None:
    assert run(stages).returncode == 0
    html = (stages / "out" / "report.html").read_text(encoding="utf-8")
    assert "7 are longer than 512 tokens and are cut" in html
    assert "4.6% of a sampled one&#39;s characters" in html, "what of the sample is in doubt"
    assert "Lengths of training samples (tokens)" in html


def test_page_names_the_machine_and_warns_of_several(stages: Path) -> None:
    page = stages / "out" / "report.html"
    assert run(stages).returncode == 0
    html = page.read_text(encoding="utf-8")
    assert "Measured on: 2 threads, some CPU." in html
    assert "measured on different machines" not in html
    path = stages / "results" / "efficiency_w4.csv"
    path.write_text(path.read_text().replace("some CPU", "another"))
    assert run(stages).returncode == 0
    assert "measured on different machines" in page.read_text(encoding="utf-8")


def test_page_says_that_the_reference_engine_hides_the_gain(stages: Path) -> None:
    assert run(stages).returncode == 0
    text = (stages / "out" / "report.html").read_text(encoding="utf-8")
    assert "expands all weights to" in text and "展开为 fp32" in text


def test_same_inputs_give_the_same_bytes(stages: Path) -> None:
    assert run(stages).returncode == 0
    first = [path.read_bytes() for path in sorted((stages / "out").iterdir())]
    assert run(stages).returncode == 0
    assert [path.read_bytes() for path in sorted((stages / "out").iterdir())] == first


def test_worst_regression_comes_first(stages: Path) -> None:
    path = stages / "evaluate" / "recipe_fp16" / "details.jsonl"
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    write_records(stages, "recipe", "w4kv8", records)
    worst = max(index for index, record in enumerate(records) if record["score"] == 90)
    records[worst]["score"] -= 90
    write_records(stages, "recipe", "w4", records)
    assert run(stages).returncode == 0
    html = (stages / "out" / "report.html").read_text(encoding="utf-8")
    first = re.search(r'<summary><b dir="auto" lang="zh-CN">(.*?)</b>', html)
    assert first is not None and first.group(1).startswith(f"recipe的做法{worst} ")
