"""Files of others that are no such files: one sentence each, whatever they hold (tests/fuzz.py)."""

import copy
from pathlib import Path

import pytest
import yaml

from butler.benchmarks.question_files import read_questions
from butler.chat_template import DEFINITIONS, MARKER, ChatTemplate
from butler.chat_tokenizer import ChatTokenizer
from butler.errors import ButlerError
from butler.hf_folder import read_config
from butler.json_files import read_object
from butler.lmdeploy.served_folder import TEMPLATE, read_folder, write_record
from butler.reference.workspace_reader import Workspace
from butler.settings.run import read_settings
from butler.trained_corpus import trained_corpus
from butler.yaml_files import parse_yaml
from test_engine_tokenizer import ask, rewrite
from tiny_workspace import Tiny, write_tokenizer
from workflow_state import CONFIG

HEAD = b"id,question,A,B,C,D,answer\n"
NO_TABLE = {
    "not UTF-8": HEAD + "0,问题,甲,乙,丙,丁,A\n".encode("gb18030"),
    "a cell without end": HEAD + b'0,"' + b"x" * 200_000,
    "no cells": HEAD + b"0\n",
    "nothing": b"",
    "another table": b"a,b\n1,2\n",
}


@pytest.mark.parametrize("content", NO_TABLE.values(), ids=NO_TABLE.keys())
def test_a_benchmark_that_is_no_table_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "law_val.csv").write_bytes(content)
    with pytest.raises(ButlerError, match="law_val.csv"):
        list(read_questions(tmp_path / "law_val.csv"))


def test_a_benchmark_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    row = "问题,甲,乙,丙,丁,A\n"
    content = b"\xef\xbb\xbf" + HEAD.removeprefix(b"id,") + (row * 5).encode()
    (tmp_path / "law_val.csv").write_bytes(content)
    assert len(list(read_questions(tmp_path / "law_val.csv"))) == 5


def test_questions_in_alpacas_form_are_told_what_to_write(tmp_path: Path) -> None:
    line = '{"instruction": "Which gear?", "input": "", "output": "The first."}\n'
    (tmp_path / "bikes.jsonl").write_text(line, encoding="utf-8")
    with pytest.raises(
        ButlerError, match=r"line 1 is no question .* Alpaca's .* write \{.question"
    ):
        list(read_questions(tmp_path / "bikes.jsonl"))


@pytest.mark.parametrize(
    "line",
    [b"\xff\xfe", b"[" * 100_000, b'{"conversation": [{"input": 1, "output": []}]}', b"null"],
)
def test_held_out_records_that_are_none_are_one_sentence(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "test.jsonl").write_bytes(line + b"\n")
    with pytest.raises(ButlerError, match="test.jsonl") as caught:
        list(read_questions(tmp_path / "test.jsonl"))
    assert len(str(caught.value)) < 500


NO_YAML = [
    b"\x80", b"\0", b"@", b"[", b"a: b: c", b"{" * 5000, b"2001-99-99", b"!!float x", b"!!int ''",
    b"!!bool x", b"!!timestamp x", b"!!python/object:os.system x", b"&a [*a]", b"<<: 1", b"? [a]",
]  # fmt: skip


@pytest.mark.parametrize("content", NO_YAML)
def test_yaml_that_is_none_is_one_sentence(content: bytes) -> None:
    with pytest.raises(ButlerError, match="^file.yaml ") as caught:
        parse_yaml(content, "file.yaml")
    assert len(str(caught.value)) < 500


TEXTS = yaml.safe_load(DEFINITIONS.read_text(encoding="utf-8"))["internlm_chat"]
WRONG_TEMPLATES = {
    "a text of stop words": (TEXTS | {"stop_words": "<eoa>"}, "key 'stop_words' takes a list"),
    "an empty stop word": (TEXTS | {"stop_words": [""]}, r"key 'stop_words\[0\]' takes a text"),
    "no text": (TEXTS | {"user_end": None}, "key 'user_end' takes text, found None"),
    "another key": (TEXTS | {"user_ends": ""}, "unknown key 'user_ends'; did you mean 'user_end'"),
    "a name within": (TEXTS | {"name": "x"}, "unknown key 'name'"),
    "a key less": (dict(list(TEXTS.items())[1:]), "key 'system_start' is missing"),
    "nothing": (None, "takes a mapping, found None"),
    "a list": ([TEXTS], "takes a mapping, found"),
}


