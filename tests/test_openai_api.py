"""What OpenAI's own client may ask of the server, call by call, and what LMDeploy's may.

docs/api.md has the same as a table.
"""

import json
import math
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from real_tools import python_of
from tiny_workspace import Tiny

torch = pytest.importorskip("torch")
openai = pytest.importorskip("openai")
TestClient = pytest.importorskip("fastapi.testclient").TestClient

from butler.chat_tokenizer import ChatTokenizer
from butler.reference.generate import Engine
from butler.reference.sampling import SEEDS, SamplingParams
from butler.serve.front import ServerLimits
from butler.serve.server import create_app
from live_server import body, expected, start, wait_for

ASKED: dict[str, Any] = {"model": "tiny", "messages": body()["messages"], "max_tokens": 8}
PROMPT = (
    "<s><|im_start|>user\n土豆怎么做<|im_end|>\n<|im_start|>assistant\n"  # as the template has it
)
PAGE = "http://page.example"


@pytest.fixture(scope="module")
def http(tiny: Path, engine: Engine) -> Iterator[TestClient]:
    app = create_app(
        engine, ChatTokenizer(tiny), "tiny", ServerLimits(chats=8, api_key="key"), [PAGE]
    )
    with TestClient(app) as http:
        yield http


@pytest.fixture(scope="module")
def client(http: TestClient) -> "openai.OpenAI":
    return openai.OpenAI(
        base_url="http://testserver/v1", api_key="key", http_client=http, max_retries=0
    )


def text_of(chunks: Any, index: int = 0) -> str:
    """Return the text that a stream's chunks add up to."""
    choices = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
    return "".join((c.delta.content if hasattr(c, "delta") else c.text) or "" for c in choices)


def test_a_chat_whole_and_streamed(client: "openai.OpenAI", tiny: Path, engine: Engine) -> None:
    asked = ASKED | {"max_tokens": 24, "temperature": 0}
    whole = client.chat.completions.create(**asked)
    assert whole.choices[0].message.content == expected(tiny, engine, "土豆怎么做")
    assert text_of(client.chat.completions.create(**asked, stream=True)) == (
        whole.choices[0].message.content
    )


def test_models_are_listed_and_found(client: "openai.OpenAI") -> None:
    [card] = client.models.list().data
    assert client.models.retrieve("tiny") == card
    with pytest.raises(openai.NotFoundError, match="'a/b' is not served here"):
        client.models.retrieve("a/b")
    with pytest.raises(openai.NotFoundError, match="'other' is not served here"):
        client.chat.completions.create(**ASKED | {"model": "other"})


def test_a_completion_goes_on_from_the_prompt_as_it_stands(client: "openai.OpenAI") -> None:
    """Of the prompt that the chat template writes, it is the chat's answer."""
    answer = client.chat.completions.create(**ASKED, temperature=0)
    asked = {"model": "tiny", "prompt": PROMPT, "temperature": 0, "max_tokens": 8}
    whole = client.completions.create(**asked)
    assert whole.choices[0].text == answer.choices[0].message.content
    assert whole.usage == answer.usage
    assert whole.choices[0].finish_reason == "length"
    chunks = list(
        client.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    )
    assert text_of(chunks) == whole.choices[0].text
    assert chunks[-1].usage == whole.usage
    assert client.completions.create(model="tiny", prompt="鱼").usage.completion_tokens <= 16


def test_prompts_and_choices_are_answered_in_order(client: "openai.OpenAI") -> None:
    asked: dict[str, Any] = {"model": "tiny", "max_tokens": 6, "seed": 5, "top_p": 0.9}
    together = client.completions.create(prompt=["鱼", "肉肉"], n=2, **asked)
    assert [choice.index for choice in together.choices] == [0, 1, 2, 3]
    alone = [client.completions.create(prompt=p, n=2, **asked) for p in ("鱼", "肉肉")]
    assert [c.text for c in together.choices] == [c.text for one in alone for c in one.choices]
    counts = [one.usage for one in alone]
    assert together.usage.prompt_tokens == sum(one.prompt_tokens for one in counts)
    assert together.usage.completion_tokens == sum(one.completion_tokens for one in counts)


