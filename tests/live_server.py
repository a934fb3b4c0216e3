"""The server as tests start it, wait for it and ask it."""

import subprocess
import sys
import time
from pathlib import Path

import httpx

import serve
from butler.chat_tokenizer import ChatTokenizer
from butler.reference.generate import Engine
from butler.reference.sampling import SamplingParams

CHAT = "/v1/chat/completions"


def body(content: str = "土豆怎么做", **more: object) -> dict:
    messages = [{"role": "user", "content": content}]
    return {"model": "tiny", "messages": messages, "temperature": 0, "max_tokens": 24, **more}


def expected(workspace: Path, engine: Engine, content: str) -> str:
    """Return the answer that the engine gives without a server."""
    tokenizer = ChatTokenizer(workspace)
    prompt = tokenizer.encode_chat([{"role": "user", "content": content}])
    params = SamplingParams(max_new_tokens=24)
    [completion] = engine.generate([prompt], params, list(tokenizer.stop_ids))
    return tokenizer.decode(completion.tokens)


def start(workspace: Path, port_file: Path, *more: str) -> subprocess.Popen:
    command = [sys.executable, serve.__file__, "--workspace", workspace, "--port", "0"]
    command += ["--port-file", port_file, "--threads", "1", *more]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def wait_for(port_file: Path, server: subprocess.Popen) -> int:
    for _ in range(600):
        if port_file.exists():
            return int(port_file.read_text())
        assert server.poll() is None, server.stderr.read()
        time.sleep(0.1)
    raise AssertionError("the server did not answer in 60 s")


def wait_until_idle(url: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    while httpx.get(url + "/health").json()["answers"]:
        assert time.monotonic() < end, "an abandoned answer still runs"
        time.sleep(0.05)
