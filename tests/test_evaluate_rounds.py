"""A variant asked in rounds against the baseline's answers, by the real OpenCompass."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from evaluation_data import OPENCOMPASS, read_lines, sheet_of, write_ceval
from test_evaluate_run import command, requests_of, run

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not OPENCOMPASS.exists(), reason=f"{OPENCOMPASS} is not built"),
]
GOLD = {"law": "ABB" * 20, "accountant": "BAB" * 8}
RULE = {"limit": 20, "error": 0.05, "variants": 1, "benchmarks": 1}
ROUNDS = ("--first-round", "40", "--seed", "1")  # of 84 questions: 42, and as many again


def evaluated(folder: Path, words: list[str], *more: str) -> tuple[list[dict], dict, str]:
    """Return the records, the check and what was said of the rounds."""
    (folder / "requests.jsonl").unlink(missing_ok=True)
    done = run([*words, *more])
    assert done.returncode == 0, done.stderr
    details = read_lines(folder / "work" / "details.jsonl")
    return details, json.loads((folder / "check.json").read_text()), done.stderr


def test_a_variant_is_asked_until_it_is_settled(
    tmp_path: Path, server_python: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The baseline says B; a variant that says so too is within, one that says A is not settled."""
    data = write_ceval(tmp_path / "ceval", GOLD)
    parts = [f"ceval-{name}" for name in GOLD]
    entry = {"name": "exam", "kind": "opencompass", "dataset": "ceval_gen", "path": str(data)}
    entry |= {"parts": parts, "max_new_tokens": 8}
    sheet = sheet_of(entry, tmp_path, rounds=ROUNDS)
    words = command(tmp_path, server_python, workspace, entry, sheet, session_len=4096)

    monkeypatch.setenv("BUTLER_TEST_ANSWER", "B")
    everything, check, _ = evaluated(tmp_path, words)
    asked = {turns_of(one) for one in requests_of(tmp_path)}
    assert len(everything) == len(asked) == 84
    assert check["measured"]["planned_rounds"] == [42, 84] and "settled" not in check["measured"]
    baseline = tmp_path / "baseline.jsonl"
    baseline.write_bytes((tmp_path / "work" / "details.jsonl").read_bytes())
    rule = [f"--{name}={value}" for name, value in RULE.items()]
    against = ["--against", str(baseline), *rule]

    same, check, said = evaluated(tmp_path, words, *against)
    assert re.search(
        r"\[evaluate exam fp16\] round 1 of 2: 42 questions, change \+0\.0 points "
        r"\[−\d+\.\d, \+\d+\.\d\]: within the limit of 20\n",
        said,
    )
    assert {one["round"] for one in same} == {1} and "round 2" not in said
    assert Counter(one["dataset"] for one in same) == {"ceval-law": 30, "ceval-accountant": 12}
    check_golds(same)
    assert {turns_of(one) for one in requests_of(tmp_path)} < asked, "with the same examples"
    assert check["measured"]["questions"] == 42 and check["measured"]["settled"] == "within"
    assert check["sentence"].startswith("42 of 84 questions of exam asked, answered and scored, ")
    assert [line.split(",")[-2] for line in table(tmp_path)] == ["30", "12", "42"]

    monkeypatch.setenv("BUTLER_TEST_ANSWER", "A")
    other, check, said = evaluated(tmp_path, words, *against)
    assert ": not settled, going on\n" in said and "round 2 of 2: 84 questions, " in said
    assert check["measured"]["settled"] == "undecided"
    assert len(other) == len(requests_of(tmp_path)) == 84, "none is asked twice"
    check_golds(other)
    assert {turns_of(one) for one in requests_of(tmp_path)} == asked
    average = sum(GOLD[name].count("A") / len(GOLD[name]) for name in GOLD) * 50
    assert table(tmp_path)[-1] == f"exam,fp16,average,accuracy,{average:.2f},84,0.00"

    first, check, _ = evaluated(tmp_path, words, "--first-only")
    assert [one["index"] for one in first] == [one["index"] for one in same]
    assert check["sentence"].endswith(", the first round alone")


def turns_of(request: dict) -> str:
    return json.dumps(request["messages"], ensure_ascii=False)


def table(folder: Path) -> list[str]:
    return (folder / "out.csv").read_text().splitlines()[1:]


def check_golds(details: list[dict]) -> None:
    """Each question has its own right answer, and the score that this earns its answer."""
    for one in details:
        gold = GOLD[one["dataset"].removeprefix("ceval-")][one["index"]]
        assert one["reference"] == gold
        assert one["question"].startswith(f"val题{one['index']}____")
        assert one["score"] == 100 * (one["prediction"] == gold)
