"""Each family's record, held against what the tools find in a toy model of that architecture."""

import json
import re
import subprocess

import pytest
import yaml

from butler.chat_template import ChatTemplate
from butler.errors import ButlerError
from butler.families import FAMILIES, TRAINER, TRAINERS, family_of
from butler.lmdeploy.release import RELEASES
from butler.model_folder import (
    check_group_size,
    check_model_folder,
    check_served,
    check_variant_sizes,
)
from butler.schemes import VARIANTS
from real_tools import python_of
from toys import TOYS, table
from workflow_state import BASE_OVERLAYS, ROOT

# One of each family: the family's record does not tell its toys apart.
TOY_OF = {toy.architecture: toy for toy in TOYS.values()}


def test_a_record_names_templates_and_releases_that_there_are():
    templates = yaml.safe_load((ROOT / "config/chat_templates.yaml").read_text(encoding="utf-8"))
    for family in FAMILIES.values():
        assert set(family.templates) <= set(templates)
        assert set(family.served_by) <= set(RELEASES)


def test_the_table_of_the_docs_is_that_of_the_toys():
    assert table() in (ROOT / "docs" / "bases.md").read_text(encoding="utf-8")
    overlays = {toy.overlay for toy in TOYS.values() if toy.overlay}
    assert {path.stem for path in BASE_OVERLAYS} <= overlays
    assert all((ROOT / "config" / f"{name}.yaml").is_file() for name in overlays)


@pytest.mark.parametrize("toy", [toy for toy in TOYS.values() if toy.overlay], ids=str)
def test_an_overlay_has_what_its_toy_was_proven_with(toy):
    path = ROOT / "config" / f"{toy.overlay}.yaml"
    base = yaml.safe_load(path.read_text(encoding="utf-8"))["base"]
    assert FAMILIES[base.get("architecture", toy.architecture)].trainer == toy.trainer
    assert base["chat_template"] in FAMILIES[toy.architecture].templates
    if toy.trainer != TRAINER:
        assert base["architecture"] == toy.architecture, "no one else tells before it is fetched"
    if toy.name != "internlm":  # its toy has the shipped tokenizer, which has not its words
        assert base["chat_template"] == toy.template


def test_an_unknown_architecture_is_one_sentence_with_those_known():
    for named in (["MambaForCausalLM"], [], None, [{}]):
        with pytest.raises(ButlerError, match=r"mine/config.json names .* InternLM2ForCausalLM, "):
            family_of({"architectures": named}, "mine/config.json")


def config(architecture="LlamaForCausalLM", **changed):
    sizes = {
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_attention_heads": 32,
        "num_hidden_layers": 2,
    }
    return {"architectures": [architecture]} | sizes | changed


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"hidden_size": 2112}, "hidden_size 2112 is no multiple of awq.group_size 128"),
        ({"intermediate_size": 5461}, "intermediate_size 5461 is no multiple"),
        ({"num_attention_heads": 5, "head_dim": 64}, "head size 320 is no multiple"),
        ({"intermediate_size": None}, "says intermediate_size None, which is no size"),
    ],
)
def test_layers_that_are_no_whole_groups_are_named(changed, sentence):
    check_group_size(config(), 128, "mine")
    with pytest.raises(ButlerError, match=f"^mine/config.json:? .*{sentence}"):
        check_group_size(config(**changed), 128, "mine")


@pytest.mark.parametrize(
    ("architecture", "release", "head", "sentence"),
    [
        ("InternLMForCausalLM", "latest", 128, "does not serve with lmdeploy: latest; set .*0.7.3"),
        ("InternLM2ForCausalLM", "0.7.3", 64, "heads of 64 values; .* needs 128"),
        ("Qwen2ForCausalLM", "0.7.3", 96, "heads of 96 values; .* needs 64 or 128"),
        ("Qwen3ForCausalLM", "0.7.3", 128, "norms .* 0.7.3 does not load .* set lmdeploy: latest"),
        ("Qwen3ForCausalLM", "latest", 128, None),
        ("InternLM2ForCausalLM", "latest", 64, None),
        ("LlamaForCausalLM", "0.7.3", 64, None),
    ],
)
def test_what_a_release_does_not_serve_is_told(architecture, release, head, sentence):
    model = config(architecture, head_dim=head)
    if sentence is None:
        return check_served(model, release, "mine")
    with pytest.raises(ButlerError, match=f"^mine/config.json.*{sentence}"):
        check_served(model, release, "mine")


