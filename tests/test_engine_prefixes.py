"""Prompts that begin alike: what they share is run once, and no answer changes by it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tiny_workspace import HEAD, Tiny, tokens

torch = pytest.importorskip("torch")

from butler.reference.batch import RunningBatch
from butler.reference.generate import Engine
from butler.reference.model import Decoder
from butler.reference.prefixes import CHUNK, CachedPrefix, PrefixStore, shared_chunks
from butler.reference.sampling import SamplingParams

SHARED = 2 * CHUNK + 20  # two whole chunks of it can be copied


def prompts(tails: tuple[int, ...] = (40, 1, 200, 33)) -> list[list[int]]:
    """Questions behind the same examples, and one that begins otherwise."""
    examples = tokens(SHARED, seed=1)
    return [*(examples + tokens(tail, seed=tail) for tail in tails), tokens(300, seed=9)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Tiny(heads=4, kv_heads=2, layers=3).build(tmp_path_factory.mktemp("ws") / "ws")


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, list]]:
    """The tokens that went through the decoder, pass by pass, and all logits."""
    seen: dict[str, list] = {"tokens": [], "logits": []}
    forward, logits = Decoder.forward, Decoder.logits

    def counted(self, new, cache, row):
        seen["tokens"].append(new.numel())
        return forward(self, new, cache, row)

    def kept(self, hidden):
        seen["logits"].append(logits(self, hidden))
        return seen["logits"][-1]

    monkeypatch.setattr(Decoder, "forward", counted)
    monkeypatch.setattr(Decoder, "logits", kept)
    return seen


def run(batch: RunningBatch, asked: list[list[int]], new_tokens: int = 1) -> list[list[int]]:
    params = SamplingParams(max_new_tokens=new_tokens)
    answers = [batch.submit(prompt, params, frozenset()) for prompt in asked]
    while len(batch):
        batch.step()
    return [answer.tokens for answer in answers]


@pytest.mark.parametrize("kv", ["fp16", "int8", "int4"])
def test_logits_and_answers_are_those_without_sharing(
    folder: Path, passes: dict[str, list], kv: str
) -> None:
    engine = Engine.load(folder, kv=kv, threads=1)
    alone = [run(engine.new_batch(), [prompt])[0] for prompt in prompts()]
    expected = passes["logits"][:]
    passes["logits"].clear()
    assert run(engine.new_batch(), prompts()) == alone
    assert len(expected) == len(passes["logits"]) == len(prompts())
    for ours, theirs in zip(passes["logits"], expected, strict=True):
        assert torch.equal(ours, theirs)
    whole = [run(engine.new_batch(), [prompt], 12)[0] for prompt in prompts()]
    assert run(engine.new_batch(), prompts(), 12) == whole


def test_a_shared_prefix_is_run_once_also_when_nothing_runs_any_more(
    folder: Path, passes: dict[str, list]
) -> None:
    batch = Engine.load(folder, threads=1).new_batch()
    first, *others, strange = prompts()
    run(batch, [first])
    assert sum(passes["tokens"]) == len(first)
    passes["tokens"].clear()
    run(batch, others)
    assert sum(passes["tokens"]) == sum(len(prompt) - 2 * CHUNK for prompt in others)
    passes["tokens"].clear()
    run(batch, [strange])
    assert sum(passes["tokens"]) == len(strange)


def test_a_prompt_asked_twice_still_runs_its_last_token(
    folder: Path, passes: dict[str, list]
) -> None:
    batch = Engine.load(folder, threads=1).new_batch()
    prompt = tokens(2 * CHUNK, seed=3)
    again = run(batch, [prompt, prompt], 4)
    assert again[0] == again[1]
    assert passes["tokens"][:3] == [CHUNK, CHUNK, CHUNK]


def test_nothing_is_shared_without_room(folder: Path, passes: dict[str, list]) -> None:
    engine = Engine.load(folder, threads=1)
    batch = RunningBatch(engine.decoder, engine.new_cache(), 640, 4, prefix_bytes=0)
    run(batch, prompts())
    assert sum(passes["tokens"]) == sum(map(len, prompts()))


def made(seed: int, chunks: int = 2) -> CachedPrefix:
    count = chunks * CHUNK
    return CachedPrefix(tokens(count, seed), [torch.full((2, count, HEAD), seed).half()] * 3)


def test_the_store_is_bounded_and_forgets_what_was_not_used() -> None:
    one = made(0).bytes
    store = PrefixStore(2 * one)
    for seed in (1, 2):
        store.keep(made(seed))
    assert store.longest([*made(1).tokens, 7]).tokens == made(1).tokens
    store.keep(made(3))
    assert store.bytes == 2 * one
    found = {seed: len(store.longest([*made(seed).tokens, 7]).tokens) for seed in (1, 2, 3)}
    assert found == {1: 2 * CHUNK, 2: 0, 3: 2 * CHUNK}
    store.keep(made(4, chunks=5))
    assert store.bytes == 2 * one


def test_what_is_kept_is_a_copy_and_comes_once() -> None:
    store, given = PrefixStore(), made(1)
    store.keep(given)
    store.keep(given.first(CHUNK + 5))
    given.parts[0].zero_()
    kept = store.longest(tokens(CHUNK + 9, seed=1))
    assert store.bytes == given.bytes
    assert [part.shape[1] for part in kept.parts] == [CHUNK] * 3
    assert float(kept.parts[0].sum()) == 2 * CHUNK * HEAD


def test_only_whole_chunks_are_shared() -> None:
    long = list(range(3 * CHUNK))
    assert shared_chunks(long, long) == 2 * CHUNK
    assert shared_chunks([*long, 1], long) == 3 * CHUNK
    assert shared_chunks(long[: CHUNK + 1], long) == CHUNK
    assert shared_chunks(long[:CHUNK], long) == 0
    assert shared_chunks([1, *long], long) == 0
