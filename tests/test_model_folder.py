"""Base models that cannot be taken, each refused with one sentence that names the file."""

import json
import pickle
import shutil
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from butler.errors import ButlerError
from butler.model_folder import check_model_folder, check_values, weight_files
from butler.pickled_weights import convert
from workflow_state import ROOT, overlay, plan

TINY = ROOT / "data" / "base" / "tiny"


@pytest.fixture
def model(tmp_path):
    """The tiny base in two shards with an index, as large models come."""
    folder = tmp_path / "model"
    shutil.copytree(TINY, folder)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    places = {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        file = f"model-{number:05d}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file)
        places |= dict.fromkeys(part, file)
    index = json.dumps({"weight_map": places})
    (folder / "model.safetensors.index.json").write_text(index)
    return folder


def set_config(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def drop_tensor(folder, name):
    """Take a tensor away, from the index too."""
    index = folder / "model.safetensors.index.json"
    places = json.loads(index.read_text())["weight_map"]
    shard = folder / places.pop(name)
    index.write_text(json.dumps({"weight_map": places}))
    tensors = load_file(shard)
    del tensors[name]
    save_file(tensors, shard)


SECOND = "model-00002-of-00002.safetensors"
BROKEN = {
    "missing shard": (lambda m: (m / SECOND).unlink(), rf"{SECOND} is missing, named in"),
    "cut shard": (lambda m: truncate(m / SECOND), rf"{SECOND} is cut short"),
    "no safetensors": (
        lambda m: (m / SECOND).write_bytes(b"\x80\x04not tensors" * 9),
        rf"{SECOND} is no safetensors file",
    ),
    "hostile header": (
        lambda m: (m / SECOND).write_bytes(struct.pack("<Q", 2**60) + b"{}"),
        rf"{SECOND} is no safetensors file",
    ),
    "lost tensor": (
        lambda m: save_file({"one": torch.zeros(1)}, m / SECOND),
        rf"{SECOND} lacks tensor \S+, named in",
    ),
    "unknown architecture": (
        lambda m: set_config(m, architectures=["BertForMaskedLM"]),
        r"config.json names architecture BertForMaskedLM, .* take a base model of InternLM2",
    ),
    "architecture of other weights": (
        lambda m: set_config(m, architectures=["LlamaForCausalLM"]),
        r"config.json names architecture LlamaForCausalLM, but the weights .*embed_tokens",
    ),
    "sizes of other weights": (
        lambda m: set_config(m, vocab_size=4096),
        r"config.json says vocab_size and hidden_size \[4096, 256\], .* is \[2048, 256\]",
    ),
    "lost head": (
        lambda m: drop_tensor(m, "output.weight"),
        "names architecture InternLM2ForCausalLM, but the weights beside it have no output.weight",
    ),
    "no tokenizer": (
        lambda m: [path.unlink() for path in m.glob("tokenizer*")],
        "tokenizer_config.json is missing; base.model needs the tokenizer",
    ),
    "no vocabulary": (
        lambda m: (m / "tokenizer.json").unlink(),
        "holds no vocabulary of a tokenizer, one of tokenizer.json, tokenizer.model, vocab.json",
    ),
    "half a vocabulary": (
        lambda m: (m / "tokenizer.json").rename(m / "vocab.json"),
        "holds no vocabulary of a tokenizer, .* vocab.json with merges.txt",
    ),
    "broken config": (lambda m: (m / "config.json").write_text("{"), "config.json is no JSON"),
    "no config": (lambda m: (m / "config.json").unlink(), "config.json is missing"),
}


def test_a_whole_folder_is_taken(model):
    check_model_folder(model, "the/base")
    check_values(model, "the/base")


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_folder_is_one_sentence(model, name):
    damage, sentence = BROKEN[name]
    damage(model)
    with pytest.raises(ButlerError, match=sentence) as raised:
        check_model_folder(model, "the/base")
    assert str(raised.value).startswith("the/base") and "\n" not in str(raised.value)


@pytest.mark.parametrize("names", [["tokenizer.model"], ["vocab.json", "merges.txt"]])
def test_the_vocabulary_of_a_slow_tokenizer_is_one(model, names):
    (model / "tokenizer.json").unlink()
    for name in names:
        (model / name).write_text("")
    check_model_folder(model, "the/base")


def test_a_head_that_is_the_embedding_needs_no_tensor_of_its_own(model):
    drop_tensor(model, "output.weight")
    set_config(model, tie_word_embeddings=True)
    check_model_folder(model, "the/base")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(model, value):
    tensors = load_file(model / SECOND)
    name = sorted(tensors)[-1]
    tensors[name].view(-1)[-1] = value
    save_file(tensors, model / SECOND)
    with pytest.raises(ButlerError, match=rf"{SECOND} holds NaN or infinity in {name}"):
        check_values(model, "the/base")


def test_weights_of_any_kind_of_number_are_checked(model):
    kinds = (torch.float16, torch.bfloat16, torch.float32, torch.int32)
    numbers = {str(kind): torch.ones(5, 3, dtype=kind) for kind in kinds}
    save_file(numbers | {"none": torch.zeros(0)}, model / SECOND)
    check_values(model, "the/base")
    for kind in kinds[:3]:
        bad = numbers[str(kind)].clone()
        bad[2, 1] = float("-inf")
        save_file(numbers | {str(kind): bad}, model / SECOND)
        with pytest.raises(ButlerError, match=f"NaN or infinity in {kind};"):
            check_values(model, "the/base")


def pickled(model, content, name="pytorch_model.bin"):
    """Leave pickled weights alone in the folder."""
    for path in model.glob("model*"):
        path.unlink()
    torch.save(content, model / name)


def converted(model, out):
    out.mkdir(exist_ok=True)
    convert(weight_files(model, "the/base", pickles=True), out, "the/base")
    return {
        name: tensor
        for shard in out.glob("*.safetensors")
        for name, tensor in load_file(shard).items()
    }


def test_pickled_weights_need_a_consent_before_the_first_job(model, tmp_path):
    pickled(model, {"a": torch.zeros(2)})
    base = {"model": str(model), "remote_code": False}
    text = plan(tmp_path, "--dry-run", *overlay(tmp_path, base=base), "all", check=False)
    said = [line for line in text.splitlines() if "pytorch_model.bin" in line]
    assert len(said) == 1 and "set base.pickles to the value of base.model" in said[0]
    given = overlay(tmp_path, base=base | {"pickles": str(model)})
    text = plan(tmp_path, "--dry-run", "--printshellcmds", *given, "build/base")
    assert " --pickles " in text


def test_weights_beside_pickles_of_them_are_taken_without_consent(model):
    (model / "pytorch_model.bin").write_bytes(b"never read")
    for pickles in (False, True):
        assert [path.suffix for path in weight_files(model, "the/base", pickles)] == [
            ".safetensors",
            ".safetensors",
        ]


def test_pickled_weights_are_converted_with_memory_of_their_own_each(model, tmp_path):
    whole = load_file(TINY / "model.safetensors")
    tied = whole["output.weight"]
    first = whole | {"tied": tied, "part": tied[3:5], "turned": tied.T}
    pickled(model, first, "pytorch_model-00001-of-00002.bin")
    # As torch wrote them before 1.6, which cannot be mapped into memory.
    old = model / "pytorch_model-00002-of-00002.bin"
    torch.save({"old": torch.arange(3.0)}, old, _use_new_zipfile_serialization=False)
    found = converted(model, tmp_path / "out")
    wanted = first | {"old": torch.arange(3.0)}
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())
    assert (tmp_path / "out" / "model-00002-of-00002.safetensors").is_file()


@pytest.mark.parametrize("odd", ['{"weight_map": ["one"]}', '{"weight_map": {"one": 1}}', "{}"])
@pytest.mark.parametrize("kind", ["pickles", "safetensors"])
def test_an_index_that_names_no_files_is_one_sentence(model, tmp_path, odd, kind):
    if kind == "pickles":
        pickled(model, load_file(TINY / "model.safetensors"))
        (model / "pytorch_model.bin.index.json").write_text(odd)
    else:
        (model / "model.safetensors.index.json").write_text(odd)
    with pytest.raises(ButlerError, match=r"^the/base/\S+\.index\.json is no index of weights"):
        if kind == "pickles":
            converted(model, tmp_path)
        else:
            check_model_folder(model, "the/base")


@pytest.mark.parametrize("lost", ["shard", "tensor"])
def test_what_the_index_of_pickles_names_is_there(model, tmp_path, lost):
    pickled(model, load_file(TINY / "model.safetensors"))
    file = "pytorch_model-00002-of-00002.bin" if lost == "shard" else "pytorch_model.bin"
    index = json.dumps({"weight_map": {"one": file}})
    (model / "pytorch_model.bin.index.json").write_text(index)
    if lost == "shard":
        with pytest.raises(ButlerError, match=f"^the/base/{file} is missing, named in"):
            converted(model, tmp_path)
    else:
        out = shutil.copytree(model, tmp_path / "out")
        converted(model, out)
        with pytest.raises(ButlerError, match="lacks tensor one, named in"):
            check_model_folder(out, "the/base")


class Hostile:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


@pytest.mark.parametrize("kind", ["hostile", "nested", "cut"])
def test_a_pickle_of_more_than_tensors_is_not_run_nor_taken(model, tmp_path, kind):
    mark = tmp_path / "ran"
    content = {
        "hostile": {"a": Hostile(mark)},
        "nested": {"state_dict": {"a": torch.zeros(2)}},
        "cut": {"a": torch.zeros(200)},
    }[kind]
    pickled(model, content)
    if kind == "cut":
        truncate(model / "pytorch_model.bin")
    with pytest.raises(
        ButlerError, match="^the/base/pytorch_model.bin is no file of tensors alone"
    ):
        converted(model, tmp_path / "out")
    assert not mark.exists()
    if kind == "hostile":
        with pytest.raises(pickle.UnpicklingError):
            torch.load(model / "pytorch_model.bin", weights_only=True)
