"""The adapter to LMDeploy: what it reads of a folder, its command lines, and what it refuses."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

pytest.importorskip("torch")

import serve
from butler.efficiency.measure_engine import measure
from butler.errors import ButlerError
from butler.files import atomic_write_json
from butler.lmdeploy import guards
from butler.lmdeploy.commands import Request, command, environment
from butler.lmdeploy.engine_likelihood import LmdeployServer, likelihoods
from butler.lmdeploy.engine_settings import EngineSettings
from butler.lmdeploy.release import RELEASES, check_installed, kv_scheme, release_of
from butler.lmdeploy.served_folder import ModelShape, read_folder, write_record
from butler.manifest import write_manifest
from butler.schemes import KV_CACHES
from butler.settings.judging_stage import EfficiencySettings
from real_tools import SCRIPTS, python_of, script
from tiny_workspace import Tiny

SETTINGS = {"quant_policy": 8, "cache_max_entry_count": 0.4, "session_len": 320}
REQUEST = Request("api", "recipes", "127.0.0.1", 9, 1, 320, 16)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    path = Tiny(layers=1).build(tmp_path / "kv8", **SETTINGS)
    (path / "chat_template.json").write_text("{}")
    write_record(path, "0.7.3")
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "awq"
    path.mkdir()
    config = {"num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 2}
    atomic_write_json(path / "config.json", config | {"hidden_size": 1024, "vocab_size": 300})
    (path / "pytorch_model.bin").write_bytes(bytes(1000))
    (path / "chat_template.json").write_text("{}")
    write_record(path, "0.18.0", EngineSettings(**SETTINGS))
    write_manifest(path)
    return path


def edit_settings(workspace: Path, **changes: object) -> None:
    """Change the engine's settings of a workspace; None takes a key away."""
    path = workspace / "triton_models" / "weights" / "config.yaml"
    config = yaml.safe_load(path.read_text())
    changed = config["engine_config"] | changes
    config["engine_config"] = {key: value for key, value in changed.items() if value is not None}
    path.write_text(yaml.safe_dump(config))


def test_a_workspace_and_a_model_folder_are_read_alike(workspace: Path, model: Path) -> None:
    for path, release, tp in ((workspace, "0.7.3", 1), (model, "latest", None)):
        folder = read_folder(path)
        assert (folder.release.name, folder.tp) == (release, tp)
        assert folder.settings == EngineSettings(**SETTINGS)
        assert folder.vocab == 300
    assert folder.shape == ModelShape(layers=4, heads=8, kv_heads=2, head_dim=128)
    assert folder.weight_bytes == 1000


def test_a_model_folder_without_a_size_is_refused(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    del config["hidden_size"]
    atomic_write_json(model / "config.json", config)
    with pytest.raises(ButlerError, match="config.json has no 'hidden_size'"):
        read_folder(model)


@pytest.mark.parametrize("version", ["0.7.2", "0.8.0", "0.9.2.post1", "0.6.5"])
def test_a_workspace_of_another_version_is_refused(workspace: Path, version: str) -> None:
    write_record(workspace, version)
    with pytest.raises(ButlerError, match=f"LMDeploy {version} is no release that is served here"):
        read_folder(workspace)


def test_a_workspace_on_record_for_a_release_without_them_is_refused(workspace: Path) -> None:
    write_record(workspace, "0.18.0")
    with pytest.raises(ButlerError, match="is a TurboMind workspace, but LMDeploy 0.18.0"):
        read_folder(workspace)


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        ("lmdeploy.json", "not on record which LMDeploy"),
        ("chat_template.json", "would guess the chat template"),
    ],
)
def test_a_folder_without_its_papers_is_refused(workspace: Path, file: str, sentence: str) -> None:
    (workspace / file).unlink()
    with pytest.raises(ButlerError, match=sentence):
        read_folder(workspace)


