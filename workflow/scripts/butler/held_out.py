"""The held-out text that the checks measure on."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

from butler.chat_template import ChatTemplate
from butler.errors import ButlerError

# Conversations that a check of an engine takes by default: as many as their time there allows.
SAMPLES = {"reference": 8, "turbomind": 64}


def conversations(path: Path, limit: int) -> list[list[dict[str, str]]]:
    """Return the first `limit` conversations of a JSON lines file as lists of messages."""
    found: list[list[dict[str, str]]] = []
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            if len(found) == limit:
                break
            messages: list[dict[str, str]] = []
            for turn in json.loads(line)["conversation"]:
                if turn.get("system"):
                    messages.append({"role": "system", "content": turn["system"]})
                messages.append({"role": "user", "content": turn["input"]})
                messages.append({"role": "assistant", "content": turn["output"]})
            found.append(messages)
    if not found:
        raise ButlerError(f"{path} holds no conversation")
    return found


def rendered(path: Path, limit: int, template: ChatTemplate) -> list[str]:
    """Return the first `limit` conversations as the text that a model is trained on."""
    chats = conversations(path, limit)
    return [template.render(messages, add_generation_prompt=False) for messages in chats]


def mean_nll(nll: Sequence[float], sequences: Sequence[Sequence[int]]) -> float:
    """Return the mean over all predicted tokens from the mean of each sequence, in nats.

    A sequence of n tokens predicts n - 1 of them.
    """
    weights = [len(tokens) - 1 for tokens in sequences]
    return sum(value * weight for value, weight in zip(nll, weights, strict=True)) / sum(weights)


def mean_difference(
    before: Sequence[float], after: Sequence[float], sequences: Sequence[Sequence[int]]
) -> tuple[float, float | None]:
    """Return how much higher the mean NLL per token is `after`, and its standard error.

    Args:
        before, after: the mean NLL of each sequence, in nats.
        sequences: their token ids.

    Returns:
        The mean over all predicted tokens, and the standard error of that mean over the sequences
        (of a ratio of sums, Cochran, Sampling Techniques, 6.4); None where there is one sequence.
    """
    weights = [len(tokens) - 1 for tokens in sequences]
    changes = [b - a for a, b in zip(before, after, strict=True)]
    mean, count = mean_nll(changes, sequences), len(changes)
    squares = sum((w * (c - mean)) ** 2 for w, c in zip(weights, changes, strict=True))
    if count < 2:
        return mean, None
    return mean, math.sqrt(squares * count / (count - 1)) / sum(weights)


def with_error(difference: float, error: float | None) -> str:
    """Return a difference of mean NLL in words, with its standard error if there is one."""
    return f"{difference:+.5f}" + ("" if error is None else f" ± {error:.5f}")
