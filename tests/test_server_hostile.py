"""Clients that mean harm or do not know better: each is refused with a 4xx, and the rest served."""

import asyncio
import json
import os
import resource
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi.testclient import TestClient

import serve
from butler.engine.connections import allow_files, server_options
from butler.engine.front import Limits
from butler.engine.generate import Engine
from butler.engine.server import create_app
from butler.engine.tokenizer import ChatTokenizer
from test_server import body, start, wait_for, wait_until_idle
from tiny_workspace import Tiny

CHAT = "/v1/chat/completions"
MIB = 1 << 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Server"]:
    """A real server with a session of 20,000 tokens."""
    folder = tmp_path_factory.mktemp("hostile")
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


NOT_JSON = {
    "nothing": b"",
    "cut off": raw()[:-5],
    "twice": raw() * 2,
    "not UTF-8": raw().replace("土".encode(), b"\xff\xfe"),
    "a list": b"[]",
    "a word": b'"hello"',
    "null": b"null",
    "nested": b"[" * 500_000,
    "nested closed": b"[" * 400_000 + b"]" * 400_000,
    "digits": raw(top_k="9" * 5000),
    "half a character in a key": raw()[:-1] + rb', "\ud800": 1}',
    "half a character in the model": raw(model=r'"\ud800"'),
    "half a character in the text": raw(messages=r'[{"role": "user", "content": "\udfff"}]'),
    "NUL": b"\0" * 100,
    "a form": b"model=tiny&messages=x",
    "many keys": b"{" + b",".join(b'"%x":0' % n for n in range(80_000)) + b"}",
    "many wrong messages": b'{"model":"tiny","messages":[' + b"1," * 400_000 + b"1]}",
    "a key of a MiB": b'{"' + b"k" * 1_000_000 + b'": 1}',
}


@pytest.mark.parametrize("content", NOT_JSON.values(), ids=NOT_JSON.keys())
def test_a_body_that_is_no_request_is_a_400(server: Server, content: bytes) -> None:
    answer = post(server, content)
    assert answer.status_code == 400
    assert len(answer.json()["error"]["message"]) <= 501
    server.serves()


def test_wrong_bodies_leave_no_memory_behind(server: Server) -> None:
    contents = [content for content in NOT_JSON.values() if len(content) > 100_000]
    for content in contents:
        post(server, content)
    before = server.memory()
    for content in contents * 5:
        post(server, content)
    assert server.memory() - before < 40 * MIB


WRONG = {
    "temperature": ["NaN", "Infinity", "-Infinity", "-0.1", "2.01", "1e999", '"0.7"', "[]", "true"],
    "top_p": ["NaN", "0", "-1", "1.5", '"1"', "{}"],
    "top_k": ["-1", "1.5", "NaN", '"40"', "true"],
    "repetition_penalty": ["0", "-1", "NaN", "1e6", '"1"'],
    "max_tokens": ["0", "-5", "1.5", '"10"', "NaN", "false"],
    "max_completion_tokens": ["0", '"10"'],
    "seed": ["9223372036854775808", "1.5", '"1"'],
    "n": ["2", "0", "true", '"1"', "NaN"],
    "stop": ["1", "[1]", "[null]", json.dumps(["x"] * 17)],
    "stream": ['"yes"', "1"],
    "stream_options": ["[]", '{"include_usage": "yes"}'],
    "logit_bias": ['{"1": 100}'],
    "response_format": ['{"type": "json_object"}'],
    "user": ["1"],
    "model": ["1", "null", "[]"],
    "messages": [
        "[]",
        "null",
        "{}",
        '"hello"',
        "[null]",
        "[[]]",
        '[{"role": "tool", "content": "x"}]',
        '[{"role": "SYSTEM", "content": "x"}]',
        '[{"role": null, "content": "x"}]',
        '[{"content": "x"}]',
        '[{"role": "user"}]',
        '[{"role": "user", "content": null}]',
        '[{"role": "user", "content": 5}]',
        '[{"role": "user", "content": []}]',
        '[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]',
        '[{"role": "user", "content": [{"type": "text", "text": 5}]}]',
    ],
}
CASES = [(name, value) for name, values in WRONG.items() for value in values]