@pytest.mark.parametrize(
    ("version", "policies"),
    [
        ("0.3.0", {0: "fp16", 4: "int8"}),
        ("0.7.3", {0: "fp16", 8: "int8", 4: "int4"}),
        ("0.18.0", {0: "fp16", 8: "int8", 4: "int4", 16: "fp8"}),
    ],
)
def test_the_meaning_of_quant_policy_goes_by_version(
    version: str, policies: dict[int, str]
) -> None:
    assert {policy: kv_scheme(policy, version).name for policy in policies} == policies
    choice = ", ".join(f"{policy} ({name})" for policy, name in policies.items())
    for policy in {8, 42} - set(policies):
        with pytest.raises(ButlerError) as refused:
            kv_scheme(policy, version)
        said = f"quant_policy {policy} means nothing to LMDeploy {version}; write one of {choice}"
        assert str(refused.value) == said


def test_the_installed_release_must_be_the_folders() -> None:
    old, latest = RELEASES["0.7.3"], RELEASES["latest"]
    check_installed(old, "0.7.3")
    check_installed(latest, "0.19.1")
    for release, installed in ((old, "0.9.2"), (old, "0.18.0"), (latest, "0.7.3")):
        with pytest.raises(ButlerError, match=f"run with .envs/{release.tool}/bin/python"):
            check_installed(release, installed)
    with pytest.raises(ButlerError, match="lmdeploy is not installed here"):
        check_installed(old, None)
    assert release_of("0.7.3") is old


@pytest.mark.parametrize(
    ("tp", "shape", "sentence"),
    [
        (3, ModelShape(1, 12, 12, 128), "takes 1, 2, 4, 8"),
        (8, ModelShape(1, 28, 4, 128), "8 does not divide the model's 28 attention heads"),
        (4, ModelShape(1, 24, 6, 128), "4 does not divide the model's 6 key-value heads"),
    ],
)
def test_gpus_must_divide_the_heads(tp: int, shape: ModelShape, sentence: str) -> None:
    with pytest.raises(ButlerError, match=sentence):
        guards.check_split(tp, shape)


def test_a_workspace_keeps_the_split_that_it_was_made_for(workspace: Path, model: Path) -> None:
    with pytest.raises(ButlerError, match=r"--tp 2 is not what .* was converted for \(1\)"):
        guards.resolve_tp(read_folder(workspace), 2)
    assert guards.resolve_tp(read_folder(workspace), None) == 1
    assert guards.resolve_tp(read_folder(model), 2) == 2


def test_turbomind_is_given_no_workspace_of_which_it_leaves_norms_out(tmp_path: Path) -> None:
    path = Tiny(layers=1, qk_norm=True).build(tmp_path / "qwen3", **SETTINGS)
    (path / "chat_template.json").write_text("{}")
    write_record(path, "0.7.3")
    server = LmdeployServer(RELEASES["0.7.3"], sys.executable, 1, False, 1)
    for start in (
        lambda: guards.check_machine(read_folder(path), 1, 64),
        lambda: measure(path, EfficiencySettings()),
        lambda: likelihoods(server, path, [[1, 2]], 0),
    ):
        with pytest.raises(ButlerError, match="has norms .* 0.7.3 does not load .* --engine ref"):
            start()


def test_gpus_that_are_not_there_are_missed() -> None:
    with pytest.raises(ButlerError, match="TurboMind needs a CUDA GPU and torch finds none here"):
        guards.check_gpus(1, 0)
    with pytest.raises(ButlerError, match="tensor parallelism 4 needs 4 GPUs, and 2 can be seen"):
        guards.check_gpus(4, 2)


