"""The configuration says what is wrong with it, by key, before the first job."""

import copy
import json
import shutil

import pytest

import write_config
from butler.errors import ButlerError
from butler.settings.corpus_stage import CorpusSettings
from butler.settings.cross_checks import check_device, check_run
from butler.settings.overlays import joined
from butler.settings.run import Settings, read_settings
from butler.settings.training_stage import TrainSettings
from workflow_state import CONFIG, ROOT

KITCHEN = {"name": "kitchen", "kind": "qa", "max_new_tokens": 32}


def changed(path, value, config=CONFIG):
    config = copy.deepcopy(config)
    section = config
    *parents, last = path.split(".")
    for name in parents:
        section = section[int(name) if name.isdigit() else name]
    section[last] = value
    return config


def refused(config, gpu=False, repository=ROOT):
    """Return the one sentence that a run of this configuration ends with, before its first job."""
    with pytest.raises(ButlerError) as caught:
        check_run(read_settings(config), repository, gpu)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_shipped_configuration_is_valid():
    check_run(read_settings(CONFIG), ROOT, gpu=False)


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("overlay", "did you mean 'overlays'?"),
        ("scenario", "did you mean 'scenarios'?"),
        ("vllm", "lmdeploy, overlays, report, scenarios, seed, train"),
        # In a file that --config names there are no scenarios.
        ("scenarios", "lmdeploy, overlays, report, seed, train"),
    ],
)
def test_an_unknown_key_is_told_with_those_that_name_files(key, told):
    with pytest.raises(ButlerError, match=f"unknown key '{key}'") as caught:
        read_settings(CONFIG | {key: "mine.yaml"}, ("overlays", "scenarios"))
    assert told in str(caught.value)


def test_what_names_files_is_no_key_of_a_section():
    with pytest.raises(ButlerError, match="known here: ") as caught:
        read_settings(changed("awq.overlay", 1), ("overlays", "scenarios"))
    assert "overlays" not in str(caught.value)


@pytest.mark.parametrize("name", write_config.FILES)
def test_the_shipped_files_are_what_the_typed_settings_make(name):
    shipped = (ROOT / name).read_text(encoding="utf-8")
    assert shipped == write_config.FILES[name](), "run workflow/scripts/write_config.py"


