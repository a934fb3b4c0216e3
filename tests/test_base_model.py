"""The stage that prepares a base: what it refuses, fetches and places, with the real tools."""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

import base_model
from butler.errors import ButlerError
from real_tools import python_of, script
from workflow_state import ROOT

TINY = ROOT / "data" / "base" / "tiny"
WEIGHTS = "model.safetensors"


def set_config(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def prepare(model, out, *options):
    fixed = ["--model", model, "--out", out, "--chat-template", "internlm2_chat"]
    return script("xtuner", "base_model.py", *fixed, *options)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """A tiny model of a family that needs no code of its own."""
    folder = tmp_path_factory.mktemp("llama") / "model"
    maker = [python_of("xtuner"), str(ROOT / "tests/make_tiny_model.py"), "llama", str(TINY)]
    subprocess.run([*maker, str(folder)], check=True, capture_output=True)
    return folder


def shrink_embedding(folder):
    tensors = load_file(folder / WEIGHTS)
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        tensors[name] = tensors[name][:1000].clone()
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    set_config(folder, vocab_size=1000)


def name_own_code(folder):
    set_config(folder, auto_map={"AutoModelForCausalLM": "someone/else--modeling_x.X"})


def know_words(folder, *words):
    """Give the folder a tokenizer of whole words, to which all others are the first one."""
    vocabulary = {word: number for number, word in enumerate((*words, "<s>", "</s>"))}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=words[0]))
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "special_tokens_map.json").unlink()
    named = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": words[0]}
    (folder / "tokenizer_config.json").write_text(json.dumps(named | {"eos_token": "</s>"}))


REFUSED = {
    "unknown stop word": (
        lambda m: know_words(m, "<unk>"),
        "stops at '<|im_end|>', which is not one token of the tokenizer of",
    ),
    "unknown stop word beside one that stands for all unknown (qwen_chat)": (
        lambda m: know_words(m, "<|im_end|>"),
        "stops at '<|endoftext|>', which is not one token of the tokenizer of",
    ),
    "vocabulary": (shrink_embedding, "tokens and the embedding 1000 rows"),
    "template (qwen_chat)": (
        lambda m: None,
        "stops at '<|endoftext|>', which is not one token of the tokenizer of {model}; set "
        "base.chat_template to the one that the base model was trained with, for its architecture "
        "usually llama3_chat or llama2_chat",
    ),
    "code": (
        name_own_code,
        "{model} runs Python code of its own (modeling_x.py); set base.remote_code",
    ),
    "cut": (
        lambda m: (m / "generation_config.json").write_text('{"eos_token_id": '),
        "{model}/generation_config.json is no JSON",
    ),
    "nan": (
        lambda m: save_file(
            {
                name: torch.full_like(tensor, float("nan"))
                for name, tensor in load_file(m / WEIGHTS).items()
            },
            m / WEIGHTS,
        ),
        "holds NaN or infinity",
    ),
}


def test_code_that_a_configuration_names_needs_a_consent(tmp_path):
    (tmp_path / "config.json").write_text(
        '{"auto_map": {"AutoConfig": "a--configuration_x.X", "AutoTokenizer": ["t_y.Y", null]}}',
        encoding="utf-8",
    )
    base_model.check_consent(tmp_path, "someone/model", remote_code=True)
    said = r"^someone/model runs .* \(configuration_x, t_y.py\); set base.remote_code"
    with pytest.raises(ButlerError, match=said):
        base_model.check_consent(tmp_path, "someone/model", remote_code=False)


@pytest.mark.parametrize("value", [None, "x.Y", 1, {"AutoConfig": 1}, [["x.Y"]], {"a": {"b": "x"}}])
def test_code_that_is_named_by_no_name_is_one_sentence(tmp_path, value):
    (tmp_path / "config.json").write_text(json.dumps({"auto_map": value}))
    for remote_code in (True, False):
        with pytest.raises(ButlerError, match="^the/base/config.json: auto_map takes classes"):
            base_model.check_consent(tmp_path, "the/base", remote_code)


