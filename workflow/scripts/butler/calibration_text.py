"""The texts that quantisation of weights measures activations on, as LMDeploy draws them."""

import argparse
import random
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from butler.arguments import thread_count
from butler.chat_template import ChatTemplate
from butler.devices import DEVICES
from butler.held_out import rendered
from butler.lmdeploy.on_cpu import CALIBRATION_TEXTS, enough_text
from butler.settings.serving_stage import CalibrationSettings

if TYPE_CHECKING:
    import torch


def add_arguments(parser: argparse.ArgumentParser, section: str = "--calibration") -> None:
    """Add what every script that calibrates takes; `section` is the option of its settings."""
    parser.add_argument("--model", type=Path, required=True, help="merged model")
    parser.add_argument("--text", type=Path, required=True, help="train.jsonl")
    parser.add_argument("--chat-template", required=True)
    parser.add_argument(
        section,
        type=partial(CalibrationSettings.from_argument, option=section),
        required=True,
        help="JSON of the config's section calibration, or a file of it",
    )
    parser.add_argument("--device", choices=DEVICES, default="auto")
    parser.add_argument("--threads", type=thread_count, default=2)
    parser.add_argument("--out", type=Path, required=True)


def training_texts(args: argparse.Namespace) -> list[str]:
    """Return the texts that `args`, by add_arguments, name, as the model was trained on them."""
    return rendered(args.text, CALIBRATION_TEXTS, ChatTemplate.load(args.chat_template))


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