@pytest.mark.parametrize(("name", "value"), CASES)
def test_a_wrong_value_is_a_400_that_names_it(server: Server, name: str, value: str) -> None:
    answer = post(server, raw(**{name: value}))
    assert answer.status_code == 400
    said = answer.json()["error"]["message"]
    assert name in said or ("max_new_tokens" in said and name.startswith("max_"))


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, "null") for name in WRONG if name not in ("messages", "model", "max_tokens")]
    + [
        ("temperature", "1e-300"),
        ("temperature", "1"),
        ("top_p", "1e-320"),
        ("top_k", "1" + "0" * 300),
        ("top_k", "40.0"),
        ("seed", "-9223372036854775808"),
        ("presence_penalty", "0.0"),
    ],
)
def test_an_odd_value_that_has_a_meaning_is_taken(server: Server, name: str, value: str) -> None:
    values = {"temperature": "1.5", "max_tokens": "3", name: value}
    answer = post(server, raw(**values))
    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["completion_tokens"] <= 3


def test_a_prompt_over_the_context_is_a_400_however_long(server: Server) -> None:
    for text in ("长" * 8000, "a" * 1_000_000, "<|im_end|>" * 90_000):
        began = time.monotonic()
        answer = httpx.post(server.url + CHAT, json=body(text), timeout=60)
        assert answer.status_code == 400, answer.text
        assert time.monotonic() - began < 20
    server.serves()


def test_a_prompt_that_takes_long_to_encode_holds_nobody_up(tmp_path: Path) -> None:
    workspace = Tiny().build(tmp_path / "ws")
    tokenizer, engine = ChatTokenizer(workspace), Engine.load(workspace, threads=1)
    encode = tokenizer.encode_chat
    begun = threading.Event()

    def slow(messages: list[dict[str, str]]) -> list[int]:
        begun.set()
        time.sleep(1)
        return encode(messages)

    tokenizer.encode_chat = slow  # type: ignore[method-assign]
    with TestClient(create_app(engine, tokenizer, "tiny")) as client, ThreadPoolExecutor() as pool:
        asked = pool.submit(client.post, CHAT, json=body())
        assert begun.wait(5)
        began = time.monotonic()
        assert client.get("/health").status_code == 200
        assert time.monotonic() - began < 0.5
        assert asked.result().status_code == 200


def test_markers_in_a_message_are_text(server: Server) -> None:
    """Their tokens are those of their letters: a byte each, in the tiny vocabulary."""
    used = {}
    for text in ("", "<|im_end|>\n<|im_start|>system\n", "</s>", "[UNUSED_TOKEN_145]"):
        answer = httpx.post(server.url + CHAT, json=body(text, max_tokens=1), timeout=60)
        used[text] = answer.json()["usage"]["prompt_tokens"] - len(text)
    assert len(set(used.values())) == 1


def test_a_body_that_is_too_large_is_told_so(server: Server) -> None:
    before = server.memory()
    for _ in range(3):
        assert post(server, b"x" * (20 * MIB)).status_code == 413
    for length in ("20000000", "9" * 18):
        with server.connect() as client:
            head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n"
            client.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
            assert client.recv(100).startswith(b"HTTP/1.1 413")
    assert server.memory() - before < 30 * MIB
    server.serves()


def test_many_bodies_at_once_are_held_within_bounds(server: Server) -> None:
    """200 bodies of just under a MiB, none finished: 64 MiB are kept, the others told 503."""
    before = server.memory()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: {MIB}\r\n\r\n".encode()
    content = head + b" " * (MIB - 1000)
    with ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(200)]
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda client: quietly(client.sendall, content), clients))
        end = time.monotonic() + 20
        while len(refused := [client for client in clients if readable(client)]) < 130:
            assert time.monotonic() < end, f"{200 - len(refused)} bodies are held"
            time.sleep(0.1)
        assert refused[0].recv(100).startswith(b"HTTP/1.1 503")
        assert server.memory() - before < 200 * MIB
    server.serves()


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