def test_choices_differ_as_they_are_drawn_and_repeat_by_their_seed(
    client: "openai.OpenAI",
) -> None:
    asked: dict[str, Any] = ASKED | {"temperature": 2.0, "extra_body": {"top_k": 0}}
    for seed in (7, SEEDS[-1]):  # the last has a next one, too
        first, again = (client.chat.completions.create(**asked, n=3, seed=seed) for _ in "ab")
        texts = [choice.message.content for choice in first.choices]
        assert texts == [choice.message.content for choice in again.choices]
        assert len(set(texts)) == 3
    second = client.chat.completions.create(**asked, seed=8)
    with_7 = client.chat.completions.create(**asked, n=2, seed=7)
    assert second.choices[0].message.content == with_7.choices[1].message.content
    free = client.chat.completions.create(**asked, n=3)
    assert len({choice.message.content for choice in free.choices}) == 3
    greedy = client.chat.completions.create(**ASKED, n=3, temperature=0)
    assert len({choice.message.content for choice in greedy.choices}) == 1


def test_streamed_choices_are_the_whole_ones(client: "openai.OpenAI") -> None:
    asked = ASKED | {"n": 3, "seed": 1, "stop": ["\u0001"], "temperature": 1.5}
    whole = client.chat.completions.create(**asked)
    chunks = list(client.chat.completions.create(**asked, stream=True))
    for choice in whole.choices:
        assert text_of(chunks, choice.index) == choice.message.content
    ends = [c for chunk in chunks for c in chunk.choices if c.finish_reason]
    assert sorted(end.index for end in ends) == [0, 1, 2]


def test_more_answers_than_the_server_takes_are_refused(
    client: "openai.OpenAI", http: TestClient
) -> None:
    with pytest.raises(openai.BadRequestError, match="9 answers are asked for at once"):
        client.chat.completions.create(**ASKED, n=9)
    assert len(client.chat.completions.create(**ASKED, n=8).choices) == 8
    assert (
        "butler_answers 0.0" in http.get("/metrics", headers={"Authorization": "Bearer key"}).text
    )


def test_one_choices_stop_string_leaves_the_others(client: "openai.OpenAI") -> None:
    asked: dict[str, Any] = ASKED | {"max_tokens": 60, "seed": 3, "temperature": 1.0, "n": 4}
    free = [c.message.content for c in client.chat.completions.create(**asked).choices]
    stop = next(letter for letter in free[0] if any(letter not in text for text in free))
    found = client.chat.completions.create(**asked, stop=stop).choices
    assert [c.message.content for c in found] == [text.split(stop)[0] for text in free]
    reasons = {c.finish_reason for c in found}
    assert found[0].finish_reason == "stop" and "length" in reasons


def test_penalties_change_a_greedy_answer(
    client: "openai.OpenAI", tiny: Path, engine: Engine
) -> None:
    tokenizer = ChatTokenizer(tiny)
    prompt = tokenizer.encode_chat(ASKED["messages"])
    for name in ("presence_penalty", "frequency_penalty"):
        asked = ASKED | {"temperature": 0, "max_tokens": 40, name: 2.0}
        found = client.chat.completions.create(**asked).choices[0].message.content
        params = SamplingParams(max_new_tokens=40, **{name: 2.0})
        [wanted] = engine.generate([prompt], params, list(tokenizer.stop_ids))
        assert found == tokenizer.decode(wanted.tokens) != plain_answer(client)


def plain_answer(client: "openai.OpenAI") -> str:
    asked = ASKED | {"temperature": 0, "max_tokens": 40}
    return client.chat.completions.create(**asked).choices[0].message.content


def test_logprobs_of_a_chat_are_the_models(
    client: "openai.OpenAI", tiny: Path, engine: Engine
) -> None:
    """Also where temperature and penalties choose otherwise."""
    asked = ASKED | {"logprobs": True, "top_logprobs": 3, "temperature": 1.7, "seed": 2}
    asked |= {"presence_penalty": 1.5, "n": 2}
    whole = client.chat.completions.create(**asked)
    tokenizer = ChatTokenizer(tiny)
    prompt = tokenizer.encode_chat(ASKED["messages"])
    params = SamplingParams(
        max_new_tokens=8, temperature=1.7, top_k=40, presence_penalty=1.5, seed=2
    )
    [drawn] = engine.generate([prompt], params, list(tokenizer.stop_ids))
    rows = engine.logits([*prompt, *drawn.tokens]).log_softmax(-1)[len(prompt) - 1 :]
    content = whole.choices[0].logprobs.content
    assert len(content) == len(drawn.tokens)
    for token, row, found in zip(drawn.tokens, rows, content, strict=False):
        assert found.logprob == pytest.approx(float(row[token]), abs=1e-4)
        assert found.token == tokenizer.text_of(token)
        tops = [one.logprob for one in found.top_logprobs]
        assert tops == pytest.approx(row.topk(3).values.tolist(), abs=1e-4)
    chunks = list(client.chat.completions.create(**asked, stream=True))
    for index in range(2):
        streamed = [
            entry
            for chunk in chunks
            for choice in chunk.choices
            if choice.index == index and choice.logprobs
            for entry in choice.logprobs.content
        ]
        assert streamed == whole.choices[index].logprobs.content


