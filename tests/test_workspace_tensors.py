"""A workspace's tensors against its model's: a bit, a head or a file out of place is named."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from test_engine_workspace import split_in_two
from tiny_workspace import HEAD, Tiny

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file

from butler.errors import ButlerError
from butler.families import FAMILIES
from butler.lmdeploy.packed_weights import gptq_tensors, pack
from butler.lmdeploy.workspace_files import WEIGHTS
from butler.lmdeploy.workspace_tensors import compare
from butler.reference.workspace_reader import Workspace

MODULES = {"o": "attention_out", "w1": "gate", "w2": "down", "w3": "up"}
PROJECTIONS = {"q": "query", "k": "key", "v": "value"}
HEAD_NORMS = {"q_norm": "query_norm", "k_norm": "key_norm"}


def in_turn(tiny: Tiny, parts: list[torch.Tensor]) -> torch.Tensor:
    """Fuse query, key and value [rows, out] as InternLM2 has them."""
    rows = len(parts[0])
    grouped = [part.reshape(rows, tiny.kv_heads, -1) for part in parts]
    return torch.cat(grouped, 2).reshape(rows, -1)


def linear(kinds: dict[str, torch.Tensor], gptq: bool) -> dict[str, torch.Tensor]:
    """Return a layer's tensors as a folder has them, by their names' endings."""
    if "weight" in kinds:
        return {".weight": kinds["weight"].t()}
    codes, zeros, scales = kinds["qweight"], kinds["zeros"], kinds["scales"]
    if gptq:
        return gptq_tensors(codes.to(torch.uint8), zeros.to(torch.uint8), scales)
    return {".qweight": pack(codes), ".qzeros": pack(zeros), ".scales": scales.float()}


def as_model(
    tiny: Tiny, folder: Path, architecture: str, tied: bool = False, gptq: bool = False
) -> Path:
    """Write the Hugging Face, AWQ or GPTQ folder that a tiny workspace would be made from."""
    family, names = FAMILIES[architecture], FAMILIES[architecture].layers
    tensors = {
        f"{family.embedding}.weight": tiny.tensors["tok_embeddings"],
        "model.norm.weight": tiny.tensors["norm"],
    }
    if not tied:
        tensors[f"{family.head}.weight"] = tiny.tensors["output"]
    for i in range(tiny.layers):
        start = f"model.layers.{i}"
        norms = dict.fromkeys(("attention_norm", "ffn_norm")) | HEAD_NORMS
        norms = {
            norm: name or norm for norm, name in norms.items() if f"{i}.{norm}" in tiny.tensors
        }
        for norm, name in norms.items():
            tensors[f"{start}.{getattr(names, name)}.weight"] = tiny.tensors[f"{i}.{norm}"]
        modules = {f"{start}.{getattr(names, one)}": [name] for name, one in MODULES.items()}
        for name, one in PROJECTIONS.items():
            modules.setdefault(f"{start}.{getattr(names, one)}", []).append(name)
        for module, parts in modules.items():
            wholes = {}
            for kind in tiny.stored[f"{i}.{parts[0]}"]:
                found = [torch.from_numpy(tiny.stored[f"{i}.{name}"][kind]) for name in parts]
                wholes[kind] = in_turn(tiny, found) if len(found) > 1 else found[0]
            tensors |= {f"{module}{ending}": t for ending, t in linear(wholes, gptq).items()}
            biases = [tiny.tensors.get(f"{i}.{name}_bias") for name in parts]
            if None not in biases:
                whole = [bias.unsqueeze(0) for bias in biases]
                joined = in_turn(tiny, whole) if len(whole) > 1 else whole[0]
                tensors[f"{module}.bias"] = joined.squeeze(0)
    folder.mkdir()
    halves = {n: (t.half() if t.is_floating_point() else t) for n, t in tensors.items()}
    save_file({name: t.contiguous() for name, t in halves.items()}, folder / "model.safetensors")
    config = {
        "architectures": [architecture],
        "hidden_size": tiny.hidden,
        "num_hidden_layers": tiny.layers,
        "num_attention_heads": tiny.heads,
        "num_key_value_heads": tiny.kv_heads,
        "head_dim": HEAD,
        "vocab_size": tiny.vocab,
        "rms_norm_eps": tiny.eps,
        "rope_theta": tiny.theta,
        "tie_word_embeddings": tied,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


SHAPES = {
    "InternLM2ForCausalLM": Tiny(heads=4, kv_heads=2, layers=1),
    "InternLMForCausalLM": Tiny(kv_heads=2, bias=True, layers=1),
    "LlamaForCausalLM": Tiny(heads=4, kv_heads=1),
    "InternLM3ForCausalLM": Tiny(heads=4, kv_heads=1, layers=1),
    "Qwen2ForCausalLM": Tiny(heads=4, kv_heads=2, bias=True, layers=1),
    "Qwen3ForCausalLM": Tiny(heads=4, kv_heads=2, qk_norm=True, layers=1),
}


def made(tmp_path: Path, architecture: str, **changed) -> tuple[Tiny, Path, Path]:
    tiny = replace(SHAPES[architecture], tensors={}, files={}, stored={}, **changed)
    path = tiny.build(tmp_path / "ws")
    return tiny, path, as_model(tiny, tmp_path / "model", architecture)


@pytest.mark.parametrize("w4", [False, True])
@pytest.mark.parametrize("architecture", FAMILIES)
def test_each_tensor_of_each_family_is_found_in_the_model(tmp_path, architecture, w4):
    tiny, path, model = made(tmp_path, architecture, w4=w4)
    assert set(compare(Workspace(path), model)) == set(tiny.files)


@pytest.mark.parametrize("architecture", ["InternLM2ForCausalLM", "Qwen2ForCausalLM"])
def test_each_tensor_of_gptqs_format_is_found_and_no_other_is(tmp_path, architecture):
    tiny, path, _ = made(tmp_path, architecture, w4=True)
    model = as_model(tiny, tmp_path / "gptq", architecture, gptq=True)
    assert set(compare(Workspace(path), model)) == set(tiny.files)
    tensors = load_file(model / "model.safetensors")
    name = next(name for name in tensors if name.endswith(".qzeros"))
    tensors[name] += 1
    save_file(tensors, model / "model.safetensors")
    with pytest.raises(ButlerError, match=r"zeros is not .*; convert it again"):
        list(compare(Workspace(path), model))


@pytest.mark.parametrize("kind", [{"w4": True}, {"bias": True}])
def test_a_workspace_split_for_two_gpus_is_put_together(tmp_path, kind):
    tiny, path, model = made(tmp_path, "InternLM2ForCausalLM", inter=512, **kind)
    split_in_two(path, tiny)
    assert len(list(compare(Workspace(path), model))) >= len(tiny.files)


def test_a_tied_head_is_the_embedding(tmp_path):
    tiny = replace(SHAPES["Qwen2ForCausalLM"], tensors={}, files={}, stored={})
    path = tiny.build(tmp_path / "ws")
    model = as_model(tiny, tmp_path / "model", "Qwen2ForCausalLM", tied=True)
    with pytest.raises(ButlerError, match=r"output\.0\.weight is not model\.embed_tokens\.weight"):
        list(compare(Workspace(path), model))
    tiny.files["tok_embeddings.0.weight"].tofile(path / WEIGHTS / "output.0.weight")
    assert set(compare(Workspace(path), model)) == set(tiny.files)


def zero_bias(tiny: Tiny, path: Path, model: Path) -> None:
    """Take the bias of the attention's output away, as Qwen2 has none; LMDeploy writes zeros."""
    kept = {
        name: tensor
        for name, tensor in load_file(model / "model.safetensors").items()
        if not name.endswith("o_proj.bias")
    }
    save_file(kept, model / "model.safetensors")
    (path / WEIGHTS / "layers.0.attention.wo.0.bias").write_bytes(bytes(2 * tiny.hidden))


