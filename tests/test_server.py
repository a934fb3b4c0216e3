"""The OpenAI-compatible server, in-process and as the command line."""

import asyncio
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest

from tiny_workspace import Tiny

pytest.importorskip("torch")
httpx = pytest.importorskip("httpx")
TestClient = pytest.importorskip("fastapi.testclient").TestClient

import serve
from butler.chat_tokenizer import ChatTokenizer
from butler.errors import ButlerError
from butler.reference.generate import Engine
from butler.serve.front import ServerLimits
from butler.serve.server import create_app
from live_server import CHAT, body, expected, start, wait_for, wait_until_idle


@pytest.fixture(scope="module")
def client(tiny: Path, engine: Engine) -> Iterator[TestClient]:
    with TestClient(create_app(engine, ChatTokenizer(tiny), "tiny")) as client:
        yield client


def events(response: httpx.Response) -> list[dict]:
    lines = [line for line in response.text.split("\n\n") if line]
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def test_models_and_health(client: TestClient) -> None:
    assert [m["id"] for m in client.get("/v1/models").json()["data"]] == ["tiny"]
    assert client.get("/health").json() == {"status": "ok", "answers": 0}


def test_answer_is_the_engines(client: TestClient, tiny: Path, engine: Engine) -> None:
    answer = client.post(CHAT, json=body()).json()
    choice, usage = answer["choices"][0], answer["usage"]
    assert choice["message"] == {
        "role": "assistant",
        "content": expected(tiny, engine, "土豆怎么做"),
    }
    assert choice["finish_reason"] == "length"
    prompt = ChatTokenizer(tiny).encode_chat(body()["messages"])
    assert usage == {
        "prompt_tokens": len(prompt),
        "completion_tokens": 24,
        "total_tokens": len(prompt) + 24,
    }


def test_stream_adds_up_to_the_whole_answer(client: TestClient) -> None:
    whole = client.post(CHAT, json=body()).json()
    options = {"stream": True, "stream_options": {"include_usage": True}}
    response = client.post(CHAT, json=body(**options))
    assert response.headers["content-type"].startswith("text/event-stream")
    *chunks, usage = events(response)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0]["role"] == "assistant"
    text = "".join(delta.get("content", "") for delta in deltas)
    assert text == whole["choices"][0]["message"]["content"]
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"
    assert usage["usage"] == whole["usage"]


def test_stop_string_ends_the_answer_before_it(client: TestClient) -> None:
    whole = client.post(CHAT, json=body()).json()["choices"][0]["message"]["content"]
    stop = whole[4:6]
    for options in ({"stop": stop}, {"stop": [stop, "zzz"]}):
        answer = client.post(CHAT, json=body(**options)).json()["choices"][0]
        assert answer["finish_reason"] == "stop"
        assert answer["message"]["content"] == whole[: whole.index(stop)]


def test_seed_repeats_a_sampled_answer(client: TestClient) -> None:
    def ask(seed: int) -> str:
        options = {"temperature": 2.0, "top_k": 0, "seed": seed}
        return client.post(CHAT, json=body(**options)).json()["choices"][0]["message"]["content"]

    assert ask(1) == ask(1) != ask(2)


