"""The merge and its check: every weight is base + adapter, rounded to fp16 once."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import merge
from butler.errors import ButlerError
from butler.hf_folder import CARRIED, carry_over
from butler.lora_adapter import LoraAdapter
from check_merge import HALF, LoraPair, TensorError, judge, pair_error, plain_error, spacing

SCALE = 0.25


def weights(dtype=torch.float16, rows=48, columns=40, std=0.05, seed=0):
    torch.manual_seed(seed)
    return (torch.randn(rows, columns) * std).to(dtype)


def pair(rows=48, columns=40, r=8, scale=SCALE, seed=1, transposed=False):
    torch.manual_seed(seed)
    a, b = (torch.randn(r, columns) * 0.2).half(), (torch.randn(rows, r) * 0.02).half()
    return LoraPair(a, b, scale, transposed)


def merged(base, one):
    left, right = one.factors()
    return merge.merged(base, left.float(), right.float())


def test_what_is_carried_over_keeps_one_name_of_how_rotary_embeddings_are_stretched(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    scaling = {"type": "linear", "factor": 2.0}
    for folder, written in ((source, scaling), (target, scaling | {"rope_type": "linear"})):
        folder.mkdir()
        config = {"hidden_size": 8, "rope_scaling": written}
        (folder / "config.json").write_text(json.dumps(config))
    for name in CARRIED:
        (source / name).write_text("{}")
    carry_over(source, target)
    read = json.loads((target / "config.json").read_text())
    assert read == {"hidden_size": 8, "rope_scaling": scaling}, "LMDeploy refuses two names"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_right_merge_is_within_one_rounding(dtype):
    base, one = weights(dtype), pair()
    found = pair_error(base, merged(base, one), one)
    assert 0.4 < found.ulps <= HALF
    assert found.change > 0 and found.changed > 1000


def test_the_merge_is_that_of_peft():
    base, one = weights(), pair()
    # LoraLayer.merge of PEFT: the fp16 weight += the fp32 product.
    expected = base.clone()
    expected += (one.b.float() @ one.a.float()) * SCALE
    assert merged(base, one).equal(expected)


def test_a_transposed_weight_is_merged_transposed():
    base, one = weights(), pair(transposed=True, rows=40, columns=48)
    result = merged(base, one)
    assert pair_error(base, result, one).ulps <= HALF
    assert torch.allclose(
        result.float(), base.float() + SCALE * (one.b.float() @ one.a.float()).T, atol=1e-3
    )


def test_blocks_of_rows_give_the_same(monkeypatch):
    base, one = weights(), pair()
    whole, found = merged(base, one), pair_error(base, merged(base, one), one)
    monkeypatch.setattr(merge, "BLOCK", 100)
    monkeypatch.setattr("check_merge.BLOCK", 100)
    assert merged(base, one).equal(whole)
    assert pair_error(base, whole, one).ulps == pytest.approx(found.ulps, abs=1e-9)


def wrong_bit(tensor, place, bit):
    changed = tensor.clone()
    changed.view(torch.int16).view(-1)[place] ^= 1 << bit
    return changed


@pytest.mark.parametrize("bit", [0, 5, 13])
def test_one_flipped_bit_is_found(bit):
    base, one = weights(), pair()
    right = merged(base, one)
    assert pair_error(base, wrong_bit(right, 777, bit), one).ulps > HALF
    assert plain_error(base, wrong_bit(base, 777, bit)).ulps > HALF


def in_4_bits(base):
    step = base.float().abs().amax(dim=1, keepdim=True) / 7
    return ((base.float() / step).round() * step).half()


@pytest.mark.parametrize(
    "result",
    [
        pytest.param(lambda base, one: merged(in_4_bits(base), one), id="quantised base"),
        pytest.param(
            lambda base, one: merged(base, LoraPair(one.a, one.b, 1.01 * SCALE)), id="another scale"
        ),
        pytest.param(lambda base, one: merged(base, pair(seed=9)), id="another adapter"),
        pytest.param(lambda base, one: base, id="no adapter"),
        pytest.param(
            lambda base, one: (base + ((one.b.half() @ one.a.half()) * SCALE)).half(),
            id="product in half precision",
        ),
    ],
)
def test_a_wrong_merge_is_found(result):
    base, one = weights(), pair()
    assert pair_error(base, result(base, one), one).ulps > HALF


def test_values_that_cancel_are_not_taken_for_wrong():
    # Of a sum near zero the fp32 product's own error is many of its units in the last place.
    one = pair(rows=256, columns=256, r=64)
    base = (-(one.b.double() @ one.a.double()) * SCALE).float()
    found = pair_error(base, merged(base, one), one)
    assert found.ulps <= HALF


def test_what_fp16_cannot_hold_is_found():
    base = weights(torch.bfloat16)
    base[3, 4] = 1e5
    assert pair_error(base, merged(base, pair()), pair()).ulps == torch.inf
    assert plain_error(base, base.half()).ulps == torch.inf
    broken = pair()
    broken.a[0, 0] = torch.nan
    assert pair_error(weights(), merged(weights(), broken), broken).ulps == torch.inf


def test_spacing_is_that_of_fp16():
    values = torch.tensor([1.0, 1.999, 2.0, 0.3, 65504.0, 2.0**-14, 1e-5, 1e-9, 0.0])
    halves = values.half()
    after = torch.nextafter(halves, torch.tensor(torch.inf, dtype=torch.float16))
    steps = (after.double() - halves.double()).where(values < 65504, 32.0)
    assert spacing(halves.double()).equal(steps)


def test_an_adapter_without_effect_is_told():
    kept, changed = {"a": TensorError(0.1, 1.0, 2.0, 0)}, {"a": TensorError(0.1, 1.0, 2.0, 5)}
    assert judge(changed, ["a"])[0]
    passed, sentence = judge(kept, ["a"])
    assert not passed and "nothing was learnt" in sentence
    passed, sentence = judge(changed | {"b": TensorError(3.0)}, ["a"])
    assert not passed and "1 of 2 tensors" in sentence and "b is 3 units" in sentence


def write_base(folder, tensors, **config):
    folder.mkdir()
    settings = {"architectures": ["InternLM2ForCausalLM"], **config}
    (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    save_file(tensors, folder / "model.safetensors")
    return folder


def write_adapter(folder, pairs, **settings):
    folder.mkdir()
    described = {"lora_alpha": 2.0, "base_model_name_or_path": "build/base", **settings}
    (folder / "adapter_config.json").write_text(json.dumps(described), encoding="utf-8")
    tensors = {}
    for module, one in pairs.items():
        tensors[f"base_model.model.{module}.lora_A.weight"] = one.a
        tensors[f"base_model.model.{module}.lora_B.weight"] = one.b
    save_file(tensors, folder / "adapter_model.safetensors")
    return LoraAdapter(folder)


def read_all(folder):
    return {k: v for path in folder.glob("*.safetensors") for k, v in load_file(path).items()}


LINEAR = "model.layers.0.attention.wo"


def test_weights_are_written_in_shards_with_an_index(tmp_path, monkeypatch):
    base = {f"{LINEAR}.weight": weights(torch.bfloat16), "model.norm.weight": torch.ones(40)}
    base |= {f"model.layers.{n}.other": weights(seed=n) for n in range(4)}
    adapter = write_adapter(tmp_path / "adapter", {LINEAR: pair()})
    monkeypatch.setattr(merge, "WRITTEN_SHARD", 2 * 48 * 40 * 2)
    (out := tmp_path / "out").mkdir()
    folder = write_base(tmp_path / "base", base)
    assert merge.write_weights(folder, adapter, out, threads=2) == set()
    found = read_all(out)
    assert found.keys() == base.keys()
    assert {value.dtype for value in found.values()} == {torch.float16}
    assert pair_error(base[f"{LINEAR}.weight"], found[f"{LINEAR}.weight"], pair()).ulps <= HALF
    assert all(found[name].equal(base[name].half()) for name in base if name != f"{LINEAR}.weight")
    index = json.loads((out / "model.safetensors.index.json").read_text(encoding="utf-8"))
    files = {path.name: set(load_file(path)) for path in out.glob("*.safetensors")}
    assert len(files) == 3
    assert all(name in files[file] for name, file in index["weight_map"].items())
    assert index["weight_map"].keys() == base.keys()


def test_a_tied_head_with_a_pair_becomes_a_tensor_of_its_own(tmp_path):
    base = {"model.tok_embeddings.weight": weights()}
    adapter = write_adapter(tmp_path / "adapter", {"output": pair()})
    (out := tmp_path / "out").mkdir()
    folder = write_base(tmp_path / "base", base, tie_word_embeddings=True)
    assert merge.write_weights(folder, adapter, out, threads=1) == {"output.weight"}
    found = read_all(out)
    assert found["model.tok_embeddings.weight"].equal(weights())
    assert pair_error(weights(), found["output.weight"], pair()).ulps <= HALF


@pytest.mark.parametrize(
    ("pairs", "settings", "said"),
    [
        ({"model.layers.7.attention.wo": pair()}, {}, "which .* does not have"),
        ({LINEAR: pair(rows=16)}, {}, "does not fit"),
        ({LINEAR: pair()}, {"use_dora": True}, "sets use_dora"),
    ],
)
def test_an_adapter_that_cannot_be_merged_is_refused(tmp_path, pairs, settings, said):
    folder = write_base(tmp_path / "base", {f"{LINEAR}.weight": weights()})
    (out := tmp_path / "out").mkdir()
    with pytest.raises(ButlerError, match=said):
        merge.write_weights(folder, write_adapter(tmp_path / "adapter", pairs, **settings), out, 1)


def test_an_adapter_of_another_base_is_refused(tmp_path):
    adapter = write_adapter(tmp_path / "adapter", {LINEAR: pair()})
    with pytest.raises(ButlerError, match="was trained on build/base, not on"):
        merge.check_adapter(adapter, tmp_path / "adapter", tmp_path / "another")
