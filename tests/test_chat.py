"""The terminal chat, as a user runs it."""

import fcntl
import os
import pty
import select
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from unittest.mock import patch

import pytest

from tiny_workspace import Tiny

pytest.importorskip("torch")

import chat as chat_script
from butler.chat_tokenizer import ChatTokenizer
from butler.errors import ButlerError, run_cli
from butler.reference.generate import Engine
from butler.reference.sampling import SamplingParams
from butler.trained_corpus import trained_corpus


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


def test_a_chat_remembers_until_reset(tiny: Path) -> None:
    done = chat(tiny, "土豆\n鸡蛋\nRESET\n鸡蛋\nEXIT\n不再\n", *GREEDY, "--bot-name", "厨师")
    assert done.returncode == 0, done.stderr
    answers = [part.split("\n> ")[0] for part in done.stdout.split("厨师: ")[1:]]
    first = expected(tiny, ("user", "土豆"))
    second = expected(tiny, ("user", "土豆"), ("assistant", first), ("user", "鸡蛋"))
    alone = expected(tiny, ("user", "鸡蛋"))
    assert [answer.rstrip("\n") for answer in answers] == [
        text.rstrip("\n") for text in (first, second, alone)
    ]


def test_the_system_text_and_the_seed_count(tiny: Path) -> None:
    def ask(*options: str) -> str:
        return chat(tiny, "土豆\n", "--max-new-tokens", "12", *options).stdout

    sampled = ("--temperature", "2", "--top-p", "1", "--top-k", "0")
    assert ask(*sampled, "--seed", "1") == ask(*sampled, "--seed", "1") != ask(*sampled)
    whole = ask("--temperature", "0", "--no-streamer", "--system", "你是厨师")
    assert expected(tiny, ("system", "你是厨师"), ("user", "土豆")).strip() in whole


def test_templates_are_those_of_the_configuration(tiny: Path) -> None:
    trained = trained_corpus(None).system
    assert trained_corpus(tiny).system == trained
    assert "厨师" in trained
    whole = chat(tiny, "土豆\n", *GREEDY, "--system-template", "recipe").stdout
    assert expected(tiny, ("system", trained), ("user", "土豆")).strip() in whole
    # The tiny workspace's own template is ChatML, as qwen's and InternLM2's are.
    own = chat(tiny, "土豆\n", *GREEDY).stdout
    assert chat(tiny, "土豆\n", *GREEDY, "--prompt-template", "llama2_chat").stdout != own