def test_concurrent_chats_get_their_own_answers(
    client: TestClient, tiny: Path, engine: Engine
) -> None:
    questions = [f"第{i}道菜" * (i % 4 + 1) for i in range(10)]
    with ThreadPoolExecutor(10) as pool:
        replies = list(pool.map(lambda q: client.post(CHAT, json=body(q)).json(), questions))
    answers = [reply["choices"][0]["message"]["content"] for reply in replies]
    assert answers == [expected(tiny, engine, question) for question in questions]


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"model": "other"}, 404, "'other' is not served here"),
        ({"messages": []}, 400, "messages: List should have at least 1 item"),
        ({"messages": [{"role": "tool", "content": "x"}]}, 400, "messages.0.role"),
        ({"temperature": 2.5}, 400, "temperature is 2.5"),
        ({"temperature": "hot"}, 400, "temperature: Input should be a valid number"),
        ({"top_p": 0}, 400, "top_p is 0"),
        ({"max_tokens": 0}, 400, "max_tokens is 0; it must be 1 or more"),
        ({"max_completion_tokens": 0}, 400, "max_completion_tokens is 0; it must be"),
        ({"stop": ["x"] * 17}, 400, "stop: List should have at most 16 items"),
        ({"stop": ["x", 1]}, 400, "stop.1: Input should be a valid string"),
        ({"stop": 1}, 400, "stop: Input should be a valid string"),
        ({"messages": [{"role": "user", "content": []}]}, 400, "content: List should have at"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            400,
            "messages.0.content.0.type: Input should be 'text'",
        ),
        ({"n": 0}, 400, "n is 0; it must be in 1..128"),
        ({"n": 129}, 400, "n is 129; it must be in 1..128"),
        ({"presence_penalty": 2.5}, 400, "presence_penalty is 2.5; it must be in [-2, 2]"),
        ({"frequency_penalty": -3}, 400, "frequency_penalty is -3"),
        ({"logprobs": True, "top_logprobs": 21}, 400, "top_logprobs is 21; it must be in 0..20"),
        ({"top_logprobs": 2}, 400, "top_logprobs is 2; that needs logprobs: true"),
        ({"tools": [{"type": "function"}]}, 400, "tools is"),
        ({"store": True}, 400, "store is True, which this server cannot do"),
        ({"metadata": {"a": 1}}, 400, "metadata.a: Input should be a valid string"),
        (
            {"response_format": {"type": "json_object"}},
            400,
            "response_format is {'type': 'json_object'}, which this server cannot do",
        ),
        ({"temprature": 1}, 400, "temprature: Extra inputs"),
        (
            {"messages": [{"role": "user", "content": "x", "foo": 2}]},
            400,
            "messages.0: foo: Extra inputs",
        ),
        ({"stream_options": {"bar": 1}}, 400, "stream_options: bar: Extra inputs"),
        ({"messages": [{"role": "user", "content": "长" * 900}]}, 400, "the session holds 640"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_bad_request_gets_an_openai_error(
    client: TestClient, change: dict, status: int, message: str, stream: bool
) -> None:
    response = client.post(CHAT, json=body(**change, stream=stream))
    assert response.status_code == status
    error = response.json()["error"]
    assert message in error["message"]
    assert error["type"] == "invalid_request_error"
    codes = {404: "model_not_found"}
    too_long = "the session holds" in message
    assert error["code"] == ("context_length_exceeded" if too_long else codes.get(status))


def test_an_answers_own_message_may_be_sent_back(client: TestClient) -> None:
    said = {"role": "assistant", "content": "好", "tool_calls": [], "refusal": None, "audio": {}}
    turns = [{"role": "user", "content": "鱼"}, said, {"role": "user", "content": "肉"}]
    assert client.post(CHAT, json=body(messages=turns)).status_code == 200


def test_body_that_is_not_json_and_unknown_path(client: TestClient) -> None:
    headers = {"content-type": "application/json"}
    response = client.post(CHAT, content="{", headers=headers)
    assert response.status_code == 400
    assert "error" in response.json()
    typeless = client.post(CHAT, content=json.dumps(body()))
    assert typeless.status_code == 400
    said = typeless.json()["error"]["message"]
    assert said.endswith("add the header Content-Type: application/json")
    assert client.get("/v1/nothing").json()["error"]["message"] == "Not Found"


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[str, subprocess.Popen, Path]]:
    """Yield the address, process and port file of a real server with a long session."""
    folder = tmp_path_factory.mktemp("served")
    workspace = Tiny(session_len=20000).build(folder / "kv8", quant_policy=8)
    server = start(workspace, folder / "port")
    try:
        yield f"http://127.0.0.1:{wait_for(folder / 'port', server)}", server, folder / "port"
    finally:
        server.kill()
        server.wait()


def long_answer(stream: bool) -> dict:
    return body(stream=stream, max_tokens=19000) | {"model": "kv8"}


def test_abandoned_answers_leave_the_batch(served: tuple[str, subprocess.Popen, Path]) -> None:
    url, _, _ = served
    with httpx.stream("POST", url + CHAT, json=long_answer(True), timeout=60) as response:
        lines = response.iter_lines()
        next(lines)
        assert httpx.get(url + "/health").json()["answers"] == 1
    wait_until_idle(url, 5)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(url + CHAT, json=long_answer(False), timeout=0.5)
    wait_until_idle(url, 5)


def test_real_server_answers_and_ends_cleanly(served: tuple[str, subprocess.Popen, Path]) -> None:
    url, server, port_file = served
    answer = httpx.post(url + CHAT, json=body() | {"model": "kv8"}, timeout=60).json()
    assert answer["usage"]["completion_tokens"] == 24
    # A stream that is still open must not keep the server alive.
    with httpx.stream("POST", url + CHAT, json=long_answer(True), timeout=60) as response:
        lines = response.iter_lines()
        next(lines)
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=30) == 0
    assert not port_file.exists()


def test_command_line_fails_with_one_sentence(tiny: Path, tmp_path: Path) -> None:
    for folder, message in ((tmp_path, "not a TurboMind workspace"), (tiny, "is missing")):
        server = start(folder, tmp_path / "port", "--kv", "static")
        _, errors = server.communicate(timeout=60)
        assert server.returncode == 1
        assert message in errors.splitlines()[-1]
        assert "Traceback" not in errors
    assert not (tmp_path / "port").exists()