def test_the_shipped_configuration_is_every_default():
    assert read_settings(CONFIG) == Settings()


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
        ("engine", "vllm", "key 'engine' takes one of auto, reference, lmdeploy, found 'vllm'"),
        ("train.deepspeed", "zero9", "takes one of deepspeed_zero1, deepspeed_zero2"),
        ("benchmarks.0.parts", [], "key 'benchmarks[0].parts' takes at least 1 of them, found []"),
        ("workspace.cache_max_entry_count", 1.5, "takes less than 1, found 1.5"),
        ("train.learning_rate", "1e-3", "takes number (write 1.0e-03), found '1e-3'"),
        ("train.learning_rate", float("nan"), "key 'train.learning_rate' takes number, found nan"),
        # A score can lose no more than 100 points, and nothing shows that it loses none.
        ("decision.max_loss", 100.0, "key 'decision.max_loss' takes less than 100, found 100.0"),
        ("decision.max_loss", 0, "key 'decision.max_loss' takes more than 0, found 0"),
        ("decision.max_loss", float("inf"), "key 'decision.max_loss' takes number, found inf"),
        ("corpus.test_size", 60.0, "key 'corpus.test_size' takes integer, found 60.0"),
        ("seed", 2**32, "key 'seed' takes at most 4294967295, found 4294967296"),
        ("workspace.tp", 3, "key 'workspace.tp' takes one of 1, 2, 4, 8, found 3"),
        ("lmdeploy", "0.9.2", "key 'lmdeploy' takes one of 0.7.3, latest, found '0.9.2'"),
        ("train", 3, "key 'train' takes a mapping, found 3"),
        ("benchmarks", {"ceval": {}}, "key 'benchmarks' takes a list, found {'ceval': {}}"),
        ("benchmarks", [], "key 'benchmarks' takes at least 1 of them, found []"),
        ("benchmarks.1.kind", "receipt", "key 'benchmarks[1].kind' takes one of"),
        ("benchmarks.0.datset", "x", "unknown key 'benchmarks[0].datset'; did you mean 'dataset'?"),
        # 0 meant all; it is no number of questions.
        ("benchmarks.1.questions", 0, "key 'benchmarks[1].questions' takes at least 1, found 0"),
        ("benchmarks", [KITCHEN, KITCHEN], "benchmarks has kitchen twice"),
        ("benchmarks.1.name", "divergence", "takes another name than divergence"),
        ("variants", ["fp16", "kv9"], "key 'variants[1]' takes one of fp16, kv8, kv4, kvfp8, w4"),
        ("variants", ["kv8"], "variants lacks fp16, which the others are compared with; add it"),
        ("variants", ["fp16", "w4", "w4"], "variants has w4 twice"),
        ("corpus.language", "fr", "key 'corpus.language' takes one of zh, en, found 'fr'"),
        (
            "corpus.near_duplicates.threshold",
            0.05,
            "key 'corpus.near_duplicates.threshold' takes 0 or from 0.1 to 1, found 0.05",
        ),
        ("corpus.min_chars", 500, "corpus.max_chars 400 is below corpus.min_chars 500"),
        ("corpus.sample", 60, "corpus.sample 60 is not above corpus.test_size 60"),
        ("checks.kv_nll", {"int3": 1.0}, "checks.kv_nll.int3 is of no quantised KV cache"),
        ("base.chat_template", "chatml9", "chat template 'chatml9' is not in chat_templates.yaml"),
        ("train.nodes", 3, "train.batch_size 2 cannot be shared by 3 processes"),
        (
            "workspace.session_len",
            320,
            "workspace.session_len 320 leaves no room for a question beside max_new_tokens 320 of "
            "benchmark recipe",
        ),
        (
            "efficiency.prompt_tokens",
            4096,
            "efficiency.prompt_tokens 4096 and efficiency.new_tokens 64 exceed the session of 2048 "
            "tokens; lower them or raise workspace.session_len",
        ),
        (
            "benchmarks.1.questions",
            200,
            "benchmark recipe asks 200 questions, but corpus.test_size holds out 60 records",
        ),
        ("benchmarks.0.path", "data/nowhere", "data/nowhere"),
        (
            "corpus.path",
            "my {recipes}.jsonl",
            "key 'corpus.path' 'my {recipes}.jsonl' holds a brace",
        ),
        ("corpus.path", "data/nowhere.jsonl", "corpus.path data/nowhere.jsonl is neither a file"),
        (
            "corpus.format",
            "alpaca",
            f"corpus.format is alpaca, but the first 20 records of {ROOT}/data/demo/recipes.jsonl "
            "fit xiachufang; set corpus.format: xiachufang",
        ),
        (
            "base",
            {"model": "nowhere", "remote_code": False},
            "base.model nowhere is neither a folder nor a hub id",
        ),
        ("engine", "lmdeploy", "engine: lmdeploy is served on CUDA alone and there is no GPU"),
    ],
)
def test_what_cannot_work_is_one_sentence_before_the_first_job(path, value, sentence):
    assert sentence in refused(changed(path, value))


def test_a_job_that_is_to_use_a_gpu_finds_one():
    settings = read_settings(changed("device", "cuda"))
    check_device(settings, gpu=True)
    with pytest.raises(ButlerError, match="device is cuda and there is no CUDA GPU here"):
        check_device(settings, gpu=False)


@pytest.fixture
def base(tmp_path):
    """A base model of the user's own, beside the repository."""
    folder = tmp_path / "my base"
    shutil.copytree(ROOT / "data" / "base" / "tiny", folder)
    return folder


def with_base(folder, **more):
    named = {"model": str(folder), "remote_code": str(folder)}
    return joined(CONFIG, {"base": named}, more)


def test_a_base_without_a_tokenizer_is_named_by_its_own_path(base):
    for path in base.glob("token*"):
        path.unlink()
    sentence = refused(with_base(base))
    assert str(base) in sentence and "tokenizer" in sentence


def test_a_base_whose_layers_are_no_whole_groups_is_refused_where_weights_are_quantised(base):
    path = base / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(config | {"intermediate_size": 200}), encoding="utf-8")
    sentence = refused(with_base(base))
    assert str(base) in sentence and "intermediate_size 200" in sentence
    assert "awq.group_size 128" in sentence
    check_run(read_settings(with_base(base, variants=["fp16", "kv8"])), ROOT, gpu=False)