def test_code_that_a_tokenizer_names_in_the_oldest_form_needs_a_consent_and_is_made_local(tmp_path):
    path = tmp_path / "tokenizer_config.json"
    path.write_text('{"auto_map": ["a/b--tokenization_x.X", null]}')
    with pytest.raises(ButlerError, match=r"\(tokenization_x.py\)"):
        base_model.check_consent(tmp_path, "the/base", remote_code=False)
    (tmp_path / "tokenization_x.py").touch()
    base_model.add_code(tmp_path, "the/base")
    assert json.loads(path.read_text()) == {"auto_map": ["tokenization_x.X", None]}


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", ["[]", "{", "[" * 100_000])
def test_a_configuration_that_is_none_is_one_sentence(tmp_path, name, content):
    for path in TINY.glob("*.json"):
        shutil.copyfile(path, tmp_path / path.name)
    (tmp_path / name).write_text(content)
    with pytest.raises(ButlerError, match=f"^the/base/{name} is no JSON"):
        base_model.check_run(tmp_path, "the/base", True)


def test_a_base_that_trains_elsewhere_is_told_before_its_weights_are_fetched(tmp_path):
    (tmp_path / "config.json").write_text('{"architectures": ["Qwen3ForCausalLM"]}')
    settings = {"remote_code": False}
    base_model.check_run(tmp_path, "someone/model", **settings, trainer="xtuner-qwen3")
    said = (
        "^someone/model/config.json names architecture Qwen3ForCausalLM, which trains in the "
        "environment xtuner-qwen3 and not in xtuner; set base.architecture: Qwen3ForCausalLM"
    )
    with pytest.raises(ButlerError, match=said):
        base_model.check_run(tmp_path, "someone/model", **settings, trainer="xtuner")


def test_of_a_hub_model_one_form_of_weights_is_fetched_and_what_belongs_to_it():
    beside = ["config.json", "modeling_x.py", "tokenizer.model", "merges.txt", "LICENSE"]
    others = ["model.gguf", "tf_model.h5", "flax_model.msgpack", "optimizer.pt"]
    shards = ["model-1.safetensors", "model-2.safetensors"]
    pickles = ["pytorch_model-1.bin", "pytorch_model-2.bin"]
    for pickled in (False, True):
        found = base_model.wanted_names([*beside, *others, *shards, *pickles], "x/y", pickled)
        assert sorted(found) == sorted([*shards, *beside])
    found = base_model.wanted_names([*beside, *others, *pickles], "x/y", pickles=True)
    assert sorted(found) == sorted([*pickles, *beside])
    with pytest.raises(ButlerError, match="^x/y/pytorch_model-1.bin .* set base.pickles"):
        base_model.wanted_names([*beside, *others, *pickles], "x/y", pickles=False)
    with pytest.raises(ButlerError, match="^x/y holds no weights"):
        base_model.wanted_names([*beside, *others], "x/y", pickles=True)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_weights_are_linked_where_they_can_be(tmp_path, elsewhere):
    kept, model = tmp_path / "blob", tmp_path / "model"
    kept.write_bytes(b"weights")
    model.mkdir()
    (model / WEIGHTS).symlink_to(kept)  # as in huggingface_hub's cache
    (model / "config.json").write_text("{}")
    memory = "/dev/shm" if elsewhere else tmp_path
    with tempfile.TemporaryDirectory(dir=memory) as name:
        folder = Path(name)
        base_model.place(model, [WEIGHTS, "config.json"], folder)
        assert not (folder / WEIGHTS).is_symlink()
        assert (folder / WEIGHTS).read_bytes() == kept.read_bytes()
        linked = (folder / WEIGHTS).stat().st_ino == kept.stat().st_ino
        same_disk = folder.stat().st_dev == kept.stat().st_dev
        assert linked == same_disk
        assert (folder / "config.json").stat().st_nlink == 1, "what is changed is a copy"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((False,), "runs Python code of its own"),
        (
            (True, ["w4"], 96, "0.7.3"),
            "config.json: hidden_size 256 is no multiple of awq.group_size 96",
        ),
        ((True, ["fp16", "w4", "kv8"], 128, "0.7.3"), None),
        ((True, ["fp8"], 128, "latest"), None),
    ],
)
def test_a_base_that_the_settings_do_not_go_with_is_told_by_its_json_alone(
    options, sentence, tmp_path
):
    for path in TINY.glob("*.json"):
        shutil.copyfile(path, tmp_path / path.name)
    if sentence is None:
        return base_model.check_run(tmp_path, "someone/model", *options)
    with pytest.raises(ButlerError, match=f"^someone/model.*{sentence}"):
        base_model.check_run(tmp_path, "someone/model", *options)
    (tmp_path / "config.json").unlink()
    with pytest.raises(ButlerError, match="^someone/model/config.json is missing"):
        base_model.check_run(tmp_path, "someone/model", True)


def test_an_engine_of_our_own_serves_what_turbomind_does_not(tmp_path):
    sizes = {"num_attention_heads": 4, "num_hidden_layers": 2, "hidden_size": 256}
    sizes |= {"num_key_value_heads": 4}
    config = sizes | {"architectures": ["Qwen2ForCausalLM"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    options = (tmp_path, "mine", False, ["kv4"], 128, "0.7.3")
    base_model.check_run(*options, reference=True)
    with pytest.raises(ButlerError, match="heads of 64 values; TurboMind of LMDeploy 0.7.3 falls"):
        base_model.check_run(*options)


@pytest.mark.e2e
@pytest.mark.parametrize("name", REFUSED)
def test_a_base_that_does_not_fit_is_one_sentence_and_no_folder(llama, tmp_path, name):
    damage, sentence = REFUSED[name]
    shutil.copytree(llama, tmp_path / "model")
    damage(tmp_path / "model")
    template = ["--chat-template", "qwen_chat"] if "qwen_chat" in name else []
    done = prepare(tmp_path / "model", tmp_path / "out", *template)
    assert done.returncode == 1
    assert sentence.format(model=tmp_path / "model") in done.stderr
    assert "/out" not in done.stderr and ".out." not in done.stderr, "a temporary copy is named"
    assert len([line for line in done.stderr.splitlines() if line.startswith("error: ")]) == 1
    assert not (tmp_path / "out").exists()


def name_the_stop_word_unknown(folder):
    """As Qwen2 and SmolLM2 do: one of the chat's stop words is also what stands for the unknown."""
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"unk_token": "<|im_end|>"}))


@pytest.mark.e2e
@pytest.mark.parametrize(
    "damage", [name_the_stop_word_unknown, lambda m: know_words(m, "<|im_end|>")]
)
def test_a_stop_word_that_stands_for_the_unknown_too_is_taken(llama, tmp_path, damage):
    model = tmp_path / "model"
    shutil.copytree(llama, model)
    damage(model)
    done = prepare(model, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    stops = json.loads((tmp_path / "out" / "generation_config.json").read_text())["eos_token_id"]
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    assert tokenizer.token_to_id("<|im_end|>") in stops