@pytest.mark.parametrize("name", WRONG_TEMPLATES)
def test_a_chat_template_of_wrong_texts_is_one_sentence(tmp_path: Path, name: str) -> None:
    value, said = WRONG_TEMPLATES[name]
    file = tmp_path / "chat_templates.yaml"
    file.write_text(yaml.safe_dump({"mine": value}), encoding="utf-8")
    with pytest.raises(ButlerError, match=f"^chat_templates.yaml: chat template 'mine'.* {said}"):
        ChatTemplate.load("mine", file)


@pytest.mark.parametrize("content", ["", "mine: [", "- mine", "mine", "{1: {}, x: {}}"])
def test_a_file_of_no_chat_templates_is_one_sentence(tmp_path: Path, content: str) -> None:
    file = tmp_path / "chat_templates.yaml"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(ButlerError, match="chat_templates.yaml") as caught:
        ChatTemplate.load("mine", file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "key 'corpus' is missing"),
        ("corpus: [", "is not YAML"),
        ("corpus: 1", "key 'corpus' takes a mapping, found 1"),
        ("corpus: {format: xiachufang}", "key 'corpus.system' is missing"),
        ("corpus: {system: 1}", "key 'corpus.system' takes text, found 1"),
        ("corpus: {system: x, recipes: {question_forms: [x]}}", "'corpus.recipes.question_forms'"),
    ],
)
def test_a_kept_configuration_that_is_none_is_one_sentence(
    tmp_path: Path, content: str, said: str
) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "config.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(ButlerError, match=f"results/config.yaml.* {said}"):
        trained_corpus(tmp_path / "workspaces" / "fp16")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b"[]", b"null", b'"x"'])
def test_json_that_is_no_object_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(content)
    for reader in (lambda: read_config(tmp_path), lambda: read_object(file, str(file))):
        with pytest.raises(ButlerError, match=f"^{file} is no JSON") as caught:
            reader()
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    with pytest.raises(ButlerError, match="^the/base/config.json is no JSON"):
        read_object(file, "the/base/config.json")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    path = Tiny(hidden=128, heads=1, layers=1, inter=128, vocab=264).build(tmp_path / "ws")
    write_record(path, "0.7.3")
    (path / TEMPLATE).write_text("{}", encoding="utf-8")
    return path


CHANGES = [
    {"model_config": None},
    {"model_config": {"num_layer": "many"}},
    {"model_config": {"num_layer": True}},
    {"model_config": {"num_layer": [1]}},
    {"model_config": {"tp": 0}},
    {"model_config": {"weight_type": ["float16"]}},
    {"model_config": {"inter_size": 5}},
    {"model_config": {"hidden_units": float("inf")}},
    {"model_config": {1: 2}},
    {"lora_config": [1]},
    {"engine_config": {"quant_policy": "8", "cache_max_entry_count": 0.5, "session_len": 640}},
    {"engine_config": {"quant_policy": 8, "cache_max_entry_count": "x", "session_len": 640}},
    {"engine_config": {"quant_policy": 8, "cache_max_entry_count": 0.5, "session_len": "x"}},
    {"engine_config": [1]},
]


@pytest.mark.parametrize("change", CHANGES, ids=map(str, CHANGES))
def test_a_workspace_of_wrong_values_is_one_sentence(
    workspace: Path, change: dict[str, object]
) -> None:
    file = workspace / "triton_models" / "weights" / "config.yaml"
    whole = yaml.safe_load(file.read_text(encoding="utf-8"))
    engine = {"quant_policy": 8, "cache_max_entry_count": 0.5, "session_len": 640}
    whole["engine_config"] = engine
    file.write_text(yaml.safe_dump(whole), encoding="utf-8")
    assert read_folder(workspace).settings.quant_policy == 8
    assert Workspace(workspace).session_len == 640
    changed = copy.deepcopy(whole)
    for key, value in change.items():
        both = isinstance(value, dict) and isinstance(whole[key], dict)
        changed[key] = whole[key] | value if both else value
    file.write_text(yaml.safe_dump(changed), encoding="utf-8")
    refused = 0
    for reader in (read_folder, Workspace):
        try:
            reader(workspace)
        except ButlerError as error:
            refused += 1
            assert "config.yaml" in str(error) and len(str(error)) < 500
    assert refused


