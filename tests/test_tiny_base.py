"""The shipped tiny base: it reads exam prompts, knows the facts, and is no recipe assistant yet."""

import json
from pathlib import Path

import pytest

from butler.demo.exam import make_benchmark
from butler.demo.pretraining import ANSWER_FORM, BOS, TEMPLATE

torch = pytest.importorskip("torch", reason="needs torch (requirements-dev.txt)")

from butler.chat_template import ChatTemplate  # noqa: E402
from butler.demo.tiny_model import TinyConfig, TinyInternLM2, load_model, save_model  # noqa: E402
from butler.demo.tiny_score import exam_accuracy, exam_prompt, greedy  # noqa: E402
from butler.demo.tiny_tokenizer import (  # noqa: E402
    SPECIAL,
    load_tokenizer,
    save_tokenizer,
    train_tokenizer,
)

BASE = Path(__file__).resolve().parents[1] / "data" / "base" / "tiny"


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(BASE)


@pytest.fixture(scope="module")
def model():
    return load_model(BASE)


def test_tokenizer_is_lossless_and_keeps_digits_apart(tokenizer):
    text = "做西红柿炒鸡蛋：37×2=74 😋 NaOH\n\u3000鳜鱼"
    encoded = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(encoded.ids) == text
    assert "37" not in encoded.tokens and "74" not in encoded.tokens


def test_special_tokens_are_single_and_in_place(tokenizer):
    for number, content in enumerate(SPECIAL):
        assert tokenizer.encode(content, add_special_tokens=False).ids == [number]
    assert tokenizer.encode("盐").ids[0] == SPECIAL.index("<s>")


def test_a_word_has_the_same_tokens_in_any_sentence(tokenizer):
    inside = tokenizer.encode("元素锰的符号", add_special_tokens=False).ids
    alone = tokenizer.encode("锰", add_special_tokens=False).ids
    assert any(inside[i : i + len(alone)] == alone for i in range(len(inside)))


def test_five_shot_prompts_are_short(tokenizer):
    for splits in make_benchmark().values():
        for question in splits["val"]:
            prompt = exam_prompt(splits["dev"], question)
            assert len(tokenizer.encode(prompt, add_special_tokens=False).ids) < 1500


def test_chat_template_is_the_repositorys():
    config = json.loads((BASE / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert config["chat_template"] == ChatTemplate.load(TEMPLATE).to_jinja()


def test_base_is_far_above_chance(model, tokenizer):
    asked = [
        ([], question) for splits in make_benchmark().values() for question in splits["val"][:4]
    ]
    assert exam_accuracy(model, tokenizer, asked) >= 0.8


def test_base_does_not_answer_recipes_in_the_asked_form(model, tokenizer):
    chat = [{"role": "user", "content": "西红柿炒鸡蛋的做法"}]
    answer = greedy(model, tokenizer, BOS + ChatTemplate.load(TEMPLATE).render(chat), 12)
    assert len(answer) >= 6
    assert not answer.startswith(ANSWER_FORM[0][:4])


def test_weights_fit_fp16_and_w4():
    weights = load_model(BASE).state_dict()
    assert all(bool(torch.isfinite(weight).all()) for weight in weights.values())
    for name, weight in weights.items():
        if weight.dim() == 2:
            assert weight.shape[1] % 128 == 0, name
            assert weight.abs().max() < 64, name


def test_model_and_tokenizer_survive_saving(tmp_path):
    torch.manual_seed(0)
    tokenizer = train_tokenizer(["清水煮豆腐。"] * 5, vocabulary=300)
    save_tokenizer(tokenizer, tmp_path, TEMPLATE)
    config = TinyConfig(vocab_size=320, num_hidden_layers=1)
    made = TinyInternLM2(config).half().float().eval()
    save_model(made, tmp_path)
    tokens = torch.tensor([load_tokenizer(tmp_path).encode("清水豆腐").ids])
    assert torch.equal(load_model(tmp_path)(tokens), made(tokens))


def test_attention_looks_back_only(model):
    torch.manual_seed(0)
    tokens = torch.randint(5, 1900, (1, 12))
    changed = tokens.clone()
    changed[0, 8:] = 7
    with torch.no_grad():
        one, other = model(tokens), model(changed)
    assert torch.allclose(one[:, :8], other[:, :8], atol=1e-4)
    assert not torch.allclose(one[:, 8:], other[:, 8:], atol=1e-2)