def test_a_token_that_is_part_of_a_character_has_no_bytes(client: "openai.OpenAI") -> None:
    asked = ASKED | {"logprobs": True, "max_tokens": 60, "temperature": 0}
    for entry in client.chat.completions.create(**asked).choices[0].logprobs.content:
        assert entry.top_logprobs == []
        part = "\ufffd" in entry.token
        assert entry.bytes is None if part else bytes(entry.bytes).decode() == entry.token


def test_logprobs_of_a_completion(client: "openai.OpenAI") -> None:
    asked: dict[str, Any] = {"model": "tiny", "prompt": PROMPT, "temperature": 0, "max_tokens": 8}
    chat = client.chat.completions.create(**ASKED, temperature=0, logprobs=True, top_logprobs=2)
    whole = client.completions.create(**asked, logprobs=2)
    found, entries = whole.choices[0].logprobs, chat.choices[0].logprobs.content
    assert found.tokens == [entry.token for entry in entries]
    assert found.token_logprobs == pytest.approx([entry.logprob for entry in entries], abs=1e-4)
    for token, value, tops in zip(
        found.tokens, found.token_logprobs, found.top_logprobs, strict=True
    ):
        assert tops[token] == pytest.approx(value) and 1 <= len(tops) <= 3
    lengths = [len(token) for token in found.tokens]
    assert found.text_offset == [sum(lengths[:i]) for i in range(len(lengths))]
    chunks = client.completions.create(**asked, logprobs=2, stream=True)
    parts = [c.logprobs for chunk in chunks for c in chunk.choices if c.logprobs]
    assert [offset for part in parts for offset in part.text_offset] == found.text_offset
    only = client.completions.create(**asked, logprobs=0).choices[0].logprobs
    assert [set(tops) for tops in only.top_logprobs] == [{token} for token in only.tokens]
    assert all(math.isfinite(value) for value in only.token_logprobs)


def test_a_developers_message_is_the_systems(client: "openai.OpenAI") -> None:
    def answer(role: str) -> str:
        turns = [{"role": role, "content": "只说一个字"}, *ASKED["messages"]]
        whole = client.chat.completions.create(**ASKED | {"messages": turns}, temperature=0)
        return whole.choices[0].message.content

    assert answer("developer") == answer("system")


HARMLESS: dict[str, Any] = {
    "metadata": {"run": "7"},
    "user": "me",
    "service_tier": "auto",
    "parallel_tool_calls": True,
    "prompt_cache_key": "k",
    "safety_identifier": "s",
    "store": False,
    "modalities": ["text"],
    "response_format": {"type": "text"},
    "tool_choice": "none",
    "logit_bias": {},
}


def test_null_is_the_default(client: "openai.OpenAI") -> None:
    """And not, as the engine's own default is, greedy."""
    fields = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "n", "stop", "user")
    nulls = dict.fromkeys((*fields, "top_k", "repetition_penalty"), None)
    for seed in range(3):
        asked = ASKED | {"seed": seed, "max_tokens": 20}
        plain = client.chat.completions.create(**asked)
        found = client.chat.completions.create(**asked, extra_body=nulls)
        assert found.choices == plain.choices


def test_what_changes_nothing_is_taken(client: "openai.OpenAI") -> None:
    plain = client.chat.completions.create(**ASKED, temperature=0)
    found = client.chat.completions.create(**ASKED, temperature=0, **HARMLESS)
    assert found.choices == plain.choices


