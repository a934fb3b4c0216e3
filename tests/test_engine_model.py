"""The engine against a plain forward pass of the same weights."""

from dataclasses import replace
from pathlib import Path

import pytest

from tiny_workspace import HEAD, Tiny

torch = pytest.importorskip("torch")

from butler.errors import ButlerError
from butler.reference.generate import Engine
from butler.reference.model import inverse_frequencies
from butler.reference.sampling import SamplingParams
from butler.reference.workspace_config import Rope

SHAPES = {
    "internlm2": Tiny(),
    "one kv head for four": Tiny(heads=4, kv_heads=1),
    "grouped": Tiny(heads=4, kv_heads=2, hidden=384, theta=1e6),
    "normed heads": Tiny(heads=4, kv_heads=2, qk_norm=True),
    "ungrouped with biases": Tiny(kv_heads=2, bias=True),
    "w4": Tiny(w4=True),
    "w4 with biases": Tiny(w4=True, bias=True, kv_heads=2),
}


def tokens(count: int, seed: int = 0, vocab: int = 300) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(5, vocab, (count,), generator=generator).tolist()


@pytest.fixture(scope="module", params=SHAPES.values(), ids=SHAPES.keys())
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    tiny = replace(request.param, tensors={}, files={})
    return tiny, tiny.build(tmp_path_factory.mktemp("ws") / "ws")


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tiny, Path]:
    tiny = Tiny(heads=4, kv_heads=2, layers=3)
    return tiny, tiny.build(tmp_path_factory.mktemp("ws") / "ws")


def test_logits_and_likelihood_are_those_of_the_plain_model(pair: tuple[Tiny, Path]) -> None:
    tiny, path = pair
    prompt = tokens(40)
    expected = tiny.logits(prompt)
    engine = Engine.load(path, kv="fp32", threads=1)
    torch.testing.assert_close(engine.logits(prompt), expected, atol=2e-4, rtol=1e-4)
    nll = -expected.log_softmax(-1)[range(39), prompt[1:]].mean()
    assert engine.nll(prompt) == pytest.approx(float(nll), abs=1e-5)


def test_greedy_answer_with_cache_is_the_plain_one(pair: tuple[Tiny, Path]) -> None:
    tiny, path = pair
    prompt = tokens(9, seed=1)
    [answer] = Engine.load(path).generate([prompt], SamplingParams(max_new_tokens=12))
    assert answer.tokens == tiny.greedy(prompt, 12)
    assert answer.finish == "length"


def test_batched_answers_are_those_given_one_at_a_time(grouped: tuple[Tiny, Path]) -> None:
    _, path = grouped
    engine = Engine.load(path, max_batch=4)
    prompts = [tokens(n, seed=n) for n in (3, 30, 1, 17, 8, 55, 2)]
    params = SamplingParams(max_new_tokens=20)
    alone = [engine.generate([p], params)[0] for p in prompts]
    # Stopping at a token of one answer makes sequences leave the batch at different steps.
    stops = [alone[1].tokens[3], alone[4].tokens[10]]
    alone = [engine.generate([p], params, stops)[0] for p in prompts]
    together = engine.generate(prompts, params, stops)
    assert together == alone
    assert {c.finish for c in together} == {"stop", "length"}
    assert not any(set(stops) & set(c.tokens) for c in together)


def test_prompt_longer_than_a_chunk_is_run_as_one(grouped: tuple[Tiny, Path]) -> None:
    tiny, path = grouped
    prompt = tokens(600)
    engine = Engine.load(path, kv="fp32")
    torch.testing.assert_close(engine.logits(prompt), tiny.logits(prompt), atol=2e-4, rtol=1e-4)


# A last-bit difference of a key can move its stored code by one step.
@pytest.mark.parametrize(("kv", "atol"), [("fp32", 1e-4), ("fp16", 2e-3), ("int8", 2e-2)])
def test_decoding_step_by_step_gives_the_logits_of_one_pass(
    grouped: tuple[Tiny, Path], kv: str, atol: float
) -> None:
    _, path = grouped
    engine = Engine.load(path, kv=kv)
    prompt = tokens(300)
    cache = engine.new_cache()
    cache.add()
    with torch.inference_mode():
        engine.decoder.forward(torch.tensor([prompt[:290]]), cache, 0)
        stepped = [
            engine.decoder.logits(engine.decoder.forward(torch.tensor([[t]]), cache, 0))[0, 0]
            for t in prompt[290:]
        ]
    torch.testing.assert_close(
        torch.stack(stepped), engine.logits(prompt)[290:], atol=atol, rtol=1e-4
    )


