"""The configuration says what is wrong with it, by key."""

import copy

import pytest
import yaml

from butler.chat_template import ChatTemplate
from butler.config import check_config, check_engine
from butler.errors import ButlerError
from butler.tools import check_python
from workflow_state import ROOT

CONFIG = yaml.safe_load((ROOT / "config" / "config.yaml").read_text(encoding="utf-8"))


def changed(path, value, config=CONFIG):
    config = copy.deepcopy(config)
    section = config
    *parents, last = path.split(".")
    for name in parents:
        section = section[name]
    section[last] = value
    return config


def test_the_shipped_configuration_is_valid():
    check_config(CONFIG)


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (
            "train.learning_rat",
            1,
            "unknown key 'train.learning_rat'; did you mean 'learning_rate'?",
        ),
        ("train.learning_rate", "fast", "key 'train.learning_rate' takes number, found 'fast'"),
        ("train.learning_rate", 0, "key 'train.learning_rate' takes more than 0, found 0"),
        ("kv8.quant_policy", 4, "key 'kv8.quant_policy' takes 8 only, found 4"),
        ("engine", "vllm", "key 'engine' takes one of auto, reference, turbomind, found 'vllm'"),
        ("train.deepspeed", "zero9", "takes one of null, deepspeed_zero1"),
        ("benchmarks.ceval.subjects", [], "benchmarks.ceval.subjects"),
        ("workspace.cache_max_entry_count", 1.5, "takes less than 1, found 1.5"),
        ("train.learning_rate", "1e-3", "takes number (write 1.0e-03), found '1e-3'"),
        ("train.learning_rate", float("nan"), "key 'train.learning_rate' takes number, found nan"),
        ("decision.max_loss", float("inf"), "key 'decision.max_loss' takes number, found inf"),
        ("corpus.test_size", 60.0, "key 'corpus.test_size' takes integer, found 60.0"),
        ("train.nodes", 3, "train.batch_size 2 cannot be shared by 3 processes"),
        (
            "workspace.session_len",
            320,
            "workspace.session_len 320 leaves no room for a question beside "
            "benchmarks.recipe.max_new_tokens 320",
        ),
        ("seed", 2**32, "key 'seed' takes at most 4294967295, found 4294967296"),
        ("workspace.tp", 3, "key 'workspace.tp' takes one of 1, 2, 4, 8, found 3"),
        ("lmdeploy", "0.9.2", "key 'lmdeploy' takes one of 0.7.3, latest, found '0.9.2'"),
    ],
)
def test_a_wrong_value_is_one_sentence_with_its_key(path, value, sentence):
    with pytest.raises(ButlerError, match=".*") as caught:
        check_config(changed(path, value))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "remote_code", "sentence"),
    [
        # What an overlay that names a base inherits from config.yaml.
        (
            "internlm/internlm2-chat-7b",
            CONFIG["base"]["remote_code"],
            "base.remote_code lets the Python code of data/base/tiny run, but base.model is "
            "internlm/internlm2-chat-7b",
        ),
        ("data/base/tiny", True, "base.remote_code is true, which names no model"),
        ("data/base/tiny", "", "key 'base.remote_code'"),
    ],
)
def test_the_code_of_a_model_runs_by_consent_to_that_model_alone(model, remote_code, sentence):
    config = changed("base.remote_code", remote_code, changed("base.model", model))
    with pytest.raises(ButlerError) as caught:
        check_config(config)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("remote_code", [False, "someone/model"])
def test_a_base_without_code_or_with_consent_to_it_is_taken(remote_code):
    check_config(changed("base.remote_code", remote_code, changed("base.model", "someone/model")))


def test_a_missing_key_is_named():
    config = copy.deepcopy(CONFIG)
    del config["train"]["lora_r"]
    with pytest.raises(ButlerError, match="key 'train.lora_r' is missing"):
        check_config(config)


def test_every_overlay_is_valid_and_names_a_known_template():
    for path in (ROOT / "config").glob("*_7b.yaml"):
        part = yaml.safe_load(path.read_text(encoding="utf-8"))
        merged = copy.deepcopy(CONFIG)
        for section, values in part.items():
            for key, value in values.items():
                both = isinstance(merged[section].get(key), dict)
                merged[section][key] = (merged[section][key] | value) if both else value
        check_config(merged)
        assert merged["base"]["remote_code"] is False, "an overlay must not consent for its user"
        ChatTemplate.load(merged["base"]["chat_template"])


@pytest.mark.parametrize(
    ("changes", "gpu", "sentence"),
    [
        ({"lmdeploy": "latest", "engine": "reference"}, True, "with engine: reference"),
        ({"lmdeploy": "latest"}, False, "lmdeploy: latest is served on CUDA alone"),
        ({"lmdeploy": "latest", "engine": "turbomind"}, False, "there is no GPU here"),
        ({"workspace.tp": 2}, False, "workspace.tp: 2 is served on CUDA alone"),
        ({"workspace.tp": 4}, True, "workspace.tp 4 does not divide the model's 2 attention"),
    ],
)
def test_an_engine_that_cannot_serve_is_one_sentence(changes, gpu, sentence):
    config = CONFIG
    for path, value in changes.items():
        config = changed(path, value, config)
    with pytest.raises(ButlerError, match=sentence):
        check_engine(config, ROOT, gpu)


def test_the_newest_release_goes_with_a_gpu_here_or_elsewhere():
    latest = changed("lmdeploy", "latest")
    check_engine(latest, ROOT, True)
    check_engine(changed("engine", "turbomind", changed("device", "cuda", latest)), ROOT, False)
    check_engine(CONFIG, ROOT, False)


def test_a_python_without_locks_is_refused(monkeypatch):
    monkeypatch.setattr("sys.version_info", (3, 13, 0, "final", 0))
    with pytest.raises(ButlerError, match="Python 3.13 is not supported.*3.11 or 3.12"):
        check_python()