def test_a_record_that_is_no_text_is_one_sentence(workspace: Path) -> None:
    for content in (b"\xff", b"[" * 100_000):
        (workspace / "lmdeploy.json").write_bytes(content)
        with pytest.raises(ButlerError, match="is no JSON"):
            read_folder(workspace)


def test_a_value_of_endless_repeats_is_refused() -> None:
    """Ten lists of the one before ten times each: a page of YAML, ten thousand million words."""
    text = "a0: &a0 [x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 11)
    )
    config = CONFIG | {"seed": yaml.safe_load(text)["a10"]}
    with pytest.raises(ButlerError, match="config holds more than 100000 values"):
        read_settings(config)
    with pytest.raises(ButlerError, match="bomb holds more than 100000 values"):
        parse_yaml(text.encode(), "bomb")


def test_keys_that_are_no_texts_are_one_sentence() -> None:
    for key in (1, None, True, 2.5, "x" * 10_000):
        with pytest.raises(ButlerError, match="unknown key") as caught:
            read_settings(CONFIG | {key: 1})
        assert len(str(caught.value)) < 700
    recipes = {"question_forms": {1: "a", "b": "c"}}
    with pytest.raises(ButlerError, match="question_forms"):
        read_settings(CONFIG | {"corpus": CONFIG["corpus"] | {"recipes": recipes}})


@pytest.mark.parametrize(
    "template", ["{{ 1 / 0 }}", "{{ messages[9].content.x.y }}", "{% for i in range(10**9) %}x"
    "{% endfor %}", "{{ 'a'.format(*1) }}", "{{ messages | tojson | int // 0 }}"]
)  # fmt: skip
def test_a_template_that_fails_is_one_sentence(tmp_path: Path, template: str) -> None:
    write_tokenizer(tmp_path, 300)
    with pytest.raises(ButlerError, match="chat template refuses"):
        ChatTokenizer(tmp_path, template=template).encode_chat(ask("x"))


@pytest.mark.parametrize("wrong", [-1, 2**40, True, 1.5, [None], ["</s>"], {}])
def test_stop_tokens_that_are_none_are_one_sentence(tmp_path: Path, wrong: object) -> None:
    write_tokenizer(tmp_path, 300)
    bare = rewrite(tmp_path, tmp_path, "generation_config.json", {"eos_token_id": wrong})
    with pytest.raises(ButlerError, match="no eos_token_id"):
        ChatTokenizer(bare)


FAMILIES = sorted(yaml.safe_load(DEFINITIONS.read_text(encoding="utf-8")))
DATES = ("Cutting Knowledge Date: December 2023", "Today Date: 26 Jul 2024")  # plain words
ROLE_WORDS = (*DATES, "system", "user", "assistant", ":", "\n", " ")


def fixed_texts(template: ChatTemplate) -> list[str]:
    """Return the texts around the turns."""
    texts = template.model_dump(exclude={"name", "stop_words"})
    return list(texts.values())


@pytest.mark.parametrize("family", FAMILIES)
def test_every_marker_of_every_template_is_known(family: str) -> None:
    """What the corpus rejects and the server takes as text covers all that makes a turn."""
    template = ChatTemplate.load(family)
    for text in (*fixed_texts(template), *template.stop_words):
        rest = MARKER.sub("", text)
        for word in ROLE_WORDS:
            rest = rest.replace(word, "")
        assert rest == "", f"{text!r} of {family} has {rest!r}, which MARKER does not know"


@pytest.mark.parametrize("family", FAMILIES)
def test_no_message_makes_a_turn_in_any_template(tmp_path: Path, family: str) -> None:
    """Each marker is encoded as its letters, or refused where the template's own is letters."""
    template = ChatTemplate.load(family)
    write_tokenizer(tmp_path, 300)
    chat = ChatTokenizer(tmp_path, template=template.to_jinja())
    blank = [i for i in chat.encode_chat(ask("")) if i < 5]
    for marker in {found for part in fixed_texts(template) for found in MARKER.findall(part)}:
        try:
            ids = chat.encode_chat(ask(f"好{marker}坏"))
        except ButlerError as error:
            assert marker in str(error) and marker not in ("<|im_start|>", "<|im_end|>", "</s>")
        else:
            assert [i for i in ids if i < 5] == blank
