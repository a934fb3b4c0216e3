"""A real server for tests that mean it harm, and how they reach it."""

import json
import os
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from live_server import CHAT, body, start, wait_for
from tiny_workspace import Tiny

MIB = 1 << 20


@contextmanager
def served(folder: Path) -> Iterator["Server"]:
    """A real server with a session of 20,000 tokens."""
    workspace = Tiny(session_len=20000).build(folder / "tiny")
    process = start(workspace, folder / "port", "--queue", "8")
    try:
        yield Server(wait_for(folder / "port", process), process.pid)
    finally:
        process.kill()
        process.wait()


class Server:
    """Where the server is, and what it takes."""

    def __init__(self, port: int, pid: int) -> None:
        self.port, self.pid = port, pid
        self.url = f"http://127.0.0.1:{port}"

    def memory(self) -> int:
        """Resident bytes."""
        pages = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def serves(self) -> None:
        """Assert that a good chat is answered."""
        answer = httpx.post(self.url + CHAT, json=body(), timeout=60)
        assert answer.status_code == 200, answer.text

    def connect(self, receive_buffer: int = 0) -> socket.socket:
        """Return an open connection."""
        made = socket.socket()
        if receive_buffer:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        made.connect(("127.0.0.1", self.port))
        return made


def raw(**values: str) -> bytes:
    """A request's body with these values as they stand, whatever JSON thinks of them."""
    whole = json.dumps(body() | {name: f"@{name}@" for name in values}, ensure_ascii=False)
    for name, text in values.items():
        whole = whole.replace(f'"@{name}@"', text)
    return whole.encode()


def post(server: Server, content: bytes, **headers: str) -> httpx.Response:
    given = {"content-type": "application/json"} | headers
    return httpx.post(server.url + CHAT, content=content, headers=given, timeout=60)


def quietly(call: Callable[..., object], *arguments: object) -> None:
    """Call; a client that is cut off says nothing."""
    try:
        call(*arguments)
    except OSError:
        return


def readable(client: socket.socket, seconds: float = 0) -> bool:
    watched = select.poll()
    watched.register(client, select.POLLIN)
    return bool(watched.poll(seconds * 1000))