@pytest.mark.parametrize(
    ("folder", "options", "sentence"),
    [
        (None, ("--prompt-template", "x"), "chat template 'x' is not in chat_templates.yaml"),
        (".", (), "neither a workspace nor a model folder"),
        (None, ("--bits", "4"), "--bits is for model folders"),
        (None, ("--temperature", "3"), "temperature is 3.0"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(tiny, tmp_path, folder, options, sentence):
    done = chat(tmp_path if folder else tiny, "", *options)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert sentence in done.stderr


def test_a_folder_that_is_not_made_is_told_alike_by_chat_page_and_server(tmp_path: Path) -> None:
    import serve
    import web

    folder = tmp_path / "workspaces" / "w4"
    sentence = (
        f"{folder} is no folder; make it with: snakemake workspaces/w4 (and your run's own options)"
    )
    assert sentence in chat(folder, "").stderr
    with pytest.raises(ButlerError) as told:
        web.model_names([folder])
    assert str(told.value) == sentence
    with patch("sys.argv", ["serve.py", "--workspace", str(folder)]):
        args = serve.parse_args()
    with pytest.raises(ButlerError) as told:
        serve.open_workspace(args)
    assert str(told.value) == sentence


def test_a_chat_that_grew_too_long_says_so_and_goes_on(tiny: Path) -> None:
    done = chat(tiny, "土豆" * 4000 + "\n土豆\n", *GREEDY)
    assert done.returncode == 0
    assert "error: the prompt has" in done.stderr
    assert expected(tiny, ("user", "土豆")).strip() in done.stdout


def test_a_line_that_is_not_utf8_is_told_and_the_chat_goes_on(tiny: Path) -> None:
    words = [sys.executable, chat_script.__file__, str(tiny), *GREEDY]
    typed = "红烧肉\n".encode("gbk") + "鱼\n".encode()
    done = subprocess.run(words, input=typed, capture_output=True)
    assert done.returncode == 0
    errors = done.stderr.decode().splitlines()
    assert [line for line in errors if line.startswith("error: ")] == [
        "error: that line is not UTF-8; let the terminal send UTF-8"
    ]
    assert expected(tiny, ("user", "鱼")) in done.stdout.decode()


def test_a_package_that_is_not_there_names_the_environment(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with patch.dict(sys.modules, {"butler.serve.hf_model": None}):
        done = chat(tmp_path, "EXIT\n")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "run this with .envs/xtuner/bin/python (made by: snakemake environments)" in done.stderr


def test_the_trained_system_text_is_that_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "config.yaml").write_text("corpus: {system: 你是医生}\n", "utf-8")
    assert trained_corpus(tmp_path / "workspaces" / "fp16").system == "你是医生"
    assert trained_corpus(tmp_path / "elsewhere") == trained_corpus(None)


@pytest.mark.parametrize("word", ["exit", "/exit", "quit", "/QUIT"])
def test_what_ends_a_chat_is_not_asked_of_the_model(tiny: Path, word: str) -> None:
    done = chat(tiny, f"{word}\n土豆\n", *GREEDY)
    assert done.returncode == 0 and "BOT" not in done.stdout


def test_commands_are_told_and_not_asked_of_the_model(tiny: Path) -> None:
    done = chat(tiny, "/help\nRESET\n/rest\n", *GREEDY)
    assert done.returncode == 0 and "BOT" not in done.stdout
    assert "/reset forgets the chat so far" in done.stderr
    assert "The chat so far is forgotten." in done.stderr
    assert "error: there is no command /rest; /help lists them" in done.stderr


READY = "\x1b[?2004h"  # the line editor tells the terminal to mark what is pasted


class Typed:
    """A chat in a terminal of its own: what is typed there, and what it shows."""

    def __init__(self, terminal: int, process: subprocess.Popen[bytes]) -> None:
        self.terminal, self.process = terminal, process
        self.shown = b""

    def type(self, keys: str) -> None:
        self.shown = b""
        os.write(self.terminal, keys.encode())

    def wait_for(self, *texts: str) -> str:
        """Read until all of this is shown after what was typed last; return what is."""
        end = time.monotonic() + 40
        while not all(text.encode() in self.shown for text in texts):
            assert self._read() and time.monotonic() < end, self.shown.decode(errors="replace")
        return self.shown.decode(errors="replace")

    def ends(self) -> int:
        """Read to the end; return the exit code."""
        end = time.monotonic() + 40
        while self._read():
            assert time.monotonic() < end, self.shown.decode(errors="replace")
        return self.process.wait(30)

    def _read(self) -> bool:
        """Read what is there; say whether more may come."""
        try:
            if select.select([self.terminal], [], [], 0.1)[0]:
                self.shown += os.read(self.terminal, 4096)
        except OSError:  # closed by all who had it
            return False
        return True


@contextmanager
def typed(folder: Path, *options: str) -> Iterator[Typed]:
    pytest.importorskip("prompt_toolkit")
    ours, theirs = pty.openpty()
    words = [sys.executable, chat_script.__file__, str(folder), *options]
    process = subprocess.Popen(
        words,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        # A terminal that is asked where its cursor stands would have to answer.
        env=os.environ | {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"},
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # Ctrl-C there is a signal
    )
    os.close(theirs)
    try:
        yield Typed(ours, process)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_ctrl_c_ends_the_answer_and_not_the_chat(tmp_path: Path) -> None:
    folder = Tiny(session_len=8192).build(tmp_path / "ws")
    sampled = ("--temperature", "1", "--max-new-tokens", "8000")
    with typed(folder, *sampled, "--bot-name", "厨师") as terminal:
        terminal.wait_for(READY)
        terminal.type("土豆\r")
        terminal.wait_for("厨师: ")
        terminal.type("\x03")
        terminal.wait_for("The answer is ended", READY)
        terminal.type("鸡蛋\r")
        terminal.wait_for("厨师: ")
        terminal.type("\x03")
        terminal.wait_for("The answer is ended", READY)
        terminal.type("half a line\x03")
        terminal.type("/exit\r")
        assert terminal.ends() == 0
    assert "Traceback" not in terminal.shown.decode(errors="replace")


def test_what_was_typed_comes_back_and_a_message_may_have_lines(tiny: Path) -> None:
    twice = "土豆\n鸡蛋"
    first = expected(tiny, ("user", twice))
    turns = (("user", twice), ("assistant", first), ("user", twice))
    second = expected(tiny, *turns)
    with typed(tiny, *GREEDY) as terminal:
        terminal.wait_for(READY)
        terminal.type("土豆\x1b\r鸡蛋\r")  # Alt-Enter
        terminal.wait_for(f"BOT: {first.splitlines()[0]}", READY)
        terminal.type("\x1b[A\r")  # arrow up
        shown = terminal.wait_for(f"BOT: {second.splitlines()[0]}", READY)
        assert "^[[A" not in shown
        terminal.type("\x04")
        assert terminal.ends() == 0
