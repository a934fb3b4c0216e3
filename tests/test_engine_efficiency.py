"""The efficiency measurement of a workspace, run as the command line."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tiny_workspace import HEAD, Tiny

torch = pytest.importorskip("torch")

import measure_efficiency
from butler.errors import ButlerError
from butler.manifest import manifest_digest
from butler.results import check_written, read_check

METRICS = {  # no speed: this engine computes every variant in fp32
    "weight_bytes": "B",
    "kv_bytes_per_token": "B",
    "peak_memory_bytes": "B",
}


def command(workspace: Path, out: Path, *more: str) -> list[str]:
    words = [measure_efficiency.__file__, "--workspace", str(workspace), "--out", str(out)]
    settings = {"prompt_tokens": 32, "new_tokens": 8}
    return [*words, "--settings", json.dumps(settings), "--threads", "1", *more]


@pytest.mark.parametrize(
    ("name", "policy", "vector"), [("w4kv8", 8, HEAD + 4), ("w4kv4", 4, HEAD // 2 + 4)]
)
def test_one_row_per_metric_with_real_sizes(
    tmp_path: Path, name: str, policy: int, vector: int
) -> None:
    tiny = Tiny(layers=3, w4=True)
    workspace = tiny.build(tmp_path / name, quant_policy=policy)
    out = tmp_path / "efficiency.csv"
    check = tmp_path / "check.json"
    line = [sys.executable, *command(workspace, out, "--check", str(check))]
    result = subprocess.run(line, check=False, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    rows = list(csv.DictReader(out.open()))
    assert {row["metric"]: row["unit"] for row in rows} == METRICS
    assert {(row["variant"], row["engine"]) for row in rows} == {(name, "reference")}
    values = {row["metric"]: float(row["value"]) for row in rows}
    assert values["weight_bytes"] == sum(array.nbytes for array in tiny.files.values())
    assert values["kv_bytes_per_token"] == 3 * 2 * tiny.kv_heads * vector
    assert values["peak_memory_bytes"] > 50e6
    assert all(value > 0 for value in values.values())
    found = read_check(check)
    assert found.check == f"efficiency_{name}" and found.measured == values
    assert found.manifests == {str(workspace): manifest_digest(workspace)}
    check_written(check, out)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        pytest.param(
            ("--engine", "lmdeploy"),
            "engine: lmdeploy needs a CUDA GPU",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU"),
        ),
        (("--settings", '{"prompt_tokens": 640}'), "exceed the session of 640 tokens"),
        (("--settings", '{"new_tokens": 1}'), "'new_tokens' takes at least 2, found 1"),
        (("--settings", '{"concurrency": [0]}'), "takes at least 1, found 0"),
    ],
)
def test_what_cannot_be_measured_leaves_no_file(
    tmp_path: Path, more: tuple[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Tiny(layers=1).build(tmp_path / "ws")
    monkeypatch.setattr(sys, "argv", command(workspace, tmp_path / "out.csv", *more))
    with pytest.raises(ButlerError, match=message):
        measure_efficiency.main()
    assert not (tmp_path / "out.csv").exists()
