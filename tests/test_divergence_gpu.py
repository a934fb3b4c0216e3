"""The divergence stage on a GPU: TurboMind's logits give what the reference engine's give."""

import csv
import os
import subprocess
from pathlib import Path

import pytest

from real_tools import python_of, read_json, script
from workflow_state import ROOT

pytestmark = pytest.mark.gpu

RUN = Path(os.environ.get("BUTLER_RUN", ROOT)).resolve()


@pytest.fixture(autouse=True)
def engine_here() -> None:
    code = "import torch, lmdeploy; assert torch.cuda.is_available()"
    try:
        subprocess.run([python_of("lmdeploy"), "-c", code], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs a CUDA GPU and .envs/lmdeploy")
    if not (RUN / "workspaces/fp16").is_dir():
        pytest.skip(f"needs the demo's workspaces in {RUN}: run `snakemake all` first")


def measured(folder: Path, variant: str, engine: str) -> dict[str, float]:
    """Run the stage on a variant of the demo; return its table."""
    out, check = folder / f"{variant}_{engine}.csv", folder / f"{variant}_{engine}.json"
    done = script(
        "lmdeploy",
        "divergence.py",
        *("--workspace", RUN / "workspaces" / variant, "--baseline", RUN / "workspaces/fp16"),
        *("--variant", variant, "--held-out", RUN / "build/corpus/test.jsonl"),
        *("--chat-template", "internlm2_chat", "--engine", engine, "--out", out, "--check", check),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert read_json(check)["measured"]["engine"] == engine
    with out.open(encoding="utf-8") as stream:
        return {row["metric"]: float(row["value"]) for row in csv.DictReader(stream)}


@pytest.mark.parametrize("variant", ["kv8", "w4", "w4kv8"])
def test_turbomind_finds_the_divergence_of_the_reference_engine(
    tmp_path: Path, variant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, theirs = (measured(tmp_path, variant, one) for one in ("reference", "lmdeploy"))
    with capsys.disabled():
        print(f"\n{variant}: reference {ours}\nlmdeploy {theirs}")
    assert (ours["conversations"], ours["tokens"]) == (theirs["conversations"], theirs["tokens"])
    # TurboMind computes in fp16, and codes beside a tie fall the other way.
    assert theirs["kl_mean"] == pytest.approx(ours["kl_mean"], rel=0.25, abs=1e-3)
    assert theirs["same_top"] == pytest.approx(ours["same_top"], abs=1)
    assert theirs["nll_baseline"] == pytest.approx(ours["nll_baseline"], abs=0.01)
    assert theirs["nll_change"] == pytest.approx(ours["nll_change"], abs=0.003)


def test_fp16_is_itself(tmp_path: Path) -> None:
    found = measured(tmp_path, "fp16", "lmdeploy")
    assert found["kl_p99"] < 1e-4 and found["same_top"] > 99.9