@pytest.mark.parametrize(
    ("model", "remote_code", "sentence"),
    [
        # What an overlay that names a base inherits from config.yaml.
        (
            "internlm/internlm2-chat-7b",
            CONFIG["base"]["remote_code"],
            "base.remote_code lets the Python code of data/base/tiny be loaded, but base.model is "
            "internlm/internlm2-chat-7b",
        ),
        ("data/base/tiny", True, "base.remote_code is true, which names no model"),
        ("data/base/tiny", "", "key 'base.remote_code'"),
    ],
)
def test_the_code_of_a_model_runs_by_consent_to_that_model_alone(model, remote_code, sentence):
    config = changed("base.remote_code", remote_code, changed("base.model", model))
    assert sentence in refused(config)


def test_pickled_weights_are_read_by_consent_to_that_model_alone():
    hub = {"model": "someone/model", "revision": "0" * 40, "remote_code": False}
    check_run(read_settings(joined(CONFIG, {"base": hub | {"pickles": hub["model"]}})), ROOT, False)
    for consent, sentence in (
        (True, "base.pickles is true, which names no model"),
        ("other/model", "base.pickles lets the pickled weights of other/model be loaded, but"),
    ):
        assert sentence in refused(joined(CONFIG, {"base": hub | {"pickles": consent}}))


@pytest.mark.parametrize(
    ("hub", "revision", "sentence"),
    [
        ("huggingface", "0" * 40, None),
        ("huggingface", "v1.0.0", "base.revision v1.0.0 is no commit, which has 40 digits"),
        ("modelscope", "0" * 40, None),
        ("modelscope", "v1.0.0", None),
        ("modelscope", "a b", "key 'base.revision'"),
        ("github", "0" * 40, "key 'base.hub'"),
    ],
)
def test_a_revision_of_a_hub_is_one_that_does_not_move(hub, revision, sentence):
    base = {"model": "someone/model", "remote_code": False, "hub": hub, "revision": revision}
    config = joined(CONFIG, {"base": base})
    if sentence is None:
        check_run(read_settings(config), ROOT, gpu=False)
    else:
        assert sentence in refused(config)


def test_a_bases_family_says_what_trains_it(tmp_path):
    hub = {"model": "someone/model", "remote_code": False, "revision": "0" * 40}
    for base, trainer in (
        ({}, "xtuner"),
        (hub, "xtuner"),
        (hub | {"architecture": "LlamaForCausalLM"}, "xtuner"),
        (hub | {"architecture": "Qwen3ForCausalLM"}, "xtuner-qwen3"),
    ):
        assert read_settings(joined(CONFIG, {"base": base})).tools(ROOT)[0] == trainer
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"architectures": ["Qwen3ForCausalLM"]}')
    local = {"model": str(tmp_path / "model"), "remote_code": False}
    assert read_settings({"base": local}).tools(ROOT)[0] == "xtuner-qwen3"
    wrong = read_settings({"base": local | {"architecture": "Qwen2ForCausalLM"}})
    with pytest.raises(ButlerError, match="base.architecture is Qwen2.* names Qwen3ForCausalLM"):
        wrong.tools(ROOT)


@pytest.mark.parametrize("remote_code", [False, "someone/model"])
def test_a_base_without_code_or_with_consent_to_it_is_taken(remote_code):
    hub = {"model": "someone/model", "remote_code": remote_code, "revision": "0" * 40}
    check_run(read_settings(joined(CONFIG, {"base": hub})), ROOT, gpu=False)


def test_a_hubs_base_whose_norms_are_not_served_is_refused_before_the_first_job():
    hub = {"model": "Qwen/Qwen3-8B", "remote_code": False, "revision": "0" * 40}
    hub |= {"chat_template": "qwen3_chat", "architecture": "Qwen3ForCausalLM"}
    run = joined(CONFIG, {"base": hub, "lmdeploy": "0.7.3"})
    with pytest.raises(ButlerError, match="^config: base.architecture .* set lmdeploy: latest, or"):
        check_run(read_settings(run), ROOT, gpu=False)
    check_run(read_settings(run | {"engine": "reference"}), ROOT, gpu=False)
    latest = {"lmdeploy": "latest", "engine": "lmdeploy", "device": "cuda"}
    check_run(read_settings(run | latest), ROOT, gpu=False)


def test_what_is_left_out_has_its_default():
    assert read_settings({"train": {"lora_r": 8}}) == read_settings(changed("train.lora_r", 8))