def test_a_bias_that_the_model_lacks_is_zero(tmp_path):
    tiny, path, model = made(tmp_path, "Qwen2ForCausalLM")
    bias = (path / WEIGHTS / "layers.0.attention.wo.0.bias").read_bytes()
    zero_bias(tiny, path, model)
    assert set(compare(Workspace(path), model)) == set(tiny.files)
    (path / WEIGHTS / "layers.0.attention.wo.0.bias").write_bytes(bias)
    with pytest.raises(ButlerError, match=r"wo\.0\.bias is not .*o_proj\.bias"):
        list(compare(Workspace(path), model))


def flip_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("w4", [False, True])
def test_one_flipped_bit_of_any_file_is_named(tmp_path, w4):
    tiny, path, model = made(tmp_path, "InternLM2ForCausalLM", w4=w4)
    for name in tiny.files:
        file = path / WEIGHTS / name
        whole = file.read_bytes()
        flip_bit(file)
        with pytest.raises(ButlerError, match=f"{name} is not "):
            list(compare(Workspace(path), model))
        file.write_bytes(whole)


def test_halves_of_a_head_that_are_not_interleaved_are_noticed(tmp_path):
    tiny, path, model = made(tmp_path, "LlamaForCausalLM")
    plain = [tiny.stored[f"1.{name}"]["weight"] for name in "qkv"]
    np.concatenate(plain, -1).tofile(path / WEIGHTS / "layers.1.attention.w_qkv.0.weight")
    with pytest.raises(
        ButlerError, match=r"layers\.1\.attention\.w_qkv.* is not .*1\.self_attn\.q"
    ):
        list(compare(Workspace(path), model))


