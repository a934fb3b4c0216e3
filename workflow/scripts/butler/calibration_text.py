"""The texts that quantisation of weights measures activations on, as LMDeploy draws them."""

import random
from typing import TYPE_CHECKING, Any

from butler.lmdeploy.on_cpu import enough_text

if TYPE_CHECKING:
    import torch


def samples_of(tokenizer: Any, texts: list[str], count: int, length: int) -> "torch.Tensor":
    """Return token ids, int64 [count, length], cut out of the texts one after the other.

    They are those that LMDeploy 0.7.3 (`get_calib_loaders` of "ptb", seed 0) gives AWQ.

    Raises:
        ButlerError: if the texts are shorter than one sample.
    """
    import torch

    enough_text(tokenizer, texts, length)
    tokens = tokenizer("\n\n".join(texts), return_tensors="pt").input_ids[0]
    draw = random.Random(0)
    starts = [draw.randint(0, len(tokens) - length) for _ in range(count)]
    return torch.stack([tokens[start : start + length] for start in starts])