def test_a_script_takes_its_own_slice_and_refuses_what_the_configuration_would(tmp_path):
    path = tmp_path / "train.yaml"
    path.write_text("lora_r: 8\n", encoding="utf-8")
    assert TrainSettings.from_argument(str(path)) == TrainSettings.from_argument('{"lora_r": 8}')
    assert TrainSettings.from_argument(TrainSettings(lora_r=8).to_argument()).lora_r == 8
    small = TrainSettings(learning_rate=2e-5)  # JSON's 2e-05, which YAML takes for a text
    assert TrainSettings.from_argument(small.to_argument()) == small
    with pytest.raises(ButlerError, match="key 'lora_r' takes at least 1, found 0"):
        TrainSettings.from_argument('{"lora_r": 0}')
    with pytest.raises(ButlerError, match="--rule is not JSON"):
        TrainSettings.from_argument('{"lora_r": ', "--rule")


def test_the_forms_of_questions_reach_the_script_in_the_order_given():
    forms = {"怎么做": 1.0, "的做法": 2.0}  # another order draws other questions
    given = CorpusSettings(recipes={"question_forms": forms}).to_argument()
    assert list(CorpusSettings.from_argument(given).recipes.question_forms) == list(forms)


@pytest.mark.parametrize(
    ("changes", "gpu", "sentence"),
    [
        ({"lmdeploy": "latest", "engine": "reference"}, True, "with engine: reference"),
        ({"lmdeploy": "latest"}, False, "lmdeploy: latest is served on CUDA alone"),
        ({"lmdeploy": "latest", "device": "cpu"}, True, "with device: cpu the reference engine"),
        ({"lmdeploy": "latest", "engine": "lmdeploy"}, False, "there is no GPU here"),
        (
            {"engine": "lmdeploy", "device": "cpu"},
            True,
            "engine: lmdeploy serves on a GPU",
        ),
        ({"workspace.tp": 2}, False, "workspace.tp: 2 is served on CUDA alone"),
        ({"workspace.tp": 4}, True, "workspace.tp 4 does not divide the model's 2 attention"),
        (
            {"lmdeploy": "latest", "variants": ["fp16", "kvfp8"], "workspace.tp": 2}
            | {"base.model": "a/b", "base.revision": "0" * 40, "base.remote_code": False},
            True,
            "kvfp8 runs in LMDeploy's PyTorch engine, which was not tried here on several GPUs",
        ),
    ],
)
def test_an_engine_that_cannot_serve_is_one_sentence(changes, gpu, sentence):
    config = CONFIG
    for path, value in changes.items():
        config = changed(path, value, config)
    assert sentence in refused(config, gpu)


def test_the_newest_release_goes_with_a_gpu_here_or_elsewhere():
    latest = changed("lmdeploy", "latest")
    check_run(read_settings(latest), ROOT, gpu=True)
    elsewhere = changed("engine", "lmdeploy", changed("device", "cuda", latest))
    check_run(read_settings(elsewhere), ROOT, gpu=False)
    check_run(read_settings(changed("device", "cuda", latest)), ROOT, gpu=False)


TARGET = {"requests": 64, "first_token_p90_s": 1.0}


@pytest.mark.parametrize("engine", ["auto", "reference"])
@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("decision.prefer", "speed", "decision.prefer: speed goes by LMDeploy's speed on a GPU"),
        ("decision.target", TARGET, "decision.target goes by LMDeploy's speed on a GPU"),
    ],
)
def test_a_rule_that_goes_by_speed_needs_the_engine_that_shows_it(engine, key, value, told):
    config = changed(key, value, changed("engine", engine))
    sentence = refused(config)
    assert told in sentence and "engine: lmdeploy and device: cuda" in sentence
    if engine == "auto":
        check_run(read_settings(config), ROOT, gpu=True)
    else:
        assert told in refused(config, gpu=True)
    elsewhere = changed("engine", "lmdeploy", changed("device", "cuda", config))
    check_run(read_settings(elsewhere), ROOT, gpu=False)


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        (
            {"requests": 32, "first_token_p90_s": 1.0},
            "decision.target.requests 32 is not in efficiency.concurrency [1, 64, 256]",
        ),
        ({"requests": 64}, "decision.target promises nothing; set its first_token_p90_s"),
        ({"first_token_p90_s": 1.0}, "key 'decision.target.requests' is missing"),
        (
            TARGET | {"first_token_p99_s": 1.0},
            "unknown key 'decision.target.first_token_p99_s'; did you mean 'first_token_p90_s'?",
        ),
        (TARGET | {"between_tokens_p90_s": 0}, "between_tokens_p90_s' takes more than 0, found 0"),
    ],
)
def test_a_target_that_nothing_is_measured_for_is_one_sentence(target, sentence):
    assert sentence in refused(changed("decision.target", target), gpu=True)