@pytest.mark.parametrize(
    ("variant", "release", "head", "refused"),
    [
        ("w4kv4", "0.7.3", 64, True),
        ("w4kv4", "0.7.3", 128, False),
        ("kv8", "0.7.3", 64, False),
        ("w4kv4", "latest", 64, False),
    ],
)
def test_a_cache_that_ends_the_engine_is_refused(variant, release, head, refused):
    words = config("LlamaForCausalLM", head_dim=head), VARIANTS[variant], 128
    if not refused:
        return check_variant_sizes(*words, release, "mine")
    with pytest.raises(ButlerError, match="^mine/config.json: heads of 64 .* leave w4kv4 out of"):
        check_variant_sizes(*words, release, "mine")


# With the tools themselves


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    """A base of each family, random or the shipped one."""
    scratch = tmp_path_factory.mktemp("families")
    return {name: TOY_OF[name].base(scratch / name) for name in FAMILIES}


def looked_at(tool, toys, look):
    arguments = [f"{name}={folder}" for name, folder in toys.items()]
    command = [python_of(tool), str(ROOT / "tests" / "family_check.py"), look, *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def in_xtuner(toys):
    found = {}
    for trainer in sorted(TRAINERS):
        own = {name: toys[name] for name in toys if FAMILIES[name].trainer == trainer}
        found |= looked_at(trainer, own, "xtuner")
    return found


@pytest.fixture(scope="module")
def in_lmdeploy(toys):
    return looked_at("lmdeploy", toys, "lmdeploy")


@pytest.mark.e2e
def test_templates_are_the_models_own():
    """LMDeploy ships them too, by other hands; Llama 3's without the dates of the model's own."""
    pairs = {"internlm2_chat": "internlm2", "llama3_chat": "llama3_1", "qwen_chat": "qwen2d5"}
    for name, theirs in pairs.items():
        found = looked_at("lmdeploy", {name: theirs}, "template")[name]
        ours = re.sub(r"Cutting Knowledge Date: .*\nToday Date: .*\n\n", "", found["ours"])
        assert ours == found["theirs"].removeprefix("<|begin_of_text|>")
        mine, other = found["stop_words"]
        assert set(mine) & set(other)
    thinking = ChatTemplate.load("qwen3_chat").render([{"role": "user", "content": "U"}])
    plain = ChatTemplate.load("qwen_chat").render([{"role": "user", "content": "U"}])
    assert thinking == plain + "<think>\n\n</think>\n\n"


@pytest.mark.e2e
@pytest.mark.parametrize("name", FAMILIES)
def test_a_toy_of_each_family_passes_the_checks(toys, name):
    check_model_folder(toys[name], "toy")
    read = json.loads((toys[name] / "config.json").read_text(encoding="utf-8"))
    check_group_size(read, 128, "toy")
    check_served(read, "0.7.3", "toy", reference=True)


@pytest.mark.e2e
@pytest.mark.parametrize("name", FAMILIES)
def test_names_and_lora_are_as_recorded(toys, in_xtuner, name):
    family, found = FAMILIES[name], in_xtuner[name]
    tied = json.loads((toys[name] / "config.json").read_text())["tie_word_embeddings"]
    ends = {f"{family.embedding}.weight"} | (set() if tied else {f"{family.head}.weight"})
    assert ends <= set(found["tensors"])
    normed = any(tensor.endswith("q_norm.weight") for tensor in found["tensors"])
    assert normed == family.heads_normed
    assert (family.head.rpartition(".")[2] in found["with_lora"]) == family.lora_on_head
    fused = not any(tensor.endswith("k_proj.weight") for tensor in found["tensors"])
    assert fused == family.fused_qkv
    if family.code:
        assert f"class {name}(" in found["code"]
        assert (".get_max_length()" in found["code"]) == family.old_cache


@pytest.mark.e2e
@pytest.mark.parametrize("name", [name for name, one in FAMILIES.items() if one.fast])
def test_layers_of_the_fast_path_are_as_recorded(in_xtuner, name):
    fast, found = FAMILIES[name].fast, in_xtuner[name]
    assert {fast.gate, fast.up, fast.down} <= set(found["layers"][fast.mlp])
    assert fast.attention in found["layers"]
    assert fast.forward in found["forwards"]


@pytest.mark.e2e
@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_converted_keeps_the_biases_of_the_attention(in_xtuner, in_lmdeploy, name):
    family, found = FAMILIES[name], in_lmdeploy[name]
    assert found["supported"] and found["quantised"]
    tensors = in_xtuner[name]["tensors"]
    biased = any(tensor.endswith(family.query_bias) for tensor in tensors)
    assert biased == any(tensor.endswith(".bias") for tensor in tensors)
    assert found["reads_biases"] == biased
