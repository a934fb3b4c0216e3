"""What is served, chatted with or measured is what was made; else nothing of it is loaded."""

import json
import os
import shutil
import sys
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from types import ModuleType

import pytest

from tiny_workspace import Tiny

torch = pytest.importorskip("torch")

import chat
import hf_answers
import measure_efficiency
import serve
from butler import manifest
from butler.errors import ButlerError, run_cli
from butler.files import atomic_write_json
from butler.lmdeploy.served_folder import write_record
from butler.manifest import check_unchanged, write_manifest

WEIGHT = "triton_models/weights/output.0.weight"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A variant's workspace that both engines would serve."""
    settings = {"quant_policy": 8, "cache_max_entry_count": 0.4, "session_len": 320}
    path = Tiny(layers=1).build(tmp_path_factory.mktemp("made") / "kv8", **settings)
    (path / "chat_template.json").write_text("{}")
    write_record(path, "0.7.3")
    write_manifest(path)
    return path


@pytest.fixture
def workspace(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "kv8")
    return tmp_path / "kv8"


def flip(path: Path) -> None:
    """Change one bit, and no date."""
    times, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


DAMAGES = {
    "flipped": (lambda folder: flip(folder / WEIGHT), f"{WEIGHT} is not the file that was made"),
    "template": (
        lambda folder: (folder / "chat_template.json").write_text('{"meta_instruction": "?"}'),
        "chat_template.json is not the file that was made",
    ),
    "removed": (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json is missing"),
    "added": (
        lambda folder: (folder / "tokenization_mine.py").write_text("import os"),
        "tokenization_mine.py is an extra file",
    ),
    "manifest": (
        lambda folder: (folder / manifest.NAME).write_text("{"),
        "manifest.json is no manifest any more",
    ),
    "none": (lambda folder: (folder / manifest.NAME).unlink(), "kv8 has no manifest.json"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_damage_is_one_sentence(workspace: Path, damage: str) -> None:
    check_unchanged(workspace)
    harm, sentence = DAMAGES[damage]
    harm(workspace)
    with pytest.raises(ButlerError, match=sentence) as told:
        check_unchanged(workspace)
    assert "\n" not in str(told.value)


def test_snakemakes_own_files_are_no_extra_ones(workspace: Path) -> None:
    (workspace / ".snakemake_timestamp").touch()
    check_unchanged(workspace)


def test_the_other_names_of_a_shared_file_are_told_how_to_find(workspace: Path) -> None:
    # workspaces/* share the bytes of build/workspace/*: one alone cannot be mended.
    os.link(workspace / WEIGHT, workspace.parent / "build")
    flip(workspace / WEIGHT)
    with pytest.raises(ButlerError, match=f"find . -samefile {workspace / WEIGHT}"):
        check_unchanged(workspace)


def test_a_long_comparison_says_how_long_it_took(
    workspace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    check_unchanged(workspace)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(manifest, "TOLD_FROM_S", 0.0)
    check_unchanged(workspace)
    assert "files are as they were made (" in capsys.readouterr().err


def loading_fails(*_: object, **__: object) -> None:
    raise AssertionError("it was loaded")


@pytest.mark.parametrize("damage", ["flipped", "template", "added"])
@pytest.mark.parametrize(
    ("script", "words"),
    [
        (serve, ["--workspace", "{}"]),
        (serve, ["--workspace", "{}", "--engine", "lmdeploy"]),
        (chat, ["{}"]),
        (measure_efficiency, ["--workspace", "{}", "--out", "{}.csv"]),
        (hf_answers, ["--model", "{}"]),
    ],
    ids=["serve", "lmdeploy", "chat", "efficiency", "transformers"],
)
def test_nothing_is_loaded_of_a_changed_folder(
    workspace: Path,
    script: ModuleType,
    words: list[str],
    damage: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # All that stands between this machine and a server, and what would begin to load.
    monkeypatch.setattr(serve, "resolve_engine", lambda engine: engine)
    monkeypatch.setattr(serve, "installed_version", lambda: "0.7.3")
    monkeypatch.setattr(serve.guards, "check_machine", lambda *_: None)
    monkeypatch.setattr(serve.subprocess, "Popen", loading_fails)
    monkeypatch.setattr("butler.reference.workspace_reader.Workspace.load_weights", loading_fails)
    monkeypatch.setattr(hf_answers, "FolderModel", loading_fails)
    harm, sentence = DAMAGES[damage]
    harm(workspace)
    assert sentence in refused(script, [word.format(workspace) for word in words])


def refused(script: ModuleType, words: list[str]) -> str:
    """Return the sentence that a command line ends with."""
    said = StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stderr(said):
        patch.setattr(sys, "argv", [script.__name__, *words])
        with pytest.raises(SystemExit) as end:
            run_cli(script.main)
    assert end.value.code == 1
    return said.getvalue()


def test_a_model_folder_is_compared_before_its_code_could_run(tmp_path: Path) -> None:
    atomic_write_json(tmp_path / "config.json", {})
    write_manifest(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "mine.Model"}}))
    said = refused(hf_answers, ["--model", str(tmp_path)])
    assert "config.json is not the file that was made" in said