@pytest.mark.parametrize(
    ("kv", "vector", "most"), [("int8", HEAD + 4, 0.05), ("int4", HEAD // 2 + 4, 0.3)]
)
def test_a_quantised_cache_costs_little_and_is_really_used(
    grouped: tuple[Tiny, Path], kv: str, vector: int, most: float
) -> None:
    tiny, path = grouped
    prompt = tokens(200)
    engine = Engine.load(path, kv="fp32")
    exact, quantised = engine.nll(prompt), Engine.load(path, kv=kv)
    assert 0 < abs(quantised.nll(prompt) - exact) < most
    wide = Engine.load(path, kv="fp16").new_cache().bytes_per_token()
    assert wide == tiny.layers * 2 * tiny.kv_heads * HEAD * 2
    # TurboMind's: codes, and two numbers in fp16 for each head's vector.
    narrow = quantised.new_cache().bytes_per_token()
    assert narrow == tiny.layers * 2 * tiny.kv_heads * vector


def test_static_scales_are_used_and_too_narrow_ones_hurt(tmp_path: Path) -> None:
    tiny = Tiny()
    path = tiny.build(tmp_path / "ws")
    prompt = tokens(100)
    exact = Engine.load(path, kv="fp32").nll(prompt)
    losses = {}
    for width in (30.0, 0.5):
        scales = torch.tensor([width / 255, 0.0, width / 255, 0.0])
        for i in range(tiny.layers):
            file = path / f"triton_models/weights/layers.{i}.past_kv_scale.0.weight"
            scales.numpy().tofile(file)
        losses[width] = Engine.load(path, kv="static").nll(prompt)
    assert abs(losses[30.0] - exact) < 0.05
    assert abs(losses[0.5] - exact) > 0.2


def test_stream_yields_the_same_answer_token_by_token(grouped: tuple[Tiny, Path]) -> None:
    engine = Engine.load(grouped[1])
    prompt, params = tokens(12), SamplingParams(max_new_tokens=8)
    [whole] = engine.generate([prompt], params)
    assert list(engine.stream(prompt, params, ())) == whole.tokens


def test_session_length_ends_an_answer(tmp_path: Path) -> None:
    path = Tiny().build(tmp_path / "ws", quant_policy=8, session_len=24)
    engine = Engine.load(path)
    assert engine.kv == "int8"
    [answer] = engine.generate([tokens(20)])
    assert (len(answer.tokens), answer.finish) == (4, "length")
    with pytest.raises(ButlerError, match="24 tokens and the session holds 24"):
        engine.generate([tokens(24)])
    with pytest.raises(ButlerError, match="25 tokens given; the workspace takes 1 to 24"):
        engine.logits(tokens(25))


def test_tokens_outside_the_vocabulary_are_refused(grouped: tuple[Tiny, Path]) -> None:
    engine = Engine.load(grouped[1])
    for bad in ([300], [-1]):
        with pytest.raises(ButlerError, match="vocabulary of 300"):
            engine.generate([bad])
    with pytest.raises(ButlerError, match="prompt is empty"):
        engine.generate([[]])


def test_rope_scaling_follows_its_definitions() -> None:
    plain = Rope(10000.0, "", 0.0, 1.0, 1.0, 0)
    base = inverse_frequencies(plain, HEAD)
    linear = inverse_frequencies(replace(plain, kind="linear", factor=4.0), HEAD)
    torch.testing.assert_close(linear, base / 4)
    llama3 = replace(plain, kind="llama3", factor=8.0, high_freq_factor=4.0, original_positions=512)
    scaled = inverse_frequencies(llama3, HEAD)
    wavelength = 2 * torch.pi / base
    for wave, old, new in zip(wavelength.tolist(), base.tolist(), scaled.tolist(), strict=True):
        if wave < 512 / 4:
            assert new == pytest.approx(old)
        elif wave > 512:
            assert new == pytest.approx(old / 8)
        else:
            smooth = (512 / wave - 1) / 3
            assert new == pytest.approx((1 - smooth) * old / 8 + smooth * old)
