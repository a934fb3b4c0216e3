"""Variants with a quantised KV cache: made by variant.py, read, checked and served."""

import json
import sys
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import check_kv_cache
import variant
from butler.chat_template import ChatTemplate
from butler.chat_tokenizer import ChatTokenizer
from butler.errors import ButlerError
from butler.held_out import LONGEST, mean_difference, mean_nll, token_ids
from butler.lmdeploy.commands import Request, command
from butler.lmdeploy.release import CONVERTER, RELEASES, serves
from butler.lmdeploy.served_folder import TEMPLATE, read_folder, write_record
from butler.lmdeploy.workspace_files import WEIGHTS
from butler.manifest import write_manifest
from butler.reference.generate import Engine
from butler.reference.sampling import SamplingParams
from butler.reference.workspace_reader import Workspace
from butler.schemes import KV_CACHES, VARIANTS
from butler.serve.model_server import ServerPlan, running_server
from butler.versions import numbers
from check_agreement import identical_share
from real_tools import read_json
from tiny_workspace import HEAD, Tiny

OLDEST = numbers(CONVERTER.version)
# Those that a workspace of 0.7.3 can be.
CACHES = [name for name, one in KV_CACHES.items() if one.policy(OLDEST) is not None]
QUANTISED = {
    name: one for name, one in VARIANTS.items() if one.kv.quantised and serves(CONVERTER, one)
}
# Bytes of a head's key or value in TurboMind's cache: codes, scale and zero point.
VECTOR = {"int8": HEAD + 2 + 2, "int4": HEAD // 2 + 2 + 2}
TINY = Tiny(layers=2, heads=4, kv_heads=2)


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return workspaces as workspace.py leaves them, by kind of weights."""
    folder = tmp_path_factory.mktemp("converted")
    made = {}
    for name, weights in {one.weights.name: one.weights for one in QUANTISED.values()}.items():
        shape = {"layers": TINY.layers, "heads": TINY.heads, "kv_heads": TINY.kv_heads}
        made[name] = Tiny(**shape, w4=weights.grouped).build(folder / name)
        (made[name] / TEMPLATE).write_text("{}")
        write_record(made[name], "0.7.3")
        write_manifest(made[name])
    return made


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "test.jsonl"
    turns = [
        {"system": "s", "input": f"dish {n}", "output": "cut, fry, serve " * 6} for n in (1, 2)
    ]
    path.write_text("".join(json.dumps({"conversation": [turn]}) + "\n" for turn in turns))
    return path


def run(module: object, *words: object) -> None:
    """Run a script's main with a command line."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [module.__name__, *map(str, words)])
        module.main()


def make(source: Path, out: Path, kv: str, *more: object) -> Path:
    share = ("--cache-max-entry-count", 0.4, "--session-len", 320)
    run(variant, "--workspace", source, "--kv", kv, *share, "--out", out, *more)
    return out


def check(workspace: Path, held_out: Path, limit: float) -> Path:
    out = workspace.parent / f"{workspace.name}.json"
    words = ("--workspace", workspace, "--held-out", held_out, "--limit", limit, "--out", out)
    run(check_kv_cache, *words, "--chat-template", "internlm2_chat", "--threads", 1)
    return out


@pytest.mark.parametrize("name", QUANTISED)
def test_a_variant_is_made_read_and_checked(name, converted, held_out, tmp_path):
    one = QUANTISED[name]
    workspace = make(converted[one.weights.name], tmp_path / name, one.kv.name)
    folder = read_folder(workspace)
    assert (folder.kv, folder.settings.session_len) == (one.kv, 320)
    assert folder.kv_bytes_per_token == 2 * 2 * 2 * VECTOR[one.kv.name]
    weights = next((workspace / WEIGHTS).glob("layers.0.attention.wo.0.*weight"))
    assert weights.samefile(converted[one.weights.name] / WEIGHTS / weights.name)
    record = read_json(check(workspace, held_out, limit=1.0))
    assert (record["check"], record["passed"]) == (name, True)
    measured = record["measured"]
    assert measured[f"bytes_per_token_{one.kv.name}"] == folder.kv_bytes_per_token
    assert measured["bytes_per_token_fp16"] == 2 * 2 * 2 * HEAD * 2
    both = measured[f"nll_{one.kv.name}"], measured["nll_fp16"]
    assert measured["difference"] == pytest.approx(both[0] - both[1], abs=1e-6) != 0
    assert measured["standard_error"] > 0 and measured["divergence"] > 0
    assert f"{folder.kv_bytes_per_token:,} bytes a token in place of 2,048" in record["sentence"]
    assert not [key for key in measured if "static" in key]


@pytest.mark.parametrize("name", QUANTISED)
def test_a_cache_that_costs_too_much_stops_the_run(name, converted, held_out, tmp_path):
    one = QUANTISED[name]
    workspace = make(converted[one.weights.name], tmp_path / name, one.kv.name)
    found = read_json(check(workspace, held_out, limit=1.0))["measured"]["difference"]
    limit = found - 1e-5
    with pytest.raises(ButlerError, match=f"check {name}: the {one.kv.name} cache moves the mean"):
        check(workspace, held_out, limit)
    record = read_json(tmp_path / f"{name}.json")
    assert not record["passed"] and record["limits"] == {"difference": limit}


def test_a_cache_that_makes_the_text_likelier_passes(converted, held_out, tmp_path, monkeypatch):
    workspace = make(converted["fp16"], tmp_path / "kv8", "int8")
    losses = {
        "fp16": [2.0, 2.1],
        "int8": [1.7, 1.6],
    }  # further off than the limit, on the good side
    monkeypatch.setattr(check_kv_cache, "by_reference", lambda *_: (losses, {"int8": 0.2}))
    record = read_json(check(workspace, held_out, limit=0.02))
    assert record["passed"] and record["measured"]["difference"] < -0.3
    assert "moves the mean NLL by -0." in record["sentence"]


@pytest.mark.parametrize(("judged", "asked"), [("turbomind", "turbomind"), (None, "pytorch")])
def test_the_plain_cache_is_held_by_the_engine_that_the_weights_were_checked_in(
    judged, asked, monkeypatch
):
    # An engine that loads noise has it with either cache: the two would not differ.
    found = []
    monkeypatch.setattr(check_kv_cache, "likelihoods", lambda *words: found.append(words[3:]))
    server = SimpleNamespace(release=RELEASES["latest"])
    folder = SimpleNamespace(path=Path("kvfp8"), backend="pytorch")
    check_kv_cache.by_lmdeploy(server, folder, [[1, 2]], ["fp16", "fp8"], judged)
    assert found == [(0, asked), (16, "pytorch")]


def test_fewer_bits_cost_more_likelihood(converted, held_out, tmp_path):
    costs = {}
    for kv in ("int8", "int4"):
        workspace = make(converted["fp16"], tmp_path / kv, kv)
        costs[kv] = read_json(check(workspace, held_out, limit=1.0))["measured"]["difference"]
    assert costs["int8"] < costs["int4"]


def test_a_difference_has_its_sign_and_its_error_over_the_chats():
    chats = [[7] * 3, [7] * 3, [7] * 3]
    mean, error = mean_difference([2.0, 2.0, 2.0], [1.9, 1.8, 1.7], chats)
    assert mean == pytest.approx(-0.2)
    assert error == pytest.approx(0.1 / 3**0.5)  # deviation over the root of their number


def test_each_token_counts_the_same_in_a_mean():
    # The first token of a text is predicted by nothing: 1 and 3 tokens are.
    assert mean_nll([1.0, 3.0], [[7, 7], [7, 7, 7, 7]]) == (1 * 1.0 + 3 * 3.0) / 4


def test_a_chat_longer_than_memory_allows_is_judged_by_its_beginning(converted, tmp_path):
    path = tmp_path / "test.jsonl"
    turns = [{"input": "盐" * 9000, "output": "好"}, {"input": "盐", "output": "好"}]
    path.write_text("".join(json.dumps({"conversation": [turn]}) + "\n" for turn in turns))
    asked = ChatTemplate.load("internlm2_chat"), ChatTokenizer(converted["fp16"], True)
    whole = [len(one) for one in token_ids(path, 2, *asked, session_len=1)]
    assert whole == [1, 1], "never longer than a session"
    long, short = token_ids(path, 2, *asked, session_len=32768)
    assert len(long) == LONGEST and 2 < len(short) < 100


def test_what_is_longer_in_one_answer_is_no_agreement():
    assert identical_share([[1, 2, 3], [4]], [[1, 9, 3, 5], [4]]) == (3 / 5, 5)
    assert identical_share([list(range(40))], [[*range(32), 0]]) == (1.0, 32)


def test_a_plain_cache_has_nothing_to_be_checked(converted, held_out, tmp_path):
    workspace = make(converted["fp16"], tmp_path / "fp16", "fp16")
    with pytest.raises(ButlerError, match="has a KV cache in fp16: there is nothing to check"):
        check(workspace, held_out, limit=1.0)


@pytest.fixture
def parameters(tmp_path: Path) -> Path:
    """Static parameters as static_kv_parameters.py writes them, for the range -30 to 30."""
    folder = tmp_path / "static"
    folder.mkdir()
    for layer in range(TINY.layers):
        scales = np.array([60 / 255, 0, 60 / 255, 0], dtype="<f4")
        scales.tofile(folder / f"layers.{layer}.past_kv_scale.0.weight")
    return folder


def test_static_parameters_are_measured_where_there_are_any(
    converted, held_out, parameters, tmp_path
):
    options = ("--kv-parameters", parameters)
    workspace = make(converted["fp16"], tmp_path / "kv8", "int8", *options)
    assert Workspace(workspace).has_kv_scales()
    record = read_json(check(workspace, held_out, limit=1.0))
    measured = record["measured"]
    found = measured["nll_static"] - measured["nll_fp16"]
    assert measured["static_difference"] == pytest.approx(found, abs=1e-6)
    assert found > measured["difference"]
    assert f"static parameters would move it by {found:+.5f}" in record["sentence"]
    # What a cache that is not served would cost stops nothing.
    limit = (measured["difference"] + found) / 2
    assert read_json(check(workspace, held_out, limit))["passed"]


@pytest.mark.parametrize("kv", [name for name in CACHES if not KV_CACHES[name].static])
def test_static_parameters_are_of_one_scheme(kv, converted, parameters, tmp_path):
    with pytest.raises(ButlerError, match="--kv-parameters are for a workspace with --kv int8"):
        make(converted["fp16"], tmp_path / "out", kv, "--kv-parameters", parameters)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kv", CACHES)
def test_lmdeploy_is_told_the_policy_of_the_scheme(kv, converted, tmp_path):
    folder = read_folder(make(converted["w4"], tmp_path / "out", kv))
    words = command(folder, Request("api", "recipes", "127.0.0.1", 9, 1, 320, 16))
    policy = {"fp16": "0", "int8": "8", "int4": "4"}[kv]
    assert words[words.index("--quant-policy") + 1] == policy


def test_a_4_bit_variant_is_served_as_the_engine_answers(converted, tmp_path):
    workspace = make(converted["w4"], tmp_path / "w4kv4", "int4")
    plan = ServerPlan(Path(sys.executable), workspace, "w4kv4", "reference", threads=1)
    body = {"model": "w4kv4", "messages": [{"role": "user", "content": "fry"}]}
    body |= {"max_tokens": 12, "temperature": 0}
    with running_server(plan, tmp_path / "server") as server:
        url, content = f"{server.url}/v1/chat/completions", json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(urllib.request.Request(url, content, headers), timeout=60) as answer:
            reply = json.load(answer)
    engine, tokenizer = Engine.load(workspace, threads=1), ChatTokenizer(workspace)
    assert engine.kv == "int4"
    prompt = tokenizer.encode_chat(body["messages"])
    [own] = engine.generate([prompt], SamplingParams(max_new_tokens=12), tokenizer.stop_ids)
    assert reply["choices"][0]["message"]["content"] == tokenizer.decode(own.tokens) != ""
