"""FP8 weights: numbers by hand, the folder that is made, planted faults, where it is refused."""

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file

import check_fp8
import quantise_fp8
from butler.errors import ButlerError
from butler.fp8 import CODES, SCALES, Fp8Tensors, quantised
from butler.manifest import write_manifest
from butler.model_folder import check_blocks
from real_tools import read_json
from workflow_state import ROOT, overlay, plan

BASE = ROOT / "data" / "base" / "tiny"
CUDA = {"engine": "lmdeploy", "device": "cuda", "lmdeploy": "latest"}


def test_numbers_by_hand() -> None:
    weight = torch.zeros(130, 200)
    # The largest of the first block is 448 scales; e4m3 has 3 bits after the leading one, so next
    # to 1 lie 1.125 and 0.9375, and next to 0 lies 2⁻⁹.
    weight[0, :5] = torch.tensor([448.0, 1.05, -1.07, 2.0**-9, 2.0**-11]) / 64
    weight[129, 199] = -3.0  # a block that is not whole, of one number
    codes, scales = quantised(weight.half())
    assert codes.dtype == CODES and codes.shape == weight.shape
    assert scales.tolist() == [[1 / 64, 1.0], [1.0, pytest.approx(3 / 448)]]
    assert codes[0, :5].float().tolist() == [448, 1, -1.125, 2.0**-9, 0]
    assert float(codes[129, 199]) == -448


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the shipped base in fp16, as a merged model is, and what the script makes of it."""
    folder = tmp_path_factory.mktemp("fp8")
    merged, fp8 = folder / "merged", folder / "fp8"
    merged.mkdir()
    for path in BASE.iterdir():
        if path.suffix == ".json":
            (merged / path.name).write_bytes(path.read_bytes())
    tensors = {name: one.half() for name, one in load_file(BASE / "model.safetensors").items()}
    save_file(tensors, merged / "model.safetensors", metadata={"format": "pt"})
    called(quantise_fp8, "--model", merged, "--out", fp8)
    return merged, fp8


def called(module: object, *words: object) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", [module.__name__, *map(str, words)])
        module.main()


def check(merged: Path, fp8: Path, out: Path) -> dict:
    called(check_fp8, "--merged", merged, "--fp8", fp8, "--out", out)
    return read_json(out)


def test_the_folder_is_the_model_rounded(made: tuple[Path, Path], tmp_path: Path) -> None:
    merged, fp8 = made
    config = read_json(fp8 / "config.json")
    assert config["quantization_config"]["quant_method"] == "fp8"
    assert config["quantization_config"]["weight_block_size"] == [128, 128]
    plain, packed = load_file(merged / "model.safetensors"), Fp8Tensors(fp8)
    tensors = load_file(next(fp8.glob("*.safetensors")))
    matrices = {name for name in plain if f"{name}{SCALES}" in tensors}
    # Five of each of the layers, and neither embedding nor head.
    assert len(matrices) == 5 * config["num_hidden_layers"]
    assert all(".layers." in name for name in matrices)
    for name, wanted in plain.items():
        found = packed[name]
        if name in matrices:
            error = (found - wanted.float()).norm() / wanted.float().norm()
            assert 0.01 < error < 0.04, name  # of numbers between which 1/8 to 1/16 lies
        else:
            assert torch.equal(found, wanted), name
    record = check(merged, fp8, tmp_path / "check.json")
    assert record["passed"] and 0.9 < record["measured"]["largest"] <= 1.001
    assert f"{len(matrices)} matrices in FP8" in record["sentence"]


def changed(fp8: Path, folder: Path, change: object) -> Path:
    folder.mkdir()
    for path in fp8.glob("*.json"):
        if path.name != "manifest.json":
            (folder / path.name).write_bytes(path.read_bytes())
    tensors = load_file(next(fp8.glob("*.safetensors")))
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    write_manifest(folder)
    return folder


def scaled(tensors: dict) -> None:
    name = next(name for name in tensors if name.endswith(SCALES))
    tensors[name][0, 0] *= 1.2


def turned(tensors: dict) -> None:
    name = next(name for name in tensors if name.endswith("wo.weight"))
    tensors[name] = tensors[name].view(torch.uint8).roll(1, 0).view(CODES).contiguous()


def no_number(tensors: dict) -> None:
    name = next(name for name in tensors if name.endswith(SCALES))
    tensors[name][0, 0] = float("nan")


@pytest.mark.parametrize("change", [scaled, turned, no_number])
def test_a_planted_fault_stops_the_run(made, tmp_path: Path, change: object) -> None:
    merged, fp8 = made
    with pytest.raises(ButlerError, match="times what rounding to e4m3 leaves"):
        check(merged, changed(fp8, tmp_path / "broken", change), tmp_path / "check.json")
    assert not read_json(tmp_path / "check.json")["passed"]


def other_norm(tensors: dict) -> None:
    tensors["model.norm.weight"] = tensors["model.norm.weight"] + 1


def in_fp16(tensors: dict) -> None:
    name = next(name for name in tensors if name.endswith("wo.weight"))
    tensors[name] = tensors[name].half()


def lost(tensors: dict) -> None:
    del tensors["output.weight"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (other_norm, "model.norm.weight is not quantised and is not the merged one"),
        (in_fp16, r"wo.weight is not in FP8 with its scales; quantise again"),
        (lost, "output.weight is in only one of"),
    ],
)
def test_another_tensor_is_named(made, tmp_path: Path, change: object, sentence: str) -> None:
    merged, fp8 = made
    with pytest.raises(ButlerError, match=sentence):
        check(merged, changed(fp8, tmp_path / "broken", change), tmp_path / "check.json")


@pytest.mark.parametrize(
    ("sizes", "named"),
    [
        ({"intermediate_size": 4896}, "intermediate_size 4896"),
        ({"hidden_size": 960}, "hidden_size 960"),
        # Of 64 values, as Qwen2.5-0.5B has them: LMDeploy 0.18 ends with such a folder.
        ({"num_attention_heads": 14}, "head size 64"),
    ],
)
def test_a_model_that_is_not_whole_blocks_is_refused(sizes: dict, named: str) -> None:
    config = {
        "architectures": ["Qwen2ForCausalLM"],
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_attention_heads": 7,
        "num_key_value_heads": 1,
        "num_hidden_layers": 24,
    }
    check_blocks(config, 128, "m")
    with pytest.raises(ButlerError, match=f"m/config.json: {named}.*leave the variants with fp8"):
        check_blocks(config | sizes, 128, "m")


def test_workspaces_hold_no_fp8(tmp_path: Path) -> None:
    chosen = overlay(tmp_path, variants=["fp16", "fp8"])
    said = plan(tmp_path, "--dry-run", *chosen, "all", check=False)
    assert "variant fp8 is asked for, but lmdeploy: 0.7.3 does not serve" in said
    assert "set lmdeploy: latest, or leave it out of variants" in said


def test_fp8_is_made_checked_and_judged_with_the_newest_lmdeploy(tmp_path: Path) -> None:
    chosen = CUDA | {"variants": ["fp16", "fp8", "fp8kv8"]}
    text = plan(tmp_path, "--dry-run", "--printshellcmds", *overlay(tmp_path, **chosen), "all")
    for made in (
        *("build/fp8", "workspaces/fp8kv8", "results/checks/fp8.json", "results/ceval_fp8kv8.csv"),
        *("results/checks/workspace_fp8.json", "results/checks/workspace_fp16.json"),
        *("results/checks/fp8kv8.json", "results/divergence_fp8.csv"),
    ):
        assert f"makes: {made}" in text, made
    assert "--weights fp8 --model build/fp8 --format fp8" in text
    assert "--lmdeploy latest --server-python .envs/lmdeploy-latest/bin/python --tp 1" in text
    assert "build/awq" not in text and "build/workspace" not in text


def test_json_of_the_config_is_whole(made: tuple[Path, Path]) -> None:
    # TurboMind asks for a whole number of what AWQ calls group_size, and FP8 has none.
    assert "group_size" not in json.loads((made[1] / "config.json").read_text())