def test_memory_counts_weights_and_the_cache_of_a_session(workspace: Path) -> None:
    folder = replace(read_folder(workspace), weight_bytes=4 * guards.GIB)
    # One layer and one key-value head of 128 features: 132 bytes for a key, as many for a value.
    cache = 320 * 2 * (128 + 4)
    needed = 4 * guards.GIB + guards.RUNTIME_BYTES + int(cache / 0.4)
    assert guards.needed_bytes(folder, 1, 320) == needed
    guards.check_memory(folder, 1, 320, needed)
    int4 = replace(folder, kv=KV_CACHES["int4"])
    assert needed - guards.needed_bytes(int4, 1, 320) == 320 * 2 * 64 / 0.4
    with pytest.raises(ButlerError, match=r"needs at least 4.50 GiB .* but 4.00 GiB are free"):
        guards.check_memory(folder, 1, 320, 4 * guards.GIB)


def test_a_session_that_the_terminal_chat_would_refuse(workspace: Path) -> None:
    folder = read_folder(workspace)
    assert guards.resolve_session_len(folder, None, "api") == 320
    assert guards.resolve_session_len(folder, 2048, "chat") == 2048
    with pytest.raises(ButlerError, match="too short for LMDeploy's terminal chat"):
        guards.resolve_session_len(folder, None, "chat")


def test_the_page_is_gone_from_later_releases(model: Path) -> None:
    with pytest.raises(ButlerError, match="LMDeploy 0.18.0 has no gradio page any more"):
        command(read_folder(model), replace(REQUEST, face="gradio"))


def test_a_model_folder_takes_its_template_from_the_tokenizer(model: Path) -> None:
    words = command(read_folder(model), replace(REQUEST, trust_remote_code=True))
    assert words[words.index("--chat-template") + 1] == "hf"
    assert "--trust-remote-code" in words
    assert environment("api") == {}


def test_a_model_folder_says_which_engine_serves_it(model: Path) -> None:
    words = command(read_folder(model), REQUEST)
    assert words[words.index("--backend") + 1] == "turbomind"
    write_record(model, "0.18.0", EngineSettings(**SETTINGS | {"quant_policy": 16}), "pytorch")
    folder = read_folder(model)
    assert (folder.kv.name, folder.backend) == ("fp8", "pytorch")
    assert folder.kv_bytes_per_token == 2 * 4 * 2 * 128  # no scale beside a head's vector
    words = command(folder, REQUEST)
    assert words[words.index("--backend") + 1] == "pytorch"


def test_only_pages_that_are_named_may_ask_lmdeploys_api(model: Path) -> None:
    """Its own default is every page of every site."""
    for origins in ((), ("https://a.example", "https://b.example")):
        words = command(read_folder(model), replace(REQUEST, allow_origins=origins))
        at = words.index("--allow-origins") + 1
        assert tuple(words[at:]) == (origins or ("http://127.0.0.1:9",))
    assert "--allow-origins" not in command(read_folder(model), replace(REQUEST, face="chat"))


