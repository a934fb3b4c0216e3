"""The efficiency stage on a GPU: TurboMind itself, on the demo's own workspaces."""

import csv
import subprocess

import pytest

from butler.efficiency.speed import Speed
from butler.settings.judging_stage import EfficiencySettings
from real_tools import python_of, script
from workflow_state import ROOT

pytestmark = pytest.mark.gpu

WORKSPACES = ROOT / "workspaces"


@pytest.fixture(autouse=True)
def engine_here():
    code = "import torch, lmdeploy; assert torch.cuda.is_available()"
    try:
        subprocess.run([python_of("lmdeploy"), "-c", code], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs a CUDA GPU and .envs/lmdeploy")
    if not (WORKSPACES / "fp16").is_dir():
        pytest.skip("needs the demo's workspaces: run `snakemake all` first")


def settings(concurrency):
    asked = {"prompt_tokens": 128, "new_tokens": 16, "repeats": 3, "concurrency": concurrency}
    return EfficiencySettings(**asked).to_argument()


def measured(variant, tmp_path, concurrency):
    out = tmp_path / f"{variant}.csv"
    done = script(
        "lmdeploy", "measure_efficiency.py", "--workspace", WORKSPACES / variant, "--out", out,
        "--engine", "lmdeploy", "--settings", settings(concurrency),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    with out.open(encoding="utf-8") as stream:
        return {row["metric"]: float(row["value"]) for row in csv.DictReader(stream)}


def test_turbomind_is_measured_at_the_room_that_was_asked_for(tmp_path):
    # 1,024 requests of 144 tokens, 3 blocks each: 805 MB of cache, enough to be seen.
    fp16, int8 = (measured(v, tmp_path, [1, 8, 1024]) for v in ("fp16", "kv8"))
    assert fp16["room_tokens"] == int8["room_tokens"] == 1024 * 3 * 64
    assert fp16["kv_bytes_per_token_by_memory"] == pytest.approx(
        fp16["kv_bytes_per_token"], rel=0.25
    )
    saved = fp16["peak_memory_bytes"] - int8["peak_memory_bytes"]
    per_token = fp16["kv_bytes_per_token"] - int8["kv_bytes_per_token"]
    assert saved == pytest.approx(per_token * fp16["room_tokens"], rel=0.2)
    assert fp16["tokens_per_s_median_1024"] > fp16["tokens_per_s_median_8"] > 0
    assert 0 < fp16["time_to_first_token_s_median"] < 1
    for found in (fp16, int8):
        speed = Speed.read(found)
        assert speed.repeats == 3 and sorted(speed.loads) == [1, 8, 1024]
        for count, load in speed.loads.items():
            assert load.requests == 3 * max(10, 2 * count)
            assert load.tokens_per_s.low <= load.tokens_per_s.median <= load.tokens_per_s.high
            assert load.first_token.worst_p90
            # Where 1,024 wait, the tiny model's answers may come whole, with nothing between.
            assert load.between_tokens.worst_p90 or count == 1024
            # 30 and 48 requests of 16 tokens: gaps enough for a p99, requests not.
            assert (99 in load.first_token.percentiles) == (count == 1024)
            assert 99 in load.between_tokens.percentiles or count == 1024
        # Alone a request waits for its outputs as its own rate says.
        alone = speed.loads[1]
        expected = alone.tokens_per_output / speed.decode_tokens_per_s.median
        assert alone.between_tokens.percentiles[50] == pytest.approx(expected, rel=0.5)


def test_a_room_that_no_gpu_holds_is_refused(tmp_path):
    done = script(
        "lmdeploy", "measure_efficiency.py", "--workspace", WORKSPACES / "fp16",
        "--out", tmp_path / "out.csv", "--engine", "lmdeploy",
        "--settings", settings([10_000_000]),
    )  # fmt: skip
    assert done.returncode == 1
    assert "lower efficiency.concurrency" in done.stderr and "Traceback" not in done.stderr
