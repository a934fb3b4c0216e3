"""Connections that say nothing, too much, or end early: dropped or refused, and the rest served."""

import asyncio
import json
import resource
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import httpx
import pytest
import uvicorn

import serve
from butler.serve.connections import allow_files, server_options
from butler.serve.front import ServerLimits
from hostile import MIB, Server, quietly, readable
from live_server import CHAT, body, wait_until_idle


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
def guarded(limits: ServerLimits) -> Iterator[tuple[uvicorn.Server, tuple[str, int]]]:
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
        guarded(ServerLimits(send_seconds=0.5)) as (made, address),
        socket.create_connection(address, 5) as client,
    ):
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        client.recv(10)
        wait_until_alone(made)


@pytest.mark.parametrize("head", [b"", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_a_client_that_sends_no_whole_head_is_dropped(head: bytes) -> None:
    with (
        guarded(ServerLimits(head_seconds=0.5)) as (made, address),
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