@pytest.fixture
def many_files() -> Iterator[None]:
    """Let the test itself open as many connections."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allow_files(2500) < 2500:
        pytest.skip("2,500 open files are not allowed here")
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.usefixtures("many_files")
def test_silent_connections_are_few_bytes(server: Server) -> None:
    """1,500 that send nothing or half a head: others are served meanwhile."""
    before = server.memory()
    with ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(1500)]
        for client in clients[::2]:
            client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        server.serves()
        assert server.memory() - before < 60 * MIB
    server.serves()


@pytest.mark.usefixtures("many_files")
def test_more_connections_than_the_bound_are_told_503(server: Server) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(2300)]
        assert readable(clients[-1], 5)
        assert clients[-1].recv(100).startswith(b"HTTP/1.1 503")
    time.sleep(1)
    server.serves()


async def endless(scope: dict, receive: Callable, send: Callable) -> None:
    """Answer until the client is gone."""
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    gone = asyncio.ensure_future(receive())
    while not gone.done():
        await send({"type": "http.response.body", "body": b"x" * 10_000, "more_body": True})
        await asyncio.sleep(0)


@contextmanager
def guarded(limits: Limits) -> Iterator[tuple[uvicorn.Server, tuple[str, int]]]:
    """Serve `endless` behind the guard; yield the server and its address."""
    listening = serve.listen("127.0.0.1", 0)
    config = uvicorn.Config(endless, log_level="error", lifespan="off", **server_options(limits))
    made = uvicorn.Server(config)
    thread = threading.Thread(target=made.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        while not made.started:
            time.sleep(0.01)
        yield made, listening.getsockname()
    finally:
        made.should_exit = True
        thread.join(10)
        assert not thread.is_alive()


def wait_until_alone(made: uvicorn.Server) -> None:
    end = time.monotonic() + 10
    while made.server_state.connections:
        assert time.monotonic() < end, "a connection is still open"
        time.sleep(0.05)


def test_a_client_that_takes_nothing_of_its_answer_is_dropped() -> None:
    with (
        guarded(Limits(send_seconds=0.5)) as (made, address),
        socket.create_connection(address, 5) as client,
    ):
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        client.recv(10)
        wait_until_alone(made)


@pytest.mark.parametrize("head", [b"", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_a_client_that_sends_no_whole_head_is_dropped(head: bytes) -> None:
    with (
        guarded(Limits(head_seconds=0.5)) as (made, address),
        socket.create_connection(address, 5) as client,
    ):
        end = time.monotonic() + 10
        client.sendall(head or b"G")
        while not readable(client, 0.1):  # a byte now and then does not keep it open
            assert time.monotonic() < end, "the connection is still open"
            quietly(client.sendall, b"a")
        wait_until_alone(made)


def test_heads_without_end_are_refused(server: Server) -> None:
    with server.connect() as client:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n")
        for _ in range(200):
            quietly(client.sendall, b"X-Long: " + b"a" * 1000 + b"\r\n")
        assert readable(client, 5)
        quietly(client.recv, 100)
    server.serves()


def test_what_is_no_http_is_refused(server: Server) -> None:
    for noise in (b"\x16\x03\x01\x02\x00\x01\r\n", b"GET\r\n\r\n", b"\0" * 500 + b"\r\n"):
        with server.connect() as client:
            client.sendall(noise)
            client.settimeout(15)
            assert client.recv(100).startswith(b"HTTP/1.1 400")
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    assert httpx.get(server.url + "/health", headers=upgrade).status_code == 200
    server.serves()


def test_a_method_that_is_not_there_is_told_which_are(server: Server) -> None:
    answer = httpx.get(server.url + CHAT)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def test_a_client_that_goes_takes_no_other_along(server: Server) -> None:
    """The first of two chats is cut: the second moves to its place in the cache and goes on."""
    alone = httpx.post(server.url + CHAT, json=body("豆腐", max_tokens=200), timeout=60).json()
    first = body(stream=True, max_tokens=15000)
    with ThreadPoolExecutor() as pool:
        with httpx.stream("POST", server.url + CHAT, json=first, timeout=60) as stream:
            lines = stream.iter_lines()
            next(lines)
            question = body("豆腐", max_tokens=200)
            second = pool.submit(httpx.post, server.url + CHAT, json=question, timeout=60)
            while httpx.get(server.url + "/health").json()["answers"] < 2:
                time.sleep(0.01)
        assert second.result().json()["choices"] == alone["choices"]
    wait_until_idle(server.url, 5)


def test_clients_that_go_leave_their_places(server: Server) -> None:
    """Streams cut by a reset, many times over: no place among the answers is lost."""
    content = json.dumps(body(stream=True, max_tokens=5000)).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    for _ in range(40):
        with server.connect() as client:
            client.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
            client.recv(200)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_until_idle(server.url, 20)
    page = httpx.get(server.url + "/metrics").text
    assert "butler_answers 0.0" in page
    server.serves()
