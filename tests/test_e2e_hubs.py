"""A base from a hub: the stage with the hubs' own client libraries, against a local server."""

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file

from hub_server import BRANCH, COMMIT, MODEL, TAG, serving, unreachable
from real_tools import script
from workflow_state import ROOT

pytestmark = pytest.mark.e2e
TINY = ROOT / "data" / "base" / "tiny"
HUBS = ["huggingface", "modelscope"]
WEIGHTS = "model.safetensors"


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A hub with the tiny base, and beside it what no run wants; the libraries' caches are new."""
    model = tmp_path / "hub"
    shutil.copytree(TINY, model)
    (model / "README.md").write_text("A tiny model.")
    (model / "pytorch_model.bin").write_bytes(b"a pickle of the same weights")
    (model / "model.gguf").write_bytes(b"another form of them")
    (model / "onnx").mkdir()
    (model / "onnx" / "config.json").write_text("{}")
    for variable in ("HF_HOME", "MODELSCOPE_CACHE", "MODELSCOPE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    with serving(model) as server:
        point_at(server.address, monkeypatch)
        yield server


def point_at(address, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", address)
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", address)


def stage(tmp_path, hub, *options, model=MODEL, revision=COMMIT):
    fixed = ["--model", model, "--hub", hub, "--revision", revision]
    fixed += ["--chat-template", "internlm2_chat", "--out", tmp_path / "out"]
    return script("xtuner", "base_model.py", *fixed, *options)


def error_of(done, tmp_path):
    """Return the one sentence of a stage that failed and left nothing."""
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "out").exists()
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    return said


@pytest.mark.parametrize("hub", HUBS)
def test_a_base_comes_from_a_hub_though_the_line_breaks_and_once_there_needs_none(
    hub, server, tmp_path, monkeypatch
):
    server.cut[WEIGHTS] = 12_000_000  # huggingface_hub keeps pieces of 10 MiB
    done = stage(tmp_path, hub, "--remote-code")
    assert done.returncode == 0, done.stderr
    made, given = load_file(tmp_path / "out" / WEIGHTS), load_file(TINY / WEIGHTS)
    assert all(torch.equal(made[name], tensor) for name, tensor in given.items())
    listed = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert WEIGHTS in listed and "chat_template.json" in listed
    assert (tmp_path / "out" / "README.md").is_file()
    assert (tmp_path / "out" / WEIGHTS).stat().st_nlink == 2, "a copy beside the hub's cache"

    ranges = [asked for _, name, asked in server.asked if name == WEIGHTS and asked]
    assert ranges and re.fullmatch(r"bytes=1\d{7}-.*", ranges[0]), "it began anew"
    wanted = {path.name for path in TINY.iterdir() if path.suffix in (".json", ".safetensors")}
    assert server.fetched() == wanted | {"README.md"}
    order = [name for method, name, _ in server.asked if method == "GET"]
    assert order.index(WEIGHTS) > order.index("config.json"), "weights before what is checked"

    point_at(unreachable(), monkeypatch)
    shutil.rmtree(tmp_path / "out")
    done = stage(tmp_path, hub, "--remote-code")
    assert done.returncode == 0, done.stderr
    assert "cannot be reached" in done.stderr and (tmp_path / "out" / WEIGHTS).is_file()


@pytest.mark.parametrize("hub", HUBS)
def test_what_a_hub_does_not_have_is_one_sentence(hub, server, tmp_path):
    said = error_of(stage(tmp_path, hub, model="someone/else"), tmp_path)
    assert "has no model 'someone/else' that you may read; correct base.model or base.hub" in said
    said = error_of(stage(tmp_path, hub, revision="0" * 40), tmp_path)
    assert f"has no revision {'0' * 40} of '{MODEL}'; set base.revision" in said
    # Nor are weights fetched before the consent to the model's code.
    path = server.folder / "config.json"
    named = json.loads(path.read_text()) | {"auto_map": {"AutoModel": "modeling_x.X"}}
    path.write_text(json.dumps(named))
    assert "set base.remote_code" in error_of(stage(tmp_path, hub), tmp_path)
    assert server.fetched() and all(name.endswith(".json") for name in server.fetched())


@pytest.mark.parametrize("hub", HUBS)
def test_a_hub_that_is_not_reached_is_one_sentence(hub, server, tmp_path, monkeypatch):
    address = unreachable()
    point_at(address, monkeypatch)
    said = error_of(stage(tmp_path, hub), tmp_path)
    assert f"({address}) cannot be reached for '{MODEL}' (Connection refused); set " in said
    assert "_ENDPOINT to a mirror, or download the model elsewhere" in said


@pytest.mark.parametrize("hub", HUBS)
def test_weights_that_come_damaged_are_not_taken(hub, server, tmp_path):
    server.damaged.add(WEIGHTS)
    said = error_of(stage(tmp_path, hub, "--remote-code"), tmp_path)
    assert WEIGHTS in said and re.search("its SHA-256 is not|[Hh]ash mismatch", said)


def test_a_tag_of_modelscope_is_taken_and_a_branch_is_not(server, tmp_path):
    said = error_of(stage(tmp_path, "modelscope", revision=BRANCH), tmp_path)
    assert f"base.revision {BRANCH} is a branch of '{MODEL}', which moves" in said
    done = stage(tmp_path, "modelscope", "--remote-code", revision=TAG)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("hub", HUBS)
def test_pickled_weights_of_a_hub_are_converted_with_consent_alone(hub, server, tmp_path):
    whole = load_file(server.folder / WEIGHTS)
    (server.folder / WEIGHTS).unlink()
    torch.save(whole, server.folder / "pytorch_model.bin")
    said = error_of(stage(tmp_path, hub, "--remote-code"), tmp_path)
    assert f"{MODEL}/pytorch_model.bin stands for pickled weights" in said
    assert "set base.pickles to the value of base.model" in said
    assert server.fetched() == set()
    done = stage(tmp_path, hub, "--remote-code", "--pickles")
    assert done.returncode == 0, done.stderr
    made = load_file(tmp_path / "out" / WEIGHTS)
    assert all(torch.equal(made[name], tensor) for name, tensor in whole.items())
    assert not list((tmp_path / "out").glob("*.bin*"))
