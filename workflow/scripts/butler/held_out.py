"""The held-out text that the checks measure on."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

from butler.chat_template import ChatTemplate
from butler.chat_tokenizer import ChatTokenizer
from butler.errors import ButlerError

# Conversations that a check of an engine takes by default: as many as their time there allows.
SAMPLES = {"reference": 8, "lmdeploy": 32}
# Tokens of one that count: eager attention's scores, which grow with their square, are then 2 GB of
# a 7B in transformers. Chats of thousands of tokens are judged by how they begin.
LONGEST = 2048
# Of one engine's distributions that wait on the disk for another's, at most, unless one
# conversation alone has more.
KEPT_BYTES = 2 * 10**9


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


def token_ids(
    path: Path, limit: int, template: ChatTemplate, tokenizer: ChatTokenizer, session_len: int
) -> list[list[int]]:
    """Return the token ids of the first `limit` conversations, each cut where a session ends.

    No more than LONGEST are taken of any.
    """
    most = min(session_len, LONGEST)
    return [tokenizer.encode(text)[:most] for text in rendered(path, limit, template)]


def weighted_mean(values: Sequence[float], weights: Sequence[int]) -> tuple[float, float]:
    """Return the mean of paired differences by weight, and its standard error.

    Each conversation has one value, a mean over tokens, and its tokens as the weight. The error is
    that of a ratio of sums over conversations (Cochran, Sampling Techniques, 1977, 6.4), since the
    tokens of one conversation are not independent; 0 for a single one, of which nothing is known.
    """
    total, count = sum(weights), len(values)
    mean = sum(v * w for v, w in zip(values, weights, strict=True)) / total
    squares = sum((w * (v - mean)) ** 2 for v, w in zip(values, weights, strict=True))
    return mean, math.sqrt(squares * count / (count - 1)) / total if count > 1 else 0.0


def mean_nll(nll: Sequence[float], sequences: Sequence[Sequence[int]]) -> float:
    """Return the mean over all predicted tokens from the mean of each sequence, in nats.

    A sequence of n tokens predicts n - 1 of them.
    """
    weights = [len(tokens) - 1 for tokens in sequences]
    return sum(value * weight for value, weight in zip(nll, weights, strict=True)) / sum(weights)


def mean_difference(
    before: Sequence[float], after: Sequence[float], sequences: Sequence[Sequence[int]]
) -> tuple[float, float]:
    """Return how much higher the mean NLL per token is `after`, and its standard error, in nats.

    Args:
        before, after: the mean NLL of each sequence.
        sequences: their token ids.
    """
    changes = [b - a for a, b in zip(before, after, strict=True)]
    return weighted_mean(changes, [len(tokens) - 1 for tokens in sequences])


def with_error(difference: float, error: float) -> str:
    """Return a difference and its standard error as a sentence has them."""
    return f"{difference:+.5f} ± {error:.5f}"
