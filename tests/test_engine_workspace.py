"""A workspace that is damaged, foreign or not runnable gives one clear sentence."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tiny_workspace import HEAD, Tiny

torch = pytest.importorskip("torch")

from butler.errors import ButlerError
from butler.reference.generate import Engine
from butler.reference.workspace_reader import WEIGHTS, Workspace


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return Tiny(layers=1, w4=True).build(tmp_path / "ws")


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    file = path / WEIGHTS / "config.yaml"
    config = yaml.safe_load(file.read_text())
    change(config)
    file.write_text(yaml.safe_dump(config))


def test_missing_file_is_named(path: Path) -> None:
    (path / WEIGHTS / "layers.0.attention.wo.0.scales").unlink()
    with pytest.raises(ButlerError, match=r"layers\.0\.attention\.wo\.0\.scales is missing"):
        Engine.load(path)


@pytest.mark.parametrize("size", [-1, 1])
def test_file_of_another_size_is_named(path: Path, size: int) -> None:
    file = path / WEIGHTS / "layers.0.feed_forward.w2.0.qweight"
    data = file.read_bytes()
    file.write_bytes(data[:-1] if size < 0 else data + b"\0")
    with pytest.raises(ButlerError, match=rf"w2\.0\.qweight has {len(data) + size} bytes where"):
        Engine.load(path)


@pytest.mark.parametrize("name", ["norm.weight", "layers.0.attention.wo.0.scales"])
def test_a_weight_that_is_no_number_is_named(path: Path, name: str) -> None:
    file = path / WEIGHTS / name
    file.write_bytes(b"\x00\x7e" + file.read_bytes()[2:])  # NaN in fp16
    with pytest.raises(ButlerError, match=f"{name} holds values that are no finite numbers"):
        Engine.load(path)


def test_folder_that_is_no_workspace(tmp_path: Path) -> None:
    with pytest.raises(ButlerError, match=r"config\.yaml is missing: .* not a TurboMind workspace"):
        Workspace(tmp_path)


def test_workspace_of_another_lmdeploy_version(path: Path) -> None:
    edit(path, lambda c: c["attention_config"].pop("rope_theta"))
    with pytest.raises(ButlerError, match=r"not those of LMDeploy 0\.7\.3 .*rope_theta"):
        Workspace(path)


def test_config_that_is_not_yaml(path: Path) -> None:
    (path / WEIGHTS / "config.yaml").write_text("a: [")
    with pytest.raises(ButlerError, match=r"config\.yaml is not YAML"):
        Workspace(path)


@pytest.mark.parametrize(
    ("part", "key", "value", "message"),
    [
        ("model_config", "tp", 2, r"model_config\.tp is impossible"),
        ("model_config", "expert_num", [8], r"model_config\.expert_num"),
        ("model_config", "weight_type", "fp8", r"model_config\.weight_type is 'fp8'"),
        ("model_config", "kv_head_num", 3, r"model_config\.head_num is impossible"),
        ("model_config", "inter_size", [8, 8], r"model_config\.num_layer is impossible"),
        ("model_config", "norm_eps", "small", r"config\.yaml: a value has the wrong type"),
        ("attention_config", "rope_scaling_type", "yarn", r"rope_scaling_type is 'yarn'"),
        ("attention_config", "rotary_embedding", 64, r"rotary_embedding is 64"),
    ],
)
def test_config_the_engine_cannot_run(
    path: Path, part: str, key: str, value: object, message: str
) -> None:
    edit(path, lambda c: c[part].__setitem__(key, value))
    with pytest.raises(ButlerError, match=message):
        Workspace(path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"quant_policy": 3},
            r"3 means nothing to LMDeploy 0\.7\.3; write one of 0 \(fp16\), 8 \(int8\), 4 \(int4\)",
        ),
        ({"quant_policy": "8"}, "key 'quant_policy' takes integer, found '8'"),
        ({"cache_max_entry_count": 1.5}, "'cache_max_entry_count' takes less than 1, found 1.5"),
        ({"session_len": 0}, "key 'session_len' takes at least 1, found 0"),
        ({"session_len": None}, "key 'session_len' takes integer, found None"),
        ({"quant_polcy": 8}, "unknown key 'quant_polcy'; did you mean 'quant_policy'"),
    ],
)
def test_engine_settings_out_of_range(path: Path, settings: dict, message: str) -> None:
    whole = {"quant_policy": 8, "cache_max_entry_count": 0.5, "session_len": 320}
    edit(path, lambda c: c.__setitem__("engine_config", whole))
    assert (Workspace(path).kv.name, Workspace(path).session_len) == ("int8", 320)
    edit(path, lambda c: c["engine_config"].update(settings))
    with pytest.raises(ButlerError, match=message) as refused:
        Workspace(path)
    assert "config.yaml: engine_config: " in str(refused.value)


def test_a_workspace_that_is_no_variant_yet_has_the_models_session(path: Path) -> None:
    assert (Workspace(path).kv.name, Workspace(path).session_len) == ("fp16", 640)
    edit(path, lambda c: c.__setitem__("engine_config", {"quant_policy": 4}))
    with pytest.raises(ButlerError, match="'cache_max_entry_count' is missing; make the variant"):
        Workspace(path)


def test_a_head_whose_codes_fill_no_whole_bytes_is_refused(path: Path) -> None:
    edit(path, lambda c: c["model_config"].update(size_per_head=127))
    edit(path, lambda c: c["attention_config"].update(rotary_embedding=127))
    with pytest.raises(ButlerError, match=r"model_config\.size_per_head is impossible"):
        Workspace(path)


def split_in_two(path: Path, model: Tiny) -> None:
    """Split a workspace's files for two GPUs, each with whole heads, as `lmdeploy convert` does."""
    heads, kv_heads = model.heads * HEAD, model.kv_heads * HEAD
    for name, array in model.files.items():
        if ".0." not in name.removeprefix("layers.0"):
            continue  # a norm, which every GPU reads from one file
        file = path / WEIGHTS / name
        axis = 0 if any(part in name for part in ("wo.", "w2.", "output.")) else -1
        parts = [array]
        if "w_qkv" in name:  # queries, keys and values are each split
            width = array.shape[-1] * HEAD // (heads + 2 * kv_heads)
            at = [heads * width // HEAD, (heads + kv_heads) * width // HEAD]
            parts = np.split(array, at, axis=-1)
        halves = zip(*(np.split(part, 2, axis=axis) for part in parts), strict=True)
        whole = "wo." in name and name.endswith("bias")
        for rank, half in enumerate(halves):
            content = array if whole else np.concatenate(half, axis=-1)
            content.tofile(file.with_name(f".{rank}.".join(name.rsplit(".0.", 1))))
    edit(path, lambda c: c["model_config"].update(tp=2))


@pytest.mark.parametrize("kind", [{"w4": True}, {"bias": True}])
def test_files_split_for_two_gpus_are_put_together(tmp_path: Path, kind: dict) -> None:
    model = Tiny(heads=4, kv_heads=2, layers=1, inter=512, **kind)
    path = model.build(tmp_path / "ws")
    tokens = list(range(5, 45))
    whole = Engine.load(path).logits(tokens)
    split_in_two(path, model)
    assert Workspace(path).config.tp == 2
    assert list((path / WEIGHTS).glob("layers.0.attention.wo.1.*"))
    assert torch.equal(Engine.load(path).logits(tokens), whole)


def test_wrong_head_counts_do_not_load_as_noise(path: Path) -> None:
    edit(path, lambda c: c["model_config"].update(head_num=4, kv_head_num=2))
    with pytest.raises(ButlerError, match=r"w_qkv\.0\.qweight has .* bytes where"):
        Engine.load(path)


def test_static_cache_needs_its_files(path: Path) -> None:
    with pytest.raises(ButlerError, match=r"layers\.0\.past_kv_scale\.0\.weight is missing"):
        Engine.load(path, kv="static")
    (path / WEIGHTS / "layers.0.past_kv_scale.0.weight").write_bytes(b"\0" * 16)
    with pytest.raises(ButlerError, match="no usable KV scales"):
        Engine.load(path, kv="static")


def test_dynamic_ntk_ends_the_session_where_positions_would_change(path: Path) -> None:
    def stretch(config: dict[str, Any]) -> None:
        config["attention_config"].update(rope_scaling_type="dynamic", rope_scaling_factor=2.0)
        config["attention_config"]["max_position_embeddings"] = 100

    edit(path, stretch)
    assert Workspace(path).session_len == 100


def test_weight_bytes_are_the_sizes_of_the_weight_files(path: Path) -> None:
    before = Workspace(path).weight_bytes()
    (path / WEIGHTS / "layers.0.past_kv_scale.0.weight").write_bytes(b"\0" * 16)
    assert Workspace(path).weight_bytes() == before
    files = [f for f in (path / WEIGHTS).iterdir() if f.suffix in (".weight", ".scales", ".zeros")]
    packed = sum(f.stat().st_size for f in (path / WEIGHTS).glob("*.qweight"))
    assert before == packed + sum(f.stat().st_size for f in files) - 16
