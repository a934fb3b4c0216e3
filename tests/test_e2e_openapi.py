"""Schemathesis against the server: every answer is one that /openapi.json describes."""

from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest

from butler.reference.sampling import SEEDS
from live_server import start, wait_for
from tiny_workspace import Tiny

schemathesis = pytest.importorskip("schemathesis")
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable

pytestmark = pytest.mark.e2e
KEY = "a key"
EXAMPLES = 150
# What is asked follows from the test alone: an unlucky draw is no reason for a change not to land.
SAME_EACH_TIME = settings(derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("openapi")
    workspace = Tiny(session_len=5000).build(folder / "tiny")
    server = start(workspace, folder / "port", "--api-key", KEY)
    try:
        yield f"http://127.0.0.1:{wait_for(folder / 'port', server)}"
    finally:
        server.kill()
        server.wait()


def hurried(body: object) -> None:
    """Ask for the model that is there, else hardly a chat is answered, and for a few tokens."""
    if isinstance(body, dict) and isinstance(body.get("model"), str):
        body["model"] = "tiny"
        limits = {"max_tokens": 8, "n": 2}
        if "messages" in body:
            limits["max_completion_tokens"] = 8
        for name, limit in limits.items():
            asked = body.get(name)
            if asked is None or (type(asked) in (int, float) and asked > limit):
                body[name] = limit


def within_64_bits(body: object) -> None:
    """Mend a seed that is valid to the generator alone: it holds bounds against a double's value,
    and to a double the numbers just outside 64 bits are the same as the bound."""
    seed = body.get("seed") if isinstance(body, dict) else None
    if type(seed) is int and seed not in SEEDS:
        nearest = SEEDS[-1] if seed > 0 else SEEDS[0]
        body["seed"] = nearest if float(seed) == float(nearest) else seed


@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_every_answer_is_described(url: str, mode: str) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    description = httpx.get(f"{url}/openapi.json", headers=headers).json()
    schema = schemathesis.openapi.from_dict(description)
    schema.config.update(base_url=url)
    asked = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        cases = operation.as_strategy(generation_mode=schemathesis.GenerationMode(mode))

        @given(case=cases)
        @settings(SAME_EACH_TIME, max_examples=EXAMPLES)
        def one(case: "schemathesis.Case") -> None:
            nonlocal asked
            asked += 1
            hurried(case.body)
            if mode == "positive":
                within_64_bits(case.body)
            case.call_and_validate(headers=headers)

        with suppress(Unsatisfiable):  # a GET without parameters has nothing to get wrong
            one()
    print(f"{asked} requests")
    assert asked > EXAMPLES / 2
    assert httpx.get(f"{url}/health").json() == {"status": "ok", "answers": 0}