def test_serving_without_a_gpu_is_one_sentence(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(serve, "installed_version", lambda: "0.7.3")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    arguments = ["serve.py", "--workspace", str(workspace), "--engine", "lmdeploy"]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(ButlerError, match="use --engine reference"):
        serve.main()


def variant(*arguments: object) -> subprocess.CompletedProcess[str]:
    settings = ["--cache-max-entry-count", 0.4, "--session-len", 320]
    return script("lmdeploy", "variant.py", *arguments, *settings)


@pytest.mark.e2e
def test_a_model_folder_becomes_a_variant_by_links(model: Path, tmp_path: Path) -> None:
    (model / "lmdeploy.json").unlink()
    write_manifest(model)
    out = tmp_path / "w4kv8"
    latest = ("--model", model, "--lmdeploy", "latest", "--out", out)
    assert variant(*latest, "--kv", "int8").returncode == 0
    assert read_folder(out).settings == EngineSettings(**SETTINGS)
    assert (out / "pytorch_model.bin").samefile(model / "pytorch_model.bin")
    assert variant(*latest, "--kv", "int4").returncode == 0
    assert read_folder(out).settings.quant_policy == 4
    assert read_folder(out).kv_bytes_per_token == 4 * 2 * 2 * (64 + 4)
    done = variant("--model", model, "--kv", "fp16", "--out", out)
    assert "LMDeploy 0.7.3 serves what --workspace takes" in done.stderr


@pytest.mark.parametrize(
    ("share", "length", "out", "sentence"),
    [
        (5, 320, "out", "key 'cache_max_entry_count' takes less than 1, found 5.0"),
        (0, 320, "out", "key 'cache_max_entry_count' takes more than 0, found 0.0"),
        (0.4, -3, "out", "key 'session_len' takes at least 1, found -3"),
        (0.4, 320, "awq", "is what the variant is made of; name another folder"),
        (0.4, 320, "/dev/shm/out", "name an --out on the same disk"),
    ],
)
def test_a_variant_that_cannot_be_made_is_one_sentence(
    model: Path, tmp_path: Path, share: float, length: int, out: str, sentence: str
) -> None:
    words = ["--model", model, "--lmdeploy", "latest", "--kv", "int8", "--out", tmp_path / out]
    words += ["--cache-max-entry-count", share, "--session-len", length]
    before = sorted(model.iterdir())
    command = [sys.executable, SCRIPTS / "variant.py", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("error: ")
    assert sentence in done.stderr and done.stderr.count("\n") == 1
    assert sorted(model.iterdir()) == before and not Path("/dev/shm/out").exists()


PARSE = """
import json, sys
from lmdeploy.cli.entrypoint import CLI, SubCliServe
CLI.add_parsers(); SubCliServe.add_parsers()
parsed = vars(CLI.parser.parse_args(json.loads(sys.argv[1])))
print(json.dumps({k: v for k, v in parsed.items() if isinstance(v, (str, int, float, list))}))
"""


@pytest.mark.e2e
@pytest.mark.parametrize("policy", [8, 4])
@pytest.mark.parametrize("face", ["api", "chat", "gradio"])
def test_lmdeploy_understands_its_command_line(workspace: Path, face: str, policy: int) -> None:
    edit_settings(workspace, quant_policy=policy)
    words = command(read_folder(workspace), replace(REQUEST, face=face))
    assert words[1:4] == ["-P", "-m", "lmdeploy"]
    call = [python_of("lmdeploy"), "-c", PARSE, json.dumps(words[4:])]
    done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    parsed = json.loads(done.stdout.splitlines()[-1])
    wanted = {"backend": "turbomind", "tp": 1, "session_len": 320, "quant_policy": policy}
    wanted |= {"cache_max_entry_count": 0.4}
    wanted["chat_template"] = str(workspace / "chat_template.json")
    if face != "chat":
        wanted |= {"server_name": "127.0.0.1", "server_port": 9, "max_batch_size": 16}
    if face == "api":
        wanted["model_name"] = "recipes"
        wanted["allow_origins"] = ["http://127.0.0.1:9"]
    assert wanted.items() <= parsed.items()
    assert str(workspace) in (parsed.get("model_path"), parsed.get("model_path_or_server"))


def test_the_engines_settings_have_one_place(workspace: Path) -> None:
    assert json.loads((workspace / "lmdeploy.json").read_text()) == {"version": "0.7.3"}
    edit_settings(workspace, session_len=None)
    with pytest.raises(ButlerError, match="engine_config: key 'session_len' is missing; make"):
        read_folder(workspace)


@pytest.mark.parametrize("text", ["{", "[]", '{"version": 7}'])
def test_a_broken_record_is_one_sentence(workspace, text):
    (workspace / "lmdeploy.json").write_text(text)
    with pytest.raises(ButlerError, match="lmdeploy.json"):
        read_folder(workspace)


def test_a_cache_share_of_nothing_is_refused(workspace):
    edit_settings(workspace, cache_max_entry_count=0)
    with pytest.raises(ButlerError, match="'cache_max_entry_count' takes more than 0, found 0"):
        read_folder(workspace)