def test_a_shorter_session_can_be_asked_for(tiny: Path) -> None:
    args = SimpleNamespace(workspace=tiny, face="api", tp=None, session_len=64)
    assert serve.open_workspace(args).session_len == 64
    args.session_len = 641
    with pytest.raises(ButlerError, match="--session-len 641 is more than"):
        serve.open_workspace(args)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"face": "chat"}, "--as chat is LMDeploy's"),
        ({"tp": 2}, "--tp 2 is for --engine lmdeploy"),
    ],
)
def test_what_our_engine_cannot_do_is_refused(tiny: Path, change: dict, sentence: str) -> None:
    args = {"workspace": tiny, "face": "api", "tp": None, "session_len": None} | change
    with pytest.raises(ButlerError, match=sentence):
        serve.open_workspace(SimpleNamespace(**args))


@pytest.fixture
def front(tiny: Path, engine: Engine):
    """Return a function that serves with other limits."""
    with ExitStack() as stack:

        def serve_with(**limits: object) -> TestClient:
            app = create_app(engine, ChatTokenizer(tiny), "tiny", ServerLimits(**limits))
            return stack.enter_context(TestClient(app))

        yield serve_with


def test_without_the_key_nobody_is_served(front) -> None:
    client = front(api_key="secret")
    for headers in ({}, {"Authorization": "Bearer other"}, {"Authorization": "secret"}):
        for answer in (
            client.post(CHAT, json=body(), headers=headers),
            client.get("/v1/models", headers=headers),
            client.get("/metrics", headers=headers),
        ):
            assert answer.status_code == 401
            assert answer.json()["error"]["code"] == "invalid_api_key"
    assert client.get("/health").status_code == 200
    right = {"Authorization": "Bearer secret"}
    assert client.post(CHAT, json=body(), headers=right).status_code == 200


def chunked(size: int) -> Iterator[bytes]:
    """Give a body whose length no header tells."""
    for _ in range(size // 1000):
        yield b" " * 1000


def test_a_body_that_is_too_large_is_refused_unread(front) -> None:
    client = front(body_bytes=5000)
    told = client.post(CHAT, content=b" " * 6000)
    untold = client.post(CHAT, content=chunked(6000))
    for answer in (told, untold):
        assert answer.status_code == 413
        assert "5000 bytes" in answer.json()["error"]["message"]
    assert client.post(CHAT, json=body()).status_code == 200


def test_a_body_that_does_not_come_is_given_up(front) -> None:
    app = front(body_seconds=0.05, linger_seconds=0.05).app
    sent: list[dict] = []

    async def never() -> dict:
        await asyncio.sleep(60)
        return {}

    async def send(message: dict) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": CHAT, "headers": [], "query_string": b""}
    asyncio.run(app(scope, never, send))
    assert sent[0]["status"] == 408


def test_one_chat_too_many_is_told_to_come_back(front) -> None:
    client = front(chats=2)
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(client.post, CHAT, json=body(max_tokens=100)) for _ in range(8)]
        answers = [future.result() for future in asked]
    codes = sorted(answer.status_code for answer in answers)
    assert codes.count(200) >= 2
    refused = [answer for answer in answers if answer.status_code != 200]
    assert refused and {answer.status_code for answer in refused} == {429}
    assert {answer.headers["retry-after"] for answer in refused} == {"1"}
    # The places are free again.
    assert client.post(CHAT, json=body()).status_code == 200


def test_an_answer_has_its_time(front) -> None:
    client = front(answer_seconds=0.001)
    answer = client.post(CHAT, json=body(max_tokens=200))
    assert answer.status_code == 504
    assert answer.json()["error"]["code"] == "timeout"
    end = time.monotonic() + 20  # the batch drops it with its next step
    while client.get("/health").json()["answers"]:
        assert time.monotonic() < end, "it is still being answered"
        time.sleep(0.05)


def test_requests_and_tokens_are_counted(front) -> None:
    client = front()
    client.post(CHAT, json=body())
    client.post(CHAT, json=body(model="other"))
    client.get("/a/path/of/a/stranger")
    page = client.get("/metrics").text
    assert f'butler_requests_total{{code="200",path="{CHAT}"}} 1.0' in page
    assert f'butler_requests_total{{code="404",path="{CHAT}"}} 1.0' in page
    assert 'butler_requests_total{code="404",path="other"} 1.0' in page
    assert "butler_tokens_total 24.0" in page
    assert "butler_answers 0.0" in page
