"""The terminal chat, as a user runs it."""

import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from unittest.mock import patch

import pytest

from tiny_workspace import Tiny

pytest.importorskip("torch")

import chat as chat_script
from butler.chat_template import trained_system
from butler.chat_tokenizer import ChatTokenizer
from butler.errors import run_cli
from butler.reference.generate import Engine
from butler.reference.sampling import SamplingParams


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Tiny().build(tmp_path_factory.mktemp("chat") / "ws")


@dataclass
class Done:
    """How a chat ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def chat(folder: Path, typed: str, *options: str) -> Done:
    """Type a chat; in this process, since a new one would spend its time on imports."""
    out, err = StringIO(), StringIO()
    argv, stdin = ["chat.py", str(folder), *options], StringIO(typed)
    code = 0
    with patch("sys.argv", argv), patch("sys.stdin", stdin), redirect_stdout(out):
        try:
            with redirect_stderr(err):
                run_cli(chat_script.main)
        except SystemExit as end:
            code = int(end.code or 0)
    return Done(code, out.getvalue(), err.getvalue())


def expected(folder: Path, *turns: tuple[str, str]) -> str:
    tokenizer = ChatTokenizer(folder)
    prompt = tokenizer.encode_chat([{"role": r, "content": c} for r, c in turns])
    [answer] = Engine.load(folder, threads=2).generate(
        [prompt], SamplingParams(max_new_tokens=12), list(tokenizer.stop_ids)
    )
    return tokenizer.decode(answer.tokens)


GREEDY = ("--temperature", "0", "--max-new-tokens", "12")


def test_a_chat_remembers_until_reset(workspace: Path) -> None:
    done = chat(workspace, "土豆\n鸡蛋\nRESET\n鸡蛋\nEXIT\n不再\n", *GREEDY, "--bot-name", "厨师")
    assert done.returncode == 0, done.stderr
    answers = [part.split("\n> ")[0] for part in done.stdout.split("厨师: ")[1:]]
    first = expected(workspace, ("user", "土豆"))
    second = expected(workspace, ("user", "土豆"), ("assistant", first), ("user", "鸡蛋"))
    alone = expected(workspace, ("user", "鸡蛋"))
    assert [answer.rstrip("\n") for answer in answers] == [
        text.rstrip("\n") for text in (first, second, alone)
    ]


def test_the_system_text_and_the_seed_count(workspace: Path) -> None:
    def ask(*options: str) -> str:
        return chat(workspace, "土豆\n", "--max-new-tokens", "12", *options).stdout

    sampled = ("--temperature", "2", "--top-p", "1", "--top-k", "0")
    assert ask(*sampled, "--seed", "1") == ask(*sampled, "--seed", "1") != ask(*sampled)
    whole = ask("--temperature", "0", "--no-streamer", "--system", "你是厨师")
    assert expected(workspace, ("system", "你是厨师"), ("user", "土豆")).strip() in whole


def test_templates_are_those_of_the_configuration(workspace: Path) -> None:
    trained = trained_system()
    assert trained_system(workspace) == trained
    assert "厨师" in trained
    whole = chat(workspace, "土豆\n", *GREEDY, "--system-template", "recipe").stdout
    assert expected(workspace, ("system", trained), ("user", "土豆")).strip() in whole
    # The tiny workspace's own template is ChatML, as qwen's and InternLM2's are.
    own = chat(workspace, "土豆\n", *GREEDY).stdout
    assert chat(workspace, "土豆\n", *GREEDY, "--prompt-template", "llama2_chat").stdout != own


@pytest.mark.parametrize(
    ("folder", "options", "sentence"),
    [
        (None, ("--prompt-template", "x"), "chat template 'x' is not in chat_templates.yaml"),
        (".", (), "neither a workspace nor a model folder"),
        (None, ("--bits", "4"), "--bits is for model folders"),
        (None, ("--temperature", "3"), "temperature is 3.0"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(workspace, tmp_path, folder, options, sentence):
    done = chat(tmp_path if folder else workspace, "", *options)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert sentence in done.stderr


def test_a_chat_that_grew_too_long_says_so_and_goes_on(workspace: Path) -> None:
    done = chat(workspace, "土豆" * 4000 + "\n土豆\n", *GREEDY)
    assert done.returncode == 0
    assert "error: the prompt has" in done.stderr
    assert expected(workspace, ("user", "土豆")).strip() in done.stdout


def test_a_line_that_is_not_utf8_is_told_and_the_chat_goes_on(workspace: Path) -> None:
    words = [sys.executable, chat_script.__file__, str(workspace), *GREEDY]
    typed = "红烧肉\n".encode("gbk") + "鱼\n".encode()
    done = subprocess.run(words, input=typed, capture_output=True)
    assert done.returncode == 0
    errors = done.stderr.decode().splitlines()
    assert [line for line in errors if line.startswith("error: ")] == [
        "error: that line is not UTF-8; let the terminal send UTF-8"
    ]
    assert expected(workspace, ("user", "鱼")) in done.stdout.decode()


def test_a_package_that_is_not_there_names_the_environment(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with patch.dict(sys.modules, {"butler.serve.hf_model": None}):
        done = chat(tmp_path, "EXIT\n")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "run in the xtuner environment (.envs/xtuner/bin/python)" in done.stderr


def test_the_trained_system_text_is_that_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "config.yaml").write_text("corpus: {system: 你是医生}\n", "utf-8")
    assert trained_system(tmp_path / "workspaces" / "fp16") == "你是医生"
    assert trained_system(tmp_path / "elsewhere") == trained_system()
