"""Make an InternLM2 of random weights, at real size: its speed and memory are those of a real one.

The weights have mean 0, and norms of 1, so that no activation overflows. `--awq` writes the
folder in the layout of `lmdeploy lite auto_awq`. The tokenizer is one that is given, or synthetic:
bytes, and words that no text has. The code of the model is XTuner's, whose interpreter runs this.

usage: .envs/xtuner/bin/python benchmarks/random_model.py --out /dev/shm/random/hf
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import ButlerError, atomic_write_json, publish, record

import base_model
from butler.chat_template import ChatTemplate
from butler.errors import run_cli
from butler.files import atomic_dir
from butler.settings.serving_stage import AwqSettings

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

TEMPLATE = "internlm2_chat"
STD = 0.02
GROUP = AwqSettings().group_size
UNIFORM_STD = (255 / 12) ** 0.5  # of the whole numbers 0 to 15
HEAD_DIM = 128  # LMDeploy's converter knows no other for InternLM2
WRITERS = 8
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


@dataclass(frozen=True)
class InternLM2Shape:
    """Sizes of an InternLM2; the defaults are the 7B's."""

    hidden: int = 4096
    layers: int = 32
    heads: int = 32
    kv_heads: int = 8
    intermediate: int = 14336
    vocab: int = 92544

    def linear(self) -> dict[str, tuple[int, int]]:
        """Return (out, in) of each matrix of a layer, by its name in the layer."""
        qkv = (self.heads + 2 * self.kv_heads) * HEAD_DIM
        return {
            "attention.wqkv": (qkv, self.hidden),
            "attention.wo": (self.hidden, self.heads * HEAD_DIM),
            "feed_forward.w1": (self.intermediate, self.hidden),
            "feed_forward.w2": (self.hidden, self.intermediate),
            "feed_forward.w3": (self.intermediate, self.hidden),
        }

    def parameters(self) -> int:
        """Return the number of weights that a token's pass multiplies with, the head included."""
        layer = sum(rows * columns for rows, columns in self.linear().values())
        return self.layers * layer + self.vocab * self.hidden


def check(shape: InternLM2Shape) -> None:
    """Raise ButlerError for a shape that the chain does not take."""
    if shape.heads * HEAD_DIM != shape.hidden:
        raise ButlerError(f"--hidden must be {HEAD_DIM} × --heads: the head size is {HEAD_DIM}")
    if shape.heads % shape.kv_heads or shape.intermediate % GROUP:
        raise ButlerError(
            f"--heads must be a multiple of --kv-heads, --intermediate one of {GROUP}"
        )


def config_json(shape: InternLM2Shape, awq: bool, context: int) -> dict[str, Any]:
    """Return config.json as InternLM2-7B has it."""
    from butler.demo.tiny_model import internlm2_config

    config = internlm2_config(
        vocab_size=shape.vocab,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=context,
        rope_theta=1_000_000,
        rms_norm_eps=1e-05,
    )
    if awq:
        config["quantization_config"] = {
            "quant_method": "awq",
            "version": "gemm",
            "bits": AwqSettings().bits,
            "group_size": GROUP,
            "zero_point": True,
        }
    return config


class RandomTensors:
    """Makes tensors on a device and hands them over on the CPU."""

    def __init__(self, seed: int, device: str) -> None:
        import torch

        self._torch, self._device = torch, device
        self._generator = torch.Generator(device=device).manual_seed(seed)

    def normal(self, *shape: int) -> "torch.Tensor":
        """Return fp16 of mean 0 and deviation STD."""
        empty = self._torch.empty(shape, dtype=self._torch.float16, device=self._device)
        return empty.normal_(std=STD, generator=self._generator).cpu()

    def ones(self, size: int) -> "torch.Tensor":
        """Return a norm's weights."""
        return self._torch.ones(size, dtype=self._torch.float16)

    def _integers(self, low: int, high: int, *shape: int) -> "torch.Tensor":
        return self._torch.randint(
            low,
            high,
            shape,
            dtype=self._torch.int32,
            device=self._device,
            generator=self._generator,
        )

    def awq(self, name: str, rows: int, columns: int) -> dict[str, "torch.Tensor"]:
        """Return a matrix [columns, rows] in 4 bits, eight to an int32, of mean 0.

        Zero points are 7 and 8 by chance: the mean of 0 to 15 lies between them.
        """
        groups, packed = columns // GROUP, rows // 8
        zeros = self._integers(-(2**31), 2**31 - 1, groups, packed) & 0x11111111
        scales = self._torch.full((groups, rows), STD / UNIFORM_STD, dtype=self._torch.float16)
        return {
            f"{name}.qweight": self._integers(-(2**31), 2**31 - 1, columns, packed).cpu(),
            f"{name}.qzeros": (zeros + 0x77777777).cpu(),
            f"{name}.scales": scales,
        }