REFUSED: dict[str, tuple[Callable[..., Any], str]] = {
    "json": (
        lambda c: c.chat.completions.create(**ASKED, response_format={"type": "json_object"}),
        "response_format is",
    ),
    "bias": (lambda c: c.chat.completions.create(**ASKED, logit_bias={"1": 5}), "logit_bias is"),
    "echo": (lambda c: c.completions.create(model="tiny", prompt="x", echo=True), "echo is True"),
    "best": (lambda c: c.completions.create(model="tiny", prompt="x", best_of=2), "best_of is 2"),
    "suffix": (lambda c: c.completions.create(model="tiny", prompt="x", suffix="y"), "suffix is"),
    "empty": (lambda c: c.completions.create(model="tiny", prompt=""), "at least 1 character"),
    "tokens": (lambda c: c.completions.create(model="tiny", prompt=[1, 2]), "valid string"),
    "many": (lambda c: c.completions.create(model="tiny", prompt=["x"] * 17), "at most 16 items"),
    "six": (lambda c: c.completions.create(model="tiny", prompt="x", logprobs=6), "in 0..5"),
    "long": (lambda c: c.completions.create(model="tiny", prompt="x" * 900), "session holds 640"),
}


@pytest.mark.parametrize("call", REFUSED)
def test_what_is_refused_is_a_400_that_says_what(client: "openai.OpenAI", call: str) -> None:
    ask, sentence = REFUSED[call]
    with pytest.raises(openai.BadRequestError, match=sentence):
        ask(client)


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.embeddings.create(model="tiny", input="x"),
        lambda c: c.responses.create(model="tiny", input="x"),
        lambda c: c.moderations.create(input="x"),
    ],
    ids=["embeddings", "responses", "moderations"],
)
def test_other_routes_are_404(client: "openai.OpenAI", call: Callable[..., Any]) -> None:
    with pytest.raises(openai.NotFoundError, match="Not Found"):
        call(client)


def test_a_page_that_is_named_may_ask_from_a_browser(http: TestClient) -> None:
    """The browser asks first, without the key; refusals, too, name the page."""
    asks = {"Access-Control-Request-Method": "POST"}
    asks["Access-Control-Request-Headers"] = "authorization,content-type"
    path = "/v1/chat/completions"
    for origin, allowed in ((PAGE, PAGE), ("http://other.example", None)):
        for answer in (
            http.options(path, headers={"Origin": origin, **asks}),
            http.post(path, json=ASKED, headers={"Origin": origin}),
        ):
            assert answer.headers.get("access-control-allow-origin") == allowed
    assert http.post(path, json=ASKED, headers={"Origin": PAGE}).status_code == 401


def test_without_a_page_named_no_browser_may(tiny: Path, engine: Engine) -> None:
    with TestClient(create_app(engine, ChatTokenizer(tiny), "tiny")) as http:
        headers = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
        answer = http.options("/v1/chat/completions", headers=headers)
        assert answer.status_code == 405
        assert "access-control-allow-origin" not in answer.headers


LMDEPLOY = """
import json, sys
from lmdeploy.serve.openai.api_client import APIClient

client = APIClient(sys.argv[1], api_key="key")
asked = {"model": "tiny", "temperature": 0, "max_tokens": 8}
chat = {**asked, "messages": json.loads(sys.argv[2])}
text = {**asked, "prompt": sys.argv[3]}
print(json.dumps({
    "models": client.available_models,
    "chat": list(client.chat_completions_v1(**chat)),
    "chat streamed": list(client.chat_completions_v1(**chat, stream=True)),
    "text": list(client.completions_v1(**text)),
    "text streamed": list(client.completions_v1(**text, stream=True)),
    "interactive": list(client.chat_interactive_v1("x")),
}))
"""


@pytest.mark.e2e
def test_lmdeploys_own_client_is_served(tmp_path: Path) -> None:
    server = start(Tiny().build(tmp_path / "tiny"), tmp_path / "port", "--api-key", "key")
    try:
        url = f"http://127.0.0.1:{wait_for(tmp_path / 'port', server)}"
        words = [python_of("lmdeploy"), "-c", LMDEPLOY, url, json.dumps(ASKED["messages"]), PROMPT]
        done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=True)
    finally:
        server.kill()
        server.wait()
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["models"] == ["tiny"]
    said = found["chat"][0]["choices"][0]["message"]["content"]
    assert said == found["text"][0]["choices"][0]["text"] != ""
    deltas = [chunk["choices"][0]["delta"] for chunk in found["chat streamed"]]
    assert "".join(delta.get("content", "") for delta in deltas) == said
    assert "".join(c["choices"][0]["text"] for c in found["text streamed"]) == said
    assert found["interactive"][0]["error"]["message"] == "Not Found"
