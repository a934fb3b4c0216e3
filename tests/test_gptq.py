"""GPTQ's format, its check by outputs of layers, and where it is made and where not."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import save_file

from butler.errors import ButlerError
from butler.gptq_errors import check_plain_tensors, layer_errors, rounded
from butler.hf_folder import ModelTensors
from butler.layer_walk import Layer
from butler.lmdeploy.packed_weights import DequantisedTensors, QuantisedLinear, gptq_tensors
from butler.settings.run import read_settings
from workflow_state import CONFIG, ROOT, overlay, plan

GROUP, ROWS, COLUMNS = 128, 256, 16
NAME = "model.layers.0.mlp.up_proj"


def random_codes(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return codes [in, out], zero points from 1 to 16 and scales [groups, out]."""
    generator = torch.Generator().manual_seed(seed)
    groups = (ROWS // GROUP, COLUMNS)
    return (
        torch.randint(16, (ROWS, COLUMNS), generator=generator).to(torch.uint8),
        torch.randint(1, 17, groups, generator=generator).to(torch.uint8),
        (0.01 + torch.rand(groups, generator=generator)).half(),
    )


def written(folder: Path, tensors: dict[str, torch.Tensor]) -> ModelTensors:
    folder.mkdir(exist_ok=True)
    save_file({n: t.contiguous() for n, t in tensors.items()}, folder / "model.safetensors")
    return ModelTensors(folder)


def named(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"{NAME}{ending}": one for ending, one in tensors.items()}


def test_words_hold_eight_rows_and_zero_points_one_less():
    codes, zeros, scales = random_codes()
    found = gptq_tensors(codes, zeros, scales)
    assert found[".qweight"].shape == (ROWS // 8, COLUMNS)
    assert found[".qzeros"].shape == (ROWS // GROUP, COLUMNS // 8)
    by_hand = sum(int(codes[8 + i, 3]) << (4 * i) for i in range(8))
    assert int(found[".qweight"][1, 3]) & 0xFFFFFFFF == by_hand
    by_hand = sum((int(zeros[1, 8 + i]) - 1) << (4 * i) for i in range(8))
    assert int(found[".qzeros"][1, 1]) & 0xFFFFFFFF == by_hand
    assert found[".g_idx"].tolist() == [0] * GROUP + [1] * GROUP


def test_what_is_written_is_read_back(tmp_path):
    codes, zeros, scales = random_codes()
    # As they come out of the algorithm: views of transposed matrices, which no file takes.
    transposed = scales.t().contiguous().t()
    tensors = written(tmp_path / "gptq", named(gptq_tensors(codes, zeros, transposed)))
    found = QuantisedLinear.read(tensors, NAME)
    assert torch.equal(found.codes, codes) and torch.equal(found.zeros, zeros)
    steps = codes.float() - zeros.float().repeat_interleave(GROUP, 0)
    wanted = steps * scales.float().repeat_interleave(GROUP, 0)
    assert torch.equal(found.weight(), wanted.t())
    whole = DequantisedTensors(tmp_path / "gptq")
    assert torch.equal(whole[f"{NAME}.weight"], wanted.t())
    assert f"{NAME}.g_idx" not in whole and f"{NAME}.qweight" not in whole


def test_rows_in_another_order_are_refused(tmp_path):
    tensors = named(gptq_tensors(*random_codes()))
    tensors[f"{NAME}.g_idx"] = tensors[f"{NAME}.g_idx"].flip(0)
    with pytest.raises(ButlerError, match=r"up_proj.g_idx says .* \(desc_act\)"):
        QuantisedLinear.read(written(tmp_path / "gptq", tensors), NAME)


@dataclass
class OneLayer:
    """A decoder of one linear layer, and texts before it."""

    linear: torch.nn.Linear
    inputs: torch.Tensor

    def linears(self) -> list[str]:
        return [NAME]

    def layers(self) -> Iterator[Layer]:
        module = torch.nn.ModuleDict({"up_proj": self.linear})
        yield Layer("model.layers.0.mlp.", module)

    def observe(self, _: Layer, see: Callable[[torch.nn.Linear, torch.Tensor], None]) -> None:
        see(self.linear, self.inputs)


def compensated(weight: torch.Tensor, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return codes and scales [in, out] of a plain GPTQ: OBQ's updates, column by column."""
    scales = weight.unflatten(1, (-1, GROUP)).abs().amax(2) / 7.5
    moments = inputs.t() @ inputs
    moments += 0.01 * moments.diagonal().mean() * torch.eye(ROWS)
    inverse = torch.linalg.cholesky(torch.linalg.inv(moments), upper=True)
    left, codes = weight.clone(), []
    for i in range(ROWS):
        scale = scales[:, i // GROUP]
        codes.append((left[:, i] / scale).round().clamp(-8, 7))
        error = (left[:, i] - codes[-1] * scale) / inverse[i, i]
        left[:, i:] -= error[:, None] * inverse[i, i:]
    return (torch.stack(codes) + 8).to(torch.uint8), scales.t()


@pytest.fixture
def walk() -> OneLayer:
    generator = torch.Generator().manual_seed(0)
    linear = torch.nn.Linear(ROWS, COLUMNS, bias=False).requires_grad_(False)
    linear.weight.copy_(torch.randn(COLUMNS, ROWS, generator=generator) * 0.02)
    mixing = torch.randn(ROWS, ROWS, generator=generator)
    return OneLayer(linear, torch.randn(2, 400, ROWS, generator=generator) @ mixing)


def error_of(walk: OneLayer, folder: Path, codes: torch.Tensor, scales: torch.Tensor):
    zeros = torch.full_like(scales, 8, dtype=torch.uint8)
    (found,) = layer_errors(walk, written(folder, named(gptq_tensors(codes, zeros, scales))), "cpu")
    return found


def test_weights_that_make_up_for_each_other_undercut_plain_rounding(walk, tmp_path):
    weight = walk.linear.weight
    codes, scales = compensated(weight, walk.inputs.flatten(0, 1))
    found = error_of(walk, tmp_path / "gptq", codes, scales)
    assert found.layer == NAME and found.ratio < 0.9
    # By the outputs themselves: the moments say the same.
    wanted = (weight - rounded(weight, GROUP)) @ walk.inputs.flatten(0, 1).t()
    outputs = weight @ walk.inputs.flatten(0, 1).t()
    assert found.plain == pytest.approx(float(wanted.norm() / outputs.norm()), rel=1e-3)


def test_planted_faults_are_many_times_off(walk, tmp_path):
    codes, scales = compensated(walk.linear.weight, walk.inputs.flatten(0, 1))
    doubled = scales.clone()
    doubled[1] *= 2
    shifted = codes.roll(1, 0)
    for number, (some, sizes) in enumerate(
        [(codes, doubled), (shifted, scales), (codes.flip(1), scales), (codes, scales * 1.2)]
    ):
        assert error_of(walk, tmp_path / f"{number}", some, sizes).ratio > 1.2, number


def test_a_layer_or_a_tensor_of_another_model_is_named(walk, tmp_path):
    zeros = torch.full((2, COLUMNS), 8, dtype=torch.uint8)
    codes, _, scales = random_codes()
    other = named(gptq_tensors(codes[:, :8], zeros[:, :8], scales[:, :8]))
    with pytest.raises(ButlerError, match=r"up_proj is \[8, 256\], in the merged model \[16, 256"):
        list(layer_errors(walk, written(tmp_path / "other", other), "cpu"))
    more = named(gptq_tensors(codes, zeros, scales))
    more |= {name.replace("up", "down"): one.clone() for name, one in more.items()}
    with pytest.raises(ButlerError, match="down_proj is quantised in one of the two folders"):
        list(layer_errors(walk, written(tmp_path / "more", more), "cpu"))
    norm = torch.rand(4)
    merged = {"model.norm.weight": norm.half(), f"{NAME}.weight": torch.rand(2, 2).half()}
    gptq = named(gptq_tensors(codes, zeros, scales)) | {"model.norm.weight": norm.half() + 1}
    with pytest.raises(ButlerError, match="model.norm.weight is not quantised and is not"):
        check_plain_tensors(written(tmp_path / "a", merged), written(tmp_path / "b", gptq))


def test_the_environment_is_built_only_where_gptq_is_chosen():
    assert "gptq" not in read_settings(CONFIG).tools(ROOT)
    chosen = read_settings(CONFIG | {"variants": ["fp16", "w4gptqkv8"]})
    assert chosen.tools(ROOT)[-1] == "gptq"


def test_gptq_is_made_checked_and_judged_like_any_variant(tmp_path):
    chosen = {"variants": ["fp16", "w4gptq", "w4gptqkv8"]}
    text = plan(tmp_path, "--dry-run", "--printshellcmds", *overlay(tmp_path, **chosen), "all")
    for made in (
        *("build/gptq", "build/workspace/w4gptq", "workspaces/w4gptqkv8", ".envs/gptq.json"),
        *("results/checks/gptq.json", "results/checks/workspace_w4gptq.json"),
        *("results/checks/w4gptqkv8.json", "results/ceval_w4gptqkv8.csv"),
    ):
        assert f"makes: {made}" in text, made
    assert "--model build/gptq --format gptq --group-size 128" in text
    assert "build/awq" not in text
    text = plan(tmp_path, "--dry-run", *overlay(tmp_path), "all")
    assert "build/gptq" not in text and ".envs/gptq" not in text


def test_the_newest_lmdeploy_takes_the_quantised_folder(tmp_path):
    cuda = {"engine": "lmdeploy", "device": "cuda", "lmdeploy": "latest"}
    text = plan(
        tmp_path, "--dry-run", "--printshellcmds", *overlay(tmp_path, **cuda), "workspaces/w4gptq"
    )
    assert "--model build/gptq --lmdeploy latest" in text and "build/workspace" not in text