def layer(
    shape: InternLM2Shape, index: int, awq: bool, weights: RandomTensors
) -> dict[str, "torch.Tensor"]:
    """Return the tensors of one layer."""
    start = f"model.layers.{index}"
    found = {
        f"{start}.{name}.weight": weights.ones(shape.hidden)
        for name in ("attention_norm", "ffn_norm")
    }
    for name, (rows, columns) in shape.linear().items():
        if awq:
            found |= weights.awq(f"{start}.{name}", rows, columns)
        else:
            found[f"{start}.{name}.weight"] = weights.normal(rows, columns)
    return found


def shards(shape: InternLM2Shape, awq: bool, seed: int, device: str) -> Iterator[Any]:
    """Yield a function for each shard that makes its tensors: ends, then layer by layer."""

    def ends() -> dict[str, "torch.Tensor"]:
        weights = RandomTensors(seed, device)
        return {
            "model.tok_embeddings.weight": weights.normal(shape.vocab, shape.hidden),
            "model.norm.weight": weights.ones(shape.hidden),
            "output.weight": weights.normal(shape.vocab, shape.hidden),
        }

    yield ends
    for index in range(shape.layers):
        yield lambda index=index: layer(shape, index, awq, RandomTensors(seed + 1 + index, device))


def write_weights(folder: Path, shape: InternLM2Shape, awq: bool, seed: int, device: str) -> int:
    """Write the shards and their index; return the bytes of all tensors."""
    from safetensors.torch import save_file

    makers = list(shards(shape, awq, seed, device))

    def write(number: int) -> tuple[str, dict[str, int]]:
        name = f"model-{number + 1:05d}-of-{len(makers):05d}.safetensors"
        tensors = makers[number]()
        save_file(tensors, str(folder / name), metadata={"format": "pt"})
        return name, {key: tensor.nbytes for key, tensor in tensors.items()}

    with ThreadPoolExecutor(WRITERS) as pool:
        written = list(pool.map(write, range(len(makers))))
    total = sum(sum(sizes.values()) for _, sizes in written)
    weight_map = {key: name for name, sizes in written for key in sizes}
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    atomic_write_json(folder / "model.safetensors.index.json", index)
    return total


def byte_tokenizer(vocab: int) -> "Tokenizer":
    """Return a tokenizer of bytes with `vocab` tokens, most of which no text has."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    from butler.demo.tiny_tokenizer import BOS, SPECIAL

    words = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    if vocab < len(words):
        raise ButlerError(f"--vocab must be {len(words)} or more: each byte is a token")
    words += [f"Ġword{number}" for number in range(vocab - len(words))]
    tokenizer = Tokenizer(models.BPE(vocab={w: i for i, w in enumerate(words)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", BOS)]
    )
    return tokenizer


def write_tokenizer(folder: Path, given: Path | None, vocab: int) -> None:
    """Copy the tokenizer of the folder `given` to `folder`, or make one of `vocab` tokens.

    Raises:
        ButlerError: if the folder given has no fast tokenizer.
    """
    from butler.demo.tiny_tokenizer import save_tokenizer

    if given is None:
        save_tokenizer(byte_tokenizer(vocab), folder, TEMPLATE)
        return
    for name in TOKENIZER:
        if not (given / name).is_file():
            raise ButlerError(f"{given / name} is missing; --tokenizer takes a fast tokenizer")
        shutil.copyfile(given / name, folder / name)


def make(
    out: Path,
    shape: InternLM2Shape,
    awq: bool,
    seed: int,
    device: str,
    context: int,
    tokenizer: Path | None = None,
) -> int:
    """Write the whole folder; return the bytes of its tensors."""
    check(shape)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        raw = Path(scratch)
        size = write_weights(raw, shape, awq, seed, device)
        atomic_write_json(raw / "config.json", config_json(shape, awq, context))
        write_tokenizer(raw, tokenizer, shape.vocab)
        with atomic_dir(out) as folder:
            base_model.prepare(raw, str(raw), folder, ChatTemplate.load(TEMPLATE), remote_code=True)
    return size


def add_shape(parser: argparse.ArgumentParser) -> None:
    """Add the options of a shape."""
    for name, value in InternLM2Shape().__dict__.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value)


def shape_of(args: argparse.Namespace) -> InternLM2Shape:
    """Return the shape that the options give."""
    return InternLM2Shape(**{name: getattr(args, name) for name in InternLM2Shape().__dict__})


def main() -> None:
    """Run the command line."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    parser.add_argument("--awq", action="store_true", help="4-bit weights in groups of 128")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--context", type=int, default=32768, help="max_position_embeddings")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--tokenizer", type=Path, help="folder of a tokenizer.json to take")
    parser.add_argument("--report", type=Path, help="JSON to write")
    add_shape(parser)
    args = parser.parse_args()
    device = args.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    start = time.perf_counter()
    shape = shape_of(args)
    size = make(args.out, shape, args.awq, args.seed, device, args.context, args.tokenizer)
    seconds = round(time.perf_counter() - start, 1)
    publish(record(weight_bytes=size, seconds=seconds, device=device), args.report)


if __name__ == "__main__":
    run_cli(main)
