"""What the report cannot be made of: each gap is one sentence, and nothing is written."""

from pathlib import Path

import pytest

from butler.checks import conclude
from report_stages import run


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("results/ceval_fp16.csv", "law,accuracy,", "law,accuracy,1"),
        ("results/efficiency_kv8.csv", "weight_bytes,", "weight_bytes,1"),
        ("evaluate/recipe_w4/details.jsonl", "w4的答案", "另一个答案"),
        ("results/checks/evaluation_ceval_w4.json", '"passed": true', '"passed": 1'),
        ("merge.json", "0.0001", "0.0002"),
    ],
)
def test_what_was_edited_after_its_stage_is_not_reported(
    stages: Path, path: str, old: str, new: str
) -> None:
    target = stages / path
    text = target.read_text(encoding="utf-8")
    assert old in text
    target.write_text(text.replace(old, new, 1), encoding="utf-8")
    done = run(stages, edited=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert f"{target} was changed after its stage wrote it; make it again: snake" in done.stderr
    assert not (stages / "out").exists()


def test_what_was_measured_of_another_folder_is_not_reported(stages: Path) -> None:
    digests = {"old": "0" * 64, "new": "1" * 64}
    check = stages / "efficiency_kv8.json"
    of = {"workspaces/kv8": digests["old"]}
    conclude(check, "efficiency_kv8", True, "measured", {}, {}, manifests=of)
    listed = stages / "sha256.txt"
    listed.write_text(f"{digests['old']}  workspaces/kv8/manifest.json\n")
    assert run(stages, checks=str(check)).returncode == 0
    listed.write_text(f"{digests['new']}  workspaces/kv8/manifest.json\n")
    done = run(stages, checks=str(check))
    assert done.returncode == 1
    assert "efficiency_kv8.json is of another workspaces/kv8 than is there now" in done.stderr


@pytest.mark.parametrize(
    ("path", "change", "message"),
    [
        ("results/ceval_w4.csv", None, "ceval_w4.csv is missing; run its stage first"),
        ("results/ceval_w4.csv", ("average", "mean"), "has not one average row"),
        ("results/ceval_w4.csv", ("law,accuracy,", "law,accuracy,x"), "law has no score"),
        ("results/ceval_w4.csv", ("law,accuracy,", "law,accuracy,-"), "law has no score"),
        ("results/efficiency_w4.csv", ("weight_bytes", "weight"), "no number for weight_bytes"),
        ("evaluate/ceval_w4/details.jsonl", None, "details.jsonl is missing"),
        ("evaluate/ceval_w4/details.jsonl", ("law的做法3", "别的题"), "asked different questions"),
        ("results/ceval_w4.csv", b"", "ceval_w4.csv is not the table it should be"),
        ("results/ceval_w4.csv", b"\xff\xfe\x00", "ceval_w4.csv is not the table it should be"),
        ("results/efficiency_w4.csv", b"", "efficiency_w4.csv is not the table it should be"),
        ("results/ceval_w4.csv", ("ceval,w4,tax", "ceval,fp16,tax"), "has scores of variant fp16"),
        ("results/ceval_w4.csv", ("w4,law,accuracy", "w4,law,recall"), "of law is in the table of"),
        ("results/ceval_w4.csv", ("w4,tax,", "w4,law,"), "ceval_w4.csv: law comes twice"),
        ("results/ceval_w4.csv", (",25,", ",some,"), "law has no questions"),
        (
            "evaluate/ceval_w4/details.jsonl",
            ('"score": 100.0', '"score": NaN'),
            "line 1, is no rec",
        ),
        ("evaluate/ceval_w4/details.jsonl", ('"prediction"', '"said"'), "line 1, is no record"),
        (
            "evaluate/recipe_w4/details.jsonl",
            ('"score": 10.0', '"score": 10.0, "metrics": {"chrf": "?"}'),
            "is no record of a question",
        ),
        (
            "evaluate/recipe_w4/details.jsonl",
            ('"score": 10.0', '"score": 10.0, "group": ["a"]'),
            "is no record of a question",
        ),
        ("evaluate/ceval_w4/details.jsonl", ('"stop"', '"error"'), "line 1, is no record"),
        ("evaluate/ceval_w4/details.jsonl", b"[1]\n", "line 1, is no record of a question"),
        ("evaluate/ceval_w4/details.jsonl", b"\n", "details.jsonl has no question"),
        ("evaluate/ceval_w4/details.jsonl", b"\xff", "details.jsonl is not UTF-8 text"),
        ("evaluate/ceval_w4/details.jsonl", ('"score": 0.0', '"score": 50.0'), "has an average of"),
        ("results/efficiency_w4.csv", ("w4,weight", "kv8,weight"), "has figures of kv8"),
        ("results/efficiency_fp16.csv", ("32000000,", "0,"), "no number for weight_bytes"),
        ("results/efficiency_w4.csv", (",2048,", ",inf,"), "no number for kv_bytes_per_token"),
        ("merge.json", b"{}", "merge.json is no outcome of a check, it lacks check"),
        ("merge.json", b"[]", "merge.json is no JSON object"),
        ("stats.json", b"[1]", "stats.json is no JSON object"),
        ("loss.csv", b"step,loss\n1,x\n", "has a step or loss that is no number"),
        ("config.yaml", b"a: [", "config.yaml is not YAML"),
    ],
)
def test_gaps_are_one_sentence_and_leave_nothing(
    stages: Path, path: str, change: tuple[str, str] | bytes | None, message: str
) -> None:
    target = stages / path
    if change is None:
        target.unlink()
    elif isinstance(change, bytes):
        target.write_bytes(change)
    else:
        text = target.read_text(encoding="utf-8")
        assert change[0] in text
        target.write_text(text.replace(*change), encoding="utf-8")
    done = run(stages)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert message in done.stderr
    assert not (stages / "out").exists()
