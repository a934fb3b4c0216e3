"""Domains that are no recipes, in Chinese and in English, from a raw corpus to a decision.

Each run also judges a data set of OpenCompass' that no file of ours names, by configuration alone:
one of multiple choice and one with free answers, on small data in OpenCompass' own layout.
"""

import csv
import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from real_tools import read_json, run_chain
from workflow_state import ROOT

pytestmark = pytest.mark.long
SUBJECTS = ("anatomy", "nutrition")
SHORT = {
    "efficiency": {"prompt_tokens": 64, "new_tokens": 8, "concurrency": [1]},
    "calibration": {"samples": 4, "length": 128},
    # The cache of a model trained for a minute is not what these runs are about.
    "checks": {"kv_nll": {"int4": 1.0}, "blank_answers": 1.0},
}


def multiple_choice(folder: Path) -> dict[str, object]:
    """Write tables in CMMLU's layout; return the benchmark that asks them."""
    for split, rows in (("dev", 5), ("test", 6)):
        (folder / split).mkdir(parents=True)
        for subject in SUBJECTS:
            with (folder / split / f"{subject}.csv").open("w", encoding="utf-8") as stream:
                writer = csv.writer(stream, lineterminator="\n")
                writer.writerow(["", "Question", "A", "B", "C", "D", "Answer"])
                for row in range(rows):
                    options = [f"第{row + option}种" for option in range(4)]
                    right = "ABCD"[row % 4]
                    writer.writerow([row, f"{subject}里排在第{row}的是哪一种？", *options, right])
    parts = [f"cmmlu-{subject}" for subject in SUBJECTS]
    asked = {"dataset": "cmmlu_gen", "path": str(folder), "parts": parts, "max_new_tokens": 8}
    return {"name": "choice", "kind": "opencompass", **asked}


def free_answers(folder: Path) -> dict[str, object]:
    """Write questions in GSM8K's layout; return the benchmark that asks them."""
    folder.mkdir()
    for split, rows in (("train", 4), ("test", 6)):
        lines = [
            {
                "question": f"{row} pots and {row + 1} pans: how many?",
                "answer": f"#### {2 * row + 1}",
            }
            for row in range(rows)
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{split}.jsonl").write_text(text, encoding="utf-8")
    asked = {"dataset": "gsm8k_gen", "path": str(folder), "max_new_tokens": 16}
    return {"name": "sums", "kind": "opencompass", **asked}


@pytest.mark.parametrize(
    ("overlay", "other", "questions", "session_len", "gain"),
    [
        ("demo_qa_zh.yaml", multiple_choice, 12, 2048, 5),
        # To the tiny base a letter of English is a token: OpenCompass' examples are long, and a
        # minute of training teaches it letters and no words.
        ("demo_qa_en.yaml", free_answers, 6, 6144, 0),
    ],
)
def test_a_domain_of_questions_goes_from_corpus_to_decision(
    overlay, other, questions, session_len, gain, tmp_path
):
    benchmark = other(tmp_path / "data")
    chosen = yaml.safe_load((ROOT / "config" / overlay).read_text(encoding="utf-8"))
    variants = ["fp16", "kv4", "w4kv4"]
    text = run_chain(
        tmp_path,
        "all",
        overlays=f"config/{overlay}",
        variants=variants,
        workspace={"session_len": session_len},
        benchmarks=[*chosen["benchmarks"], benchmark],
        **SHORT,
    )
    names = [one["name"] for one in (*chosen["benchmarks"], benchmark)]
    summary = pd.read_csv(tmp_path / "results/summary.csv").set_index("variant")
    assert list(summary.index) == ["base", *variants]
    assert all(f"{name}_score" in summary for name in names)
    assert summary[f"{benchmark['name']}_questions"].tolist() == [questions] * 4
    decision = read_json(tmp_path / "results/decision.json")
    assert decision["variant"] in variants
    assert f"\n{decision['sentence']}\nWhy: results/report.html\n" in text
    # What was trained is what is asked: the fine-tuned model answers as the corpus does.
    kitchen = f"{names[0]}_score"
    assert summary[kitchen]["fp16"] > summary[kitchen]["base"] + gain
    for name in ("kv4", "w4kv4", "awq", "template"):
        assert read_json(tmp_path / f"results/checks/{name}.json")["passed"], name
    stats = read_json(tmp_path / "build/corpus/stats.json")
    assert stats["kept"] > 0.8 * stats["read"], stats["reasons"]
    page = (tmp_path / "results/report.html").read_text(encoding="utf-8")
    assert all(name in page for name in (*names, *variants))
