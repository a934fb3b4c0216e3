"""What is written is whole or not there; what was changed by hand is noticed."""

import shutil
import subprocess
import sys

import pytest
import yaml

from butler import imports
from butler.chat_template import DEFINITIONS, ChatTemplate
from butler.errors import ButlerError
from butler.files import atomic_dir, atomic_open, atomic_write_json, discard, scratch_dir
from butler.manifest import verify_manifest, write_manifest
from workflow_state import ROOT


def test_an_interrupted_write_leaves_the_old_file_and_no_rest(tmp_path):
    path = tmp_path / "out.json"
    atomic_write_json(path, {"old": True})
    with pytest.raises(KeyboardInterrupt), atomic_open(path) as stream:
        stream.write("half")
        raise KeyboardInterrupt
    assert "old" in path.read_text(encoding="utf-8")
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_folder_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), atomic_dir(tmp_path / "model") as folder:
        (folder / "weights").write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_folder_takes_the_place_of_the_old_one_whole(tmp_path):
    for content in ("first", "second"):
        with atomic_dir(tmp_path / "model") as folder:
            (folder / content).write_text(content)
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["second"]


WRITER = """
import sys, time
from butler.files import atomic_dir
with atomic_dir(sys.argv[1]) as folder:
    (folder / "weights").write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def writer(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "model")],
        stdout=subprocess.PIPE,
        cwd=ROOT / "workflow" / "scripts",
    )
    assert process.stdout.readline() == b"writing\n"
    yield process
    process.kill()
    process.wait()


def test_the_next_writer_takes_away_what_a_killed_one_left(tmp_path, writer):
    writer.kill()
    writer.wait()
    assert [path.suffix for path in tmp_path.iterdir()] == [".part"]
    with atomic_dir(tmp_path / "model") as folder:
        (folder / "weights").write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_writer_leaves_the_half_of_a_living_one_alone(tmp_path, writer):
    with scratch_dir(tmp_path / "model"):
        assert len(list(tmp_path.glob(".model.*.part/weights"))) == 1


def test_who_is_killed_while_a_folder_is_removed_leaves_no_half_of_it(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("old")

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        discard(tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_manifest_names_the_file_that_changed(tmp_path, damage):
    weights = tmp_path / "weights" / "w1.weight"
    weights.parent.mkdir()
    weights.write_bytes(bytes(range(256)))
    write_manifest(tmp_path)
    assert verify_manifest(tmp_path) == 1
    data = bytearray(weights.read_bytes())
    if damage == "flip":
        data[100] ^= 1
        weights.write_bytes(data)
    elif damage == "truncate":
        weights.write_bytes(data[:-1])
    else:
        weights.unlink()
    with pytest.raises(ButlerError, match="w1.weight"):
        verify_manifest(tmp_path)


def test_every_template_renders_the_same_in_all_its_forms():
    jinja2 = pytest.importorskip("jinja2")
    chat = [
        {"role": "system", "content": "厨师"},
        {"role": "user", "content": "腌菜'的做法\\n"},
        {"role": "assistant", "content": "好"},
        {"role": "user", "content": "再说一遍"},
    ]
    for name in yaml.safe_load(DEFINITIONS.read_text(encoding="utf-8")):
        template = ChatTemplate.load(name)
        rendered = jinja2.Template(template.to_jinja()).render(
            messages=chat, bos_token="<s>", add_generation_prompt=True
        )
        assert rendered == "<s>" + template.render(chat)
        forms = template.to_xtuner()
        first = forms["SYSTEM"].format(system="厨师") + forms["INSTRUCTION"].format(
            input="腌菜'的做法\\n"
        )
        assert template.render(chat[:2]) == first


def test_an_unknown_template_is_named_with_its_alternatives():
    with pytest.raises(ButlerError, match="internlm3_chat.*choose one of internlm2_chat"):
        ChatTemplate.load("internlm3_chat")


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path):
    # A limit on file size fails the write as a full disk does, in the middle of it.
    outputs = {name: tmp_path / "out" / f"{name}.jsonl" for name in ("train", "test", "rejected")}
    arguments = [f"--{name} {path}" for name, path in outputs.items()]
    line = (
        f"ulimit -f 64; exec {sys.executable} {ROOT}/workflow/scripts/corpus.py "
        f"--input {ROOT}/data/demo/recipes.jsonl --stats {tmp_path}/out/stats.json "
        "--seed 7 --settings '{}' " + " ".join(arguments)
    )
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert not list((tmp_path / "out").glob("*"))


def test_a_variant_leaves_the_date_of_its_workspace_alone(tmp_path):
    from variant import link_tree

    source = tmp_path / "source"
    source.mkdir()
    (source / "w1.weight").write_text("weights")
    (source / ".snakemake_timestamp").touch()
    link_tree(source, tmp_path / "variant")
    assert [path.name for path in (tmp_path / "variant").iterdir()] == ["w1.weight"]
    assert (tmp_path / "variant" / "w1.weight").samefile(source / "w1.weight")


def test_another_base_of_the_same_shape_is_another_training(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    import train

    base = tmp_path / "base"
    base.mkdir()
    for name in ("config.py", "train.jsonl"):
        (tmp_path / name).write_text(name)
    (base / "model.safetensors").write_bytes(b"weights")
    monkeypatch.setattr(train, "ARITHMETIC", ("torch",))

    def mark(launch="plain 1 cpu"):
        paths = (tmp_path / "config.py", tmp_path / "train.jsonl", base)
        return train.fingerprint(*paths, launch, fast=False)

    first = mark()
    assert mark() == first
    assert mark("deepspeed_zero2 1 cpu") != first
    (base / "model.safetensors").write_bytes(b"weighty")
    assert mark() != first


@pytest.mark.parametrize(
    ("fast", "file", "another"),
    [
        (True, "layers.py", True),
        (True, "memory.py", False),
        (False, "support.py", True),
        (False, "layers.py", False),
    ],
)
def test_a_training_goes_on_after_changes_to_code_that_it_does_not_run(
    tmp_path, monkeypatch, fast, file, another
):
    pytest.importorskip("torch")
    import train

    code = tmp_path / "scripts"
    shutil.copytree(imports.SCRIPTS / "butler", code / "butler")
    monkeypatch.setattr(train, "code_of", lambda script: imports.code_of(script, code))
    monkeypatch.setattr(train, "ARITHMETIC", ("torch",))
    monkeypatch.setattr(train, "version", lambda name: "1")
    config = tmp_path / "config.py"
    config.write_text("")
    (tmp_path / "base").mkdir()

    def mark():
        return train.fingerprint(config, config, tmp_path / "base", "plain 1 cuda", fast)

    first = mark()
    with (code / "butler" / "xtuner" / file).open("a") as stream:
        stream.write("# changed\n")
    assert (mark() != first) == another


def test_a_work_folder_of_something_else_is_not_deleted(tmp_path):
    import train

    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ButlerError, match="no training's work folder"):
        train.open_work(tmp_path, "mark")
    assert (tmp_path / "thesis.txt").exists()
