"""W8A8 weights: numbers by hand, a folder made here, planted faults, where they are refused."""

import json
import math
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file

import check_w8a8
from butler.errors import ButlerError
from butler.hf_folder import ModelTensors
from butler.lmdeploy import smoothed_errors
from butler.lmdeploy.smooth_quant import zeros_too
from butler.manifest import check_unchanged, write_manifest
from butler.plan.model_size import ModelSize
from butler.schemes import W8A8, WEIGHTS
from butler.w8a8 import SCALES, RowLinear, W8a8Tensors, form_of
from real_tools import read_json, script
from workflow_state import ROOT, overlay, plan

BASE = ROOT / "data" / "base" / "tiny"
CUDA = {"engine": "lmdeploy", "device": "cuda", "lmdeploy": "latest"}
# LMDeploy's own for InternLM2 (lite/quantization/awq.py), which is not installed here.
NORMS = {"attention_norm": ["attention.wqkv"], "ffn_norm": ["feed_forward.w1", "feed_forward.w3"]}
FOLLOWING = {"feed_forward.w3": ["feed_forward.w2"]}


def rounded(weight: torch.Tensor, codes: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Round [out, in] as LMDeploy's per_channel_quant does."""
    largest = (torch.finfo if codes.is_floating_point else torch.iinfo)(codes).max
    scales = weight.float().abs().amax(1, keepdim=True) / largest
    found = weight.float() / scales
    if not codes.is_floating_point:
        found = found.round()
    return found.clamp(-largest, largest).to(codes), scales


def test_numbers_by_hand() -> None:
    whole = RowLinear(
        torch.tensor([[127, -3], [0, 5]], dtype=torch.int8), torch.tensor([[2.0], [1]])
    )
    assert whole.weight().tolist() == [[254, -6], [0, 5]]
    assert whole.steps().tolist() == [[127, 0], [-3, 5]]
    assert whole.in_steps(torch.tensor([[255.0, 1], [-6, 5]])).tolist() == [[127.5, 1], [-3, 5]]
    # Next to 448 = 7·2⁶ lies 416, a step of 32; next to 1 1.125; up to 2⁻⁶ steps are 2⁻⁹.
    numbers = torch.tensor([[448, 1, -(2.0**-9), 0]])
    floats = RowLinear(numbers.to(torch.float8_e4m3fn), torch.tensor([[0.5]]))
    assert floats.steps().flatten().tolist() == [14, 8, -1, 0]
    off = numbers.t() * 0.5 + torch.tensor([[8.0], [1 / 32], [0], [2.0**-11]])
    assert floats.in_steps(off).flatten().tolist() == [14.5, 8.5, -1, 0.5]
    # Half a step, and three roundings to fp16 of the most steps that a number is.
    assert form_of(W8A8["w8a8"]).allowed == 0.5 + 3 * 127 / 2048
    assert form_of(W8A8["w8a8fp8"]).allowed == 0.5 + 3 * 14 / 2048


def test_rows_of_zeros_are_zeros() -> None:
    weight = torch.tensor([[0.0, 0], [2, -4]])
    for codes in (torch.int8, torch.float8_e4m3fn):
        assert not rounded(weight, codes)[1][0] > 0  # so LMDeploy divides by 0
        layer = RowLinear(*zeros_too(rounded)(weight, codes))
        assert layer.codes.dtype == codes and torch.isfinite(layer.scales).all()
        assert layer.weight()[0].tolist() == [0, 0]
        assert layer.weight()[1].tolist() == pytest.approx([2, -4], rel=0.07)


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the shipped base in fp16, as a merged model is."""
    folder = tmp_path_factory.mktemp("w8a8") / "merged"
    folder.mkdir()
    for path in BASE.glob("*.json"):
        (folder / path.name).write_bytes(path.read_bytes())
    tensors = {name: one.half() for name, one in load_file(BASE / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module", params=list(W8A8))
def made(request: pytest.FixtureRequest, merged: Path) -> tuple[str, Path]:
    """Return a scheme and the base in it, smoothed by factors that are drawn."""
    scheme, draw = W8A8[request.param], torch.Generator().manual_seed(0)
    tensors = load_file(merged / "model.safetensors")
    layers = read_json(merged / "config.json")["num_hidden_layers"]
    for prefix in (f"model.layers.{number}." for number in range(layers)):
        part = {name: tensors[f"{prefix}{name}.weight"].float() for name in (*NORMS, *linears())}
        for norm, after in NORMS.items():
            smoothed = (part[norm] / torch.randn(len(part[norm]), generator=draw).exp()).half()
            for name in after:
                part[name] = part[name] * (part[norm] / smoothed.float())
            part[norm] = smoothed
        for first, after in FOLLOWING.items():
            between = torch.randn(len(part[first]), generator=draw).exp()
            part[first] = part[first] / between[:, None]
            for name in after:
                part[name] = part[name] * between
        for name, one in part.items():
            if name in NORMS:
                tensors[f"{prefix}{name}.weight"] = one
                continue
            codes, scales = rounded(one, getattr(torch, scheme.codes))
            tensors |= {f"{prefix}{name}.weight": codes, f"{prefix}{name}{SCALES}": scales}
    folder = merged.parent / scheme.folder
    folder.mkdir()
    said = {"quant_method": "smooth_quant", "quant_dtype": scheme.codes}
    write(folder, tensors, read_json(merged / "config.json") | {"quantization_config": said})
    return scheme.name, folder


def linears() -> list[str]:
    return [*("attention.wqkv", "attention.wo"), *(f"feed_forward.w{one}" for one in (1, 2, 3))]


def write(folder: Path, tensors: dict, config: dict) -> None:
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    write_manifest(folder)


def check(scheme: str, merged: Path, folder: Path, out: Path) -> dict:
    words = ["check_w8a8", "--merged", merged, "--w8a8", folder, "--scheme", scheme, "--out", out]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", [*map(str, words)])
        patch.setattr(smoothed_errors, "_maps", lambda model: (NORMS, FOLLOWING))
        patch.setattr(check_w8a8, "without_cuda", lambda: None)
        check_w8a8.main()
    return read_json(out)


def test_a_smoothed_model_is_the_merged_one(made, merged: Path, tmp_path: Path) -> None:
    scheme, folder = made
    found = check(scheme, merged, folder, tmp_path / "check.json")
    assert found["check"] == scheme and found["passed"]
    assert 0.45 < found["measured"]["largest"] < found["limits"]["largest"]
    assert found["measured"]["layers"] == 40
    # And the tensors of the model that it stands for are those that the merged one has, by name.
    tensors, plain = W8a8Tensors(folder), ModelTensors(merged)
    assert all(name in tensors for name in plain.names())
    assert "model.layers.0.attention.wo.scale" not in tensors
    name = "model.layers.0.attention.wo.weight"  # which nothing smooths
    error = (tensors[name] - plain[name].float()).norm() / plain[name].float().norm()
    assert tensors[name].dtype == torch.float32 and 1e-3 < error < 0.04


NAME = "model.layers.3.feed_forward.w3"


def doubled(tensors: dict) -> None:
    tensors[f"{NAME}{SCALES}"][7] *= 2


def turned(tensors: dict) -> None:
    one = tensors[f"{NAME}.weight"]
    tensors[f"{NAME}.weight"] = one.view(torch.int8).roll(1, 0).view(one.dtype).contiguous()


def of_another_layer(tensors: dict) -> None:
    other = NAME.replace("w3", "w1")
    for end in (".weight", SCALES):
        tensors[f"{NAME}{end}"] = tensors[f"{other}{end}"].clone()


def moved(tensors: dict) -> None:
    tensors["model.layers.1.attention.wo.weight"].view(torch.int8)[0, 0] += 3


def not_smoothed(tensors: dict) -> None:
    tensors["model.layers.2.ffn_norm.weight"][5] *= 1.2


def no_number(tensors: dict) -> None:
    tensors[f"{NAME}{SCALES}"][0] = math.nan


@pytest.mark.parametrize(
    "change", [doubled, turned, of_another_layer, moved, not_smoothed, no_number]
)
def test_a_planted_fault_stops_the_run(made, merged, tmp_path, change: Callable) -> None:
    scheme, folder = changed(made, tmp_path, change)
    with pytest.raises(ButlerError, match="steps between two codes"):
        check(scheme, merged, folder, tmp_path / "check.json")
    assert not read_json(tmp_path / "check.json")["passed"]


def changed(made, tmp_path: Path, change: Callable, **config: object) -> tuple[str, Path]:
    scheme, folder = made
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    (tmp_path / "broken").mkdir()
    write(tmp_path / "broken", tensors, read_json(folder / "config.json") | config)
    return scheme, tmp_path / "broken"


def other_norm(tensors: dict) -> None:
    tensors["model.norm.weight"] += 1


def in_fp16(tensors: dict) -> None:
    tensors[f"{NAME}.weight"] = tensors[f"{NAME}.weight"].half()


def without_scale(tensors: dict) -> None:
    del tensors[f"{NAME}{SCALES}"]


def one_scale(tensors: dict) -> None:
    tensors[f"{NAME}{SCALES}"] = tensors[f"{NAME}{SCALES}"][:1].clone()


def cut(tensors: dict) -> None:
    for end in (".weight", SCALES):
        tensors[f"{NAME}{end}"] = tensors[f"{NAME}{end}"][:-8].clone()


def lost(tensors: dict) -> None:
    del tensors["output.weight"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (other_norm, "model.norm.weight is not quantised and differs from the merged one"),
        (in_fp16, rf"{NAME}.weight is torch.float16 and not .*; quantise again"),
        (without_scale, rf"{NAME}.weight has no scale in .*; quantise again"),
        (one_scale, r"is \[1, 1\], not one for each row"),
        (cut, rf"{NAME} is \[760, 256\], in the merged model \[768, 256\]"),
        (lost, "output.weight of the merged model is not in"),
    ],
)
def test_another_tensor_is_named(made, merged, tmp_path, change: Callable, sentence: str) -> None:
    scheme, folder = changed(made, tmp_path, change)
    with pytest.raises(ButlerError, match=sentence):
        check(scheme, merged, folder, tmp_path / "check.json")


def test_what_the_engine_goes_by_is_checked(made, merged, tmp_path) -> None:
    said = {"quant_method": "smooth_quant", "quant_dtype": "float8_e5m2"}
    scheme, folder = changed(made, tmp_path, dict.copy, quantization_config=said)
    with pytest.raises(ButlerError, match="config.json says quantization_config .*float8_e5m2"):
        check(scheme, merged, folder, tmp_path / "check.json")


def test_bytes_are_those_of_the_folder(made, merged: Path) -> None:
    scheme, folder = made
    size = ModelSize.read(merged)
    assert size.stored_in_eight(W8A8[scheme]) == pytest.approx(
        (folder / "model.safetensors").stat().st_size, rel=0.01
    )
    fp8 = size.served(WEIGHTS["fp8"], 128)
    assert fp8 < size.served(W8A8[scheme], 128) < size.served(WEIGHTS["fp16"], 128)


@pytest.mark.parametrize("variant", ["w8a8", "w8a8fp8kv8"])
def test_0_7_3_does_not_serve_it(tmp_path: Path, variant: str) -> None:
    said = plan(
        tmp_path, "--dry-run", *overlay(tmp_path, variants=["fp16", variant]), "all", check=False
    )
    assert f"variant {variant} is asked for, but lmdeploy: 0.7.3 does not serve" in said
    assert "set lmdeploy: latest, or leave it out of variants" in said


def test_both_are_made_checked_and_judged_with_the_newest_lmdeploy(tmp_path: Path) -> None:
    chosen = CUDA | {"variants": ["fp16", "w8a8", "w8a8kv8", "w8a8fp8"]}
    text = plan(tmp_path, "--dry-run", "--printshellcmds", *overlay(tmp_path, **chosen), "all")
    for made in (
        *("build/w8a8", "build/w8a8fp8", "results/checks/w8a8.json", "results/checks/w8a8fp8.json"),
        *("results/checks/w8a8kv8.json", "results/ceval_w8a8.csv", "workspaces/w8a8kv8"),
    ):
        assert f"makes: {made}" in text, made
    assert "--dtype int8 " in text and "--dtype float8_e4m3fn " in text
    assert "--w8a8 build/w8a8fp8 --scheme w8a8fp8" in text
    assert "build/awq" not in text and "build/fp8" not in text


@pytest.mark.e2e
@pytest.mark.parametrize("scheme", list(W8A8))
def test_lite_makes_what_the_check_takes(tmp_path: Path, scheme: str) -> None:
    base, codes = tmp_path / "base", W8A8[scheme].codes
    words = ("--model", BASE, "--remote-code", "--chat-template", "internlm2_chat")
    assert script("xtuner", "base_model.py", *words, "--out", base).returncode == 0
    tensors = load_file(base / "model.safetensors")
    tensors["model.layers.0.attention.wo.weight"][3] = 0
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    text = tmp_path / "train.jsonl"
    turn = {
        "system": "",
        "input": "番茄炒蛋怎么做？",
        "output": "准备以下食材，按以下方法制作。" * 20,
    }
    text.write_text(
        json.dumps({"conversation": [turn]}, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    out = tmp_path / "made"
    words = (
        "--model",
        base,
        "--text",
        text,
        "--chat-template",
        "internlm2_chat",
        "--device",
        "cpu",
    )
    calibration = ("--calibration", '{"samples": 2, "length": 64}', "--dtype", codes)
    succeeded(script("lmdeploy", "quantise_w8a8.py", *words, *calibration, "--out", out))
    check_unchanged(out)
    found = ModelTensors(out)
    kinds = {name.rpartition(".")[2] if ".layers." in name else "" for name in found.names()}
    assert kinds == {"", "weight", "scale"}
    assert found["model.layers.1.attention.wo.weight"].dtype == getattr(torch, codes)
    assert found["model.layers.1.attention.wo.scale"].dtype == torch.float32
    assert found["model.layers.1.ffn_norm.weight"].dtype == torch.float16
    check = ("--merged", base, "--w8a8", out, "--scheme", scheme, "--out", tmp_path / "check.json")
    succeeded(script("lmdeploy", "check_w8a8.py", *check))
    assert read_json(tmp_path / "check.json")["measured"]["layers"] == 40


def succeeded(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
