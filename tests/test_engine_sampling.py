"""How the next token is chosen."""

import pytest

torch = pytest.importorskip("torch")

from butler.errors import ButlerError
from butler.reference.sampling import (
    SamplingParams,
    choose,
    filtered_probabilities,
    likelihood,
    penalise_repetition,
)

LOGITS = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", float("nan")),
        ("top_k", -1),
        ("top_p", 0.0),
        ("top_p", 1.01),
        ("repetition_penalty", 0.0),
        ("repetition_penalty", 1e308),
        ("repetition_penalty", float("inf")),
        ("max_new_tokens", 0),
        ("presence_penalty", 2.1),
        ("presence_penalty", float("nan")),
        ("frequency_penalty", -2.1),
        ("alternatives", -1),
        ("alternatives", 21),
        ("seed", 2**70),
    ],
)
def test_values_out_of_range_are_named(name: str, value: float) -> None:
    with pytest.raises(ButlerError, match=f"{name} is"):
        SamplingParams(**{name: value})


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"temperature": 1.0}, [0.4, 0.3, 0.2, 0.1]),
        ({"temperature": 1.0, "top_k": 2}, [4 / 7, 3 / 7, 0, 0]),
        ({"temperature": 1.0, "top_p": 0.65}, [4 / 7, 3 / 7, 0, 0]),
        ({"temperature": 1.0, "top_p": 0.71}, [4 / 9, 3 / 9, 2 / 9, 0]),
        ({"temperature": 1.0, "top_p": 0.01}, [1, 0, 0, 0]),
        ({"temperature": 0.5}, [16 / 30, 9 / 30, 4 / 30, 1 / 30]),
        ({"temperature": 1.0, "top_k": 3, "top_p": 0.65}, [4 / 7, 3 / 7, 0, 0]),
    ],
)
def test_probabilities_left_after_the_filters(params: dict, expected: list[float]) -> None:
    [found] = filtered_probabilities(LOGITS.unsqueeze(0), [SamplingParams(**params)])
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float32))


def test_rows_are_filtered_by_their_own_settings() -> None:
    params = [
        SamplingParams(temperature=1.0),
        SamplingParams(temperature=0.5, top_k=2),
        SamplingParams(temperature=1.0, top_k=3, top_p=0.65),
    ]
    together = filtered_probabilities(LOGITS.expand(3, -1), params)
    alone = [filtered_probabilities(LOGITS.unsqueeze(0), [p])[0] for p in params]
    torch.testing.assert_close(together, torch.stack(alone))


@pytest.mark.parametrize("temperature", [1e-40, 1e-320])
@pytest.mark.parametrize("penalty", [0.01, 1.0, 100.0])
def test_extreme_settings_still_choose_a_token(temperature: float, penalty: float) -> None:
    params = SamplingParams(temperature=temperature, repetition_penalty=penalty, seed=1)
    logits = torch.tensor([[3e4, -3e4, 2e4]])
    assert choose(logits, [params], [[1]], [[]], [params.generator()]) == [0]


def test_repetition_penalty_lowers_seen_tokens_of_either_sign() -> None:
    logits = torch.tensor([2.0, -2.0, 1.0])
    found = penalise_repetition(logits, torch.tensor([0, 1, 0]), 2.0)
    assert found.tolist() == [1.0, -4.0, 1.0]
    assert logits.tolist() == [2.0, -2.0, 1.0]


def test_greedy_takes_the_penalty_into_account() -> None:
    logits = torch.tensor([[2.0, 1.5]])
    params = SamplingParams(repetition_penalty=2.0)
    assert choose(logits, [params], [[0]], [[]], [params.generator()]) == [1]


@pytest.mark.parametrize(
    ("penalties", "expected"),
    [
        ({"presence_penalty": 1.0}, [2, 0]),  # 3 - 1, 2.5 - 1, 1.75: the first stays ahead
        ({"presence_penalty": 2.0}, [2, 2]),
        ({"frequency_penalty": 0.6}, [2, 1]),  # 3 - 3 * 0.6, 2.5 - 0.6, 1.75
        ({"frequency_penalty": -1.0}, [2, 0]),
    ],
)
def test_what_the_answer_has_is_penalised_once_or_each_time(
    penalties: dict, expected: list[int]
) -> None:
    """The prompt does not count: there token 2 stands, the likeliest but for penalties."""
    logits = torch.tensor([3.0, 2.5, 1.75])
    params = SamplingParams(**penalties)
    chosen = [
        choose(row.unsqueeze(0), [params], [[2, 2]], [answer], [params.generator()])[0]
        for row, answer in ((logits.flip(0), []), (logits, [0, 1, 0, 0]))
    ]
    assert chosen == expected


def test_a_likelihood_is_the_models_own() -> None:
    """Neither penalties nor temperature are in it: it is that of the bare logits."""
    found = likelihood(LOGITS + 5.0, 2, 2)
    assert found.own == pytest.approx(float(LOGITS[2]))
    assert [token for token, _ in found.likeliest] == [0, 1]
    assert [value for _, value in found.likeliest] == pytest.approx(LOGITS[:2].tolist())
    assert likelihood(LOGITS, 0, 0).likeliest == []
    assert len(likelihood(LOGITS, 0, 20).likeliest) == 4


def draws(params: SamplingParams, count: int = 2000) -> list[int]:
    generator = params.generator()
    row = LOGITS.unsqueeze(0)
    return [choose(row, [params], [[]], [[]], [generator])[0] for _ in range(count)]


def test_draws_follow_the_probabilities_and_the_seed() -> None:
    params = SamplingParams(temperature=1.0, seed=3)
    found = draws(params)
    assert found == draws(params)
    assert found != draws(SamplingParams(temperature=1.0, seed=4))
    shares = torch.bincount(torch.tensor(found), minlength=4) / len(found)
    torch.testing.assert_close(shares, LOGITS.exp(), atol=0.05, rtol=0)
