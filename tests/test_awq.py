"""Packing 4-bit weights, how much memory calibration may take, and the benchmark's reading."""

import json
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")

import quantise_awq
from butler.errors import ButlerError, run_cli
from butler.hf_folder import CARRIED, ModelTensors
from butler.lmdeploy.calibration_memory import Calibration
from butler.lmdeploy.lite import STAYS, finish
from butler.lmdeploy.on_cpu import fp32_view, write_calibration_text
from butler.lmdeploy.packed_weights import pack, unpack
from butler.manifest import check_unchanged
from butler.settings.judging_stage import CheckSettings
from butler.tools import tool_environment
from real_tools import python_of, script
from workflow_state import ROOT

GIB = 2**30


def test_packed_columns_are_read_back_by_the_format_of_awq():
    values = torch.randint(16, (6, 24), generator=torch.Generator().manual_seed(0))
    words = pack(values.to(torch.float16))
    assert (words.shape, words.dtype) == ((6, 3), torch.int32)
    assert torch.equal(unpack(words).to(values.dtype), values)
    # The first word by hand: columns 0, 2, 4, 6, 1, 3, 5, 7, the lowest four bits first.
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    by_hand = sum(int(values[0, column]) << (4 * place) for place, column in enumerate(order))
    assert int(words[0, 0]) & 0xFFFFFFFF == by_hand


SEVEN_B = {"heads": 32, "hidden": 4096}


def test_calibration_takes_what_the_gpu_has_room_for():
    needed = Calibration.of(**SEVEN_B, samples=128, length=2048)
    assert needed.at_a_time(140 * GIB) == 8
    assert 2 <= needed.at_a_time(23 * GIB) <= 7
    assert needed.at_a_time(1 * GIB) == 1


@pytest.mark.parametrize(
    ("samples", "free", "stays"), [(128, 140, True), (128, 23, False), (16, 23, True)]
)
def test_a_model_stays_on_a_gpu_that_holds_it_beside_the_calibration(samples, free, stays):
    needed = Calibration.of(**SEVEN_B, samples=samples, length=2048)
    assert needed.fits_beside(15 * GIB, free * GIB) == stays


@pytest.fixture
def quantising(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    import quantise

    return quantise


def test_phases_are_told_by_what_is_printed(quantising):
    lines = [
        (9.0, "Move model.layers.0 to CPU."),
        (10.0, "Loading calibrate dataset ..."),
        (14.0, "model.layers.0, samples: 16, max gpu memory: 9.00 GB"),
        (18.0, "model.layers.1, samples: 16, max gpu memory: 9.00 GB"),
        (20.0, "model.layers.1 smooth weight done. max gpu memory: 9.00 GB"),
        (50.0, "model.layers.1.attention.wo weight packed."),
    ]
    found = quantising.phases(lines, 57.0)
    assert found == {
        "loading": 10.0,
        "calibration": 8.0,
        "smoothing": 2.0,
        "quantisation": 30.0,
        "saving": 7.0,
    }
    with pytest.raises(ButlerError, match="no line of its smoothing"):
        quantising.phases(lines[:4], 57.0)


def test_a_byte_of_the_quantised_folder_that_changes_later_is_noticed(tmp_path):
    model, folder = tmp_path / "merged", tmp_path / "awq"
    for path in (model, folder):
        path.mkdir()
        (path / "config.json").write_text('{"quantization_config": {"quant_method": "awq"}}')
    for name in CARRIED:
        (model / name).write_text("{}")
    (folder / "model.safetensors").write_bytes(b"4 bits each")
    finish(model, folder, "awq")
    check_unchanged(folder)
    (folder / "model.safetensors").write_bytes(b"4 bits East")
    with pytest.raises(ButlerError, match="model.safetensors is not the file that was made"):
        check_unchanged(folder)


@pytest.mark.parametrize(
    ("calibration", "settings", "sentence"),
    [
        ("{}", '{"group_size": 64}', "--settings: key 'group_size' takes one of 128, found 64"),
        ('{"samples": 0}', "{}", "--calibration: key 'samples' takes at least 1, found 0"),
        ("[1]", "{}", "[1]"),
        ("{}", "{}", r"hidden_size 200 is no multiple of awq.group_size 128"),
    ],
)
def test_what_cannot_be_quantised_is_one_sentence(
    calibration, settings, sentence, tmp_path, monkeypatch, capsys
):
    sizes = {"hidden_size": 200, "intermediate_size": 256, "num_attention_heads": 2}
    (tmp_path / "config.json").write_text(json.dumps(sizes | {"num_hidden_layers": 1}))
    words = ["--model", tmp_path, "--text", tmp_path / "train.jsonl", "--out", tmp_path / "awq"]
    words += ["--chat-template", "internlm2_chat", "--calibration", calibration]
    arguments = ["quantise_awq.py", *map(str, words), "--settings", settings]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit):
        run_cli(quantise_awq.main)
    said = capsys.readouterr().err
    assert sentence in said and said.startswith("error: ") and said.count("\n") == 1
    assert not (tmp_path / "awq").exists()


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """The demo's base, with the chat template."""
    folder = tmp_path_factory.mktemp("awq") / "base"
    words = ["--model", ROOT / "data/base/tiny", "--remote-code", "--chat-template"]
    done = script("xtuner", "base_model.py", *words, "internlm2_chat", "--out", folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.e2e
def test_searched_smoothing_leaves_the_models_weights_on_a_cpu(base, tmp_path):
    turn = {"system": "厨师", "input": "饭", "output": "您需要准备以下食材，按以下方法制作。" * 20}
    (tmp_path / "train.jsonl").write_text(json.dumps({"conversation": [turn]}) + "\n")
    done = script(
        "lmdeploy",
        "quantise_awq.py",
        *("--model", base, "--text", tmp_path / "train.jsonl", "--device", "cpu"),
        *("--chat-template", "internlm2_chat", "--calibration", '{"samples": 2, "length": 64}'),
        *("--settings", '{"search_scale": true}', "--out", tmp_path / "awq"),
    )
    assert done.returncode == 0, done.stderr
    done = script(
        "lmdeploy",
        "check_awq.py",
        *("--merged", base, "--awq", tmp_path / "awq"),
        *("--limit", CheckSettings().awq_scales, "--out", tmp_path / "check.json"),
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.e2e
def test_a_model_that_stays_on_its_device_is_quantised_to_the_same_bits(base, tmp_path):
    write_calibration_text(["您需要准备以下食材，按以下方法制作。" * 20] * 40, tmp_path)
    model, found = fp32_view(base, tmp_path / "model"), []
    for stays in (False, True):
        out = tmp_path / f"stays_{stays}"
        arguments = {"model": str(model), "work_dir": str(out), "calib_dataset": "ptb"}
        arguments |= {"calib_samples": 2, "calib_seqlen": 128, "device": "cpu", STAYS: stays}
        command = [python_of("lmdeploy"), "-m", "butler.lmdeploy.auto_awq", json.dumps(arguments)]
        environment = tool_environment(tmp_path / "cache", 2)
        subprocess.run(command, env=environment, cwd=tmp_path, check=True, capture_output=True)
        found.append(ModelTensors(out))
    one, other = found
    assert one.names() == other.names()
    assert all(torch.equal(one[name], other[name]) for name in one.names())
    assert {one[name].dtype for name in one.names()} == {torch.float16, torch.int32}