def test_padding_that_is_not_zero_and_a_file_too_many_are_noticed(tmp_path):
    tiny, path, model = made(tmp_path, "LlamaForCausalLM", layers=1)
    wider = np.zeros((tiny.hidden, tiny.inter + 128), np.float16)
    for name in ("w1", "w2", "w3"):
        array = tiny.files[f"layers.0.feed_forward.{name}.0.weight"]
        padded = wider.copy() if name != "w2" else wider.T.copy()
        padded[: array.shape[0], : array.shape[1]] = array
        padded.tofile(path / WEIGHTS / f"layers.0.feed_forward.{name}.0.weight")
    file = path / WEIGHTS / "config.yaml"
    config = yaml.safe_load(file.read_text())
    config["model_config"]["inter_size"] = [tiny.inter + 128]
    file.write_text(yaml.safe_dump(config))
    assert set(compare(Workspace(path), model)) == set(tiny.files)
    padded[-1, -1] = 1
    padded.tofile(path / WEIGHTS / "layers.0.feed_forward.w3.0.weight")
    with pytest.raises(ButlerError, match=r"w3\.0\.weight is not .*up_proj"):
        list(compare(Workspace(path), model))
    padded[-1, -1] = 0
    padded.tofile(path / WEIGHTS / "layers.0.feed_forward.w3.0.weight")
    (path / WEIGHTS / "layers.7.ffn_norm.weight").write_bytes(b"")
    with pytest.raises(ButlerError, match=r"layers\.7\.ffn_norm\.weight belongs to no tensor"):
        list(compare(Workspace(path), model))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rope_theta", 5e5),
        ("rms_norm_eps", 1e-6),
        ("rope_scaling", {"type": "linear", "factor": 2}),
    ],
)
def test_what_the_configurations_say_must_agree(tmp_path, key, value):
    _, path, model = made(tmp_path, "LlamaForCausalLM")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {key: value}))
    with pytest.raises(ButlerError, match=r"config\.yaml says (rope|norm).*config\.json"):
        list(compare(Workspace(path), model))


@pytest.mark.parametrize(
    "key", ["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"]
)
def test_each_number_of_llama3s_rotary_embedding_must_agree(tmp_path, key):
    tiny, path, model = made(tmp_path, "LlamaForCausalLM", layers=1)
    scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0}
    scaling |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    file = path / WEIGHTS / "config.yaml"
    config = yaml.safe_load(file.read_text())
    config["attention_config"] |= {
        "rope_scaling_type": "llama3",
        "rope_scaling_factor": 8.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    file.write_text(yaml.safe_dump(config))
    read = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(read | {"rope_scaling": scaling}))
    assert set(compare(Workspace(path), model)) == set(tiny.files)
    other = read | {"rope_scaling": scaling | {key: 2 * scaling[key]}}
    (model / "config.json").write_text(json.dumps(other))
    with pytest.raises(ButlerError, match=f"config.yaml says .*{key.removesuffix('_factor')}"):
        list(compare(Workspace(path), model))


def test_a_tensor_of_the_model_that_is_in_no_file_is_named(tmp_path):
    tiny, path, model = made(tmp_path, "LlamaForCausalLM")
    bias = "model.layers.0.mlp.up_proj.bias"
    more = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(HEAD // 2)}
    save_file(more | {bias: torch.zeros(tiny.inter)}, model / "more.safetensors")
    assert set(compare(Workspace(path), model)) == set(tiny.files), "these change nothing"
    save_file(more | {bias: torch.ones(tiny.inter)}, model / "more.safetensors")
    with pytest.raises(ButlerError, match=r"mlp\.up_proj\.bias of .* is in no file of"):
        list(compare(Workspace(path), model))
