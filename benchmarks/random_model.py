"""Make a base of random weights, at real size: its speed and memory are those of a real one.

The weights have mean 0, and norms of 1, so that no activation overflows. `--awq` writes the
folder in the layout of `lmdeploy lite auto_awq`. The tokenizer is one that is given, or synthetic:
bytes, and words that no text has. The tensors are those of the base's own code, transformers' or
XTuner's, so that the interpreter of the family's trainer runs this.

usage: .envs/xtuner/bin/python benchmarks/random_model.py --out /dev/shm/random/hf
"""

import argparse
import importlib
import re
import shutil
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import ButlerError, atomic_write_json, publish, record
from random_bases import BASES, GROUP, add_base, add_shape, chat_template, check, shape_of

import base_model
from butler.chat_template import ChatTemplate
from butler.errors import run_cli
from butler.families import FAMILIES
from butler.files import atomic_dir
from butler.settings.serving_stage import AwqSettings

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

STD = 0.02
UNIFORM_STD = (255 / 12) ** 0.5  # of the whole numbers 0 to 15
WRITERS = 8
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
LAYER = re.compile(r"model\.layers\.\d+\.")
MARK = re.compile(r"<\|\w+\|>|</?\w+>")  # what a chat template has one token for
AWQ = {
    "quantization_config": {
        "quant_method": "awq",
        "version": "gemm",
        "bits": AwqSettings().bits,
        "group_size": GROUP,
        "zero_point": True,
    }
}


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


def parameter_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each parameter, of a model on torch's device without values."""
    import torch

    architecture = config["architectures"][0]
    code = importlib.import_module(FAMILIES[architecture].code or "transformers")
    config_class = getattr(code, architecture.replace("ForCausalLM", "Config"))
    with torch.device("meta"):
        model = getattr(code, architecture)(config_class.from_dict(dict(config)))
    return {name: tuple(one.shape) for name, one in model.named_parameters()}


def part_of(name: str) -> str:
    """Return the decoder layer that a tensor is of, or "" for one before or behind them."""
    found = LAYER.match(name)
    return found.group() if found else ""


def tensors(
    shapes: Mapping[str, tuple[int, ...]], awq: bool, weights: RandomTensors
) -> dict[str, "torch.Tensor"]:
    """Return random tensors of these shapes; of a decoder layer's matrices their 4-bit form."""
    found: dict[str, torch.Tensor] = {}
    for name, shape in shapes.items():
        if name.endswith("norm.weight"):
            found[name] = weights.ones(*shape)
        elif awq and len(shape) == 2 and part_of(name):
            found |= weights.awq(name.removesuffix(".weight"), *shape)
        else:
            found[name] = weights.normal(*shape)
    return found


def write_weights(
    folder: Path, shapes: Mapping[str, tuple[int, ...]], awq: bool, seed: int, device: str
) -> int:
    """Write a shard for each decoder layer and each end, and the index; return the bytes of all."""
    from safetensors.torch import save_file

    parts = [dict(one) for _, one in groupby(shapes.items(), key=lambda item: part_of(item[0]))]

    def write(number: int) -> tuple[str, dict[str, int]]:
        name = f"model-{number + 1:05d}-of-{len(parts):05d}.safetensors"
        made = tensors(parts[number], awq, RandomTensors(seed + number, device))
        save_file(made, str(folder / name), metadata={"format": "pt"})
        return name, {key: tensor.nbytes for key, tensor in made.items()}

    with ThreadPoolExecutor(WRITERS) as pool:
        written = list(pool.map(write, range(len(parts))))
    total = sum(sum(sizes.values()) for _, sizes in written)
    weight_map = {key: name for name, sizes in written for key in sizes}
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    atomic_write_json(folder / "model.safetensors.index.json", index)
    return total


def byte_tokenizer(vocab: int, template: ChatTemplate) -> "Tokenizer":
    """Return a tokenizer of bytes with `vocab` tokens, most of which no text has.

    What stands in `template` in angle brackets is a token each, as in a real one.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    from butler.demo.tiny_tokenizer import BOS, SPECIAL

    marks = MARK.findall("".join([template.to_jinja(), *template.stop_words]))
    special = list(dict.fromkeys([*SPECIAL, *marks]))
    words = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    if vocab < len(words):
        raise ButlerError(f"--vocab must be {len(words)} or more: each byte is a token")
    words += [f"Ġword{number}" for number in range(vocab - len(words))]
    tokenizer = Tokenizer(models.BPE(vocab={w: i for i, w in enumerate(words)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", BOS)]
    )
    return tokenizer


def write_tokenizer(folder: Path, given: Path | None, vocab: int, template: ChatTemplate) -> None:
    """Copy the tokenizer of the folder `given` to `folder`, or make one of `vocab` tokens.

    Raises:
        ButlerError: if the folder given has no fast tokenizer.
    """
    from butler.demo.tiny_tokenizer import save_tokenizer

    if given is None:
        save_tokenizer(byte_tokenizer(vocab, template), folder, template.name)
        return
    for name in TOKENIZER:
        if not (given / name).is_file():
            raise ButlerError(f"{given / name} is missing; --tokenizer takes a fast tokenizer")
        shutil.copyfile(given / name, folder / name)


def make(
    out: Path,
    config: dict[str, Any],
    template: ChatTemplate,
    awq: bool,
    seed: int,
    device: str,
    tokenizer: Path | None,
) -> int:
    """Write the whole folder; return the bytes of its tensors."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        raw = Path(scratch)
        size = write_weights(raw, parameter_shapes(config), awq, seed, device)
        atomic_write_json(raw / "config.json", config | (AWQ if awq else {}))
        write_tokenizer(raw, tokenizer, config["vocab_size"], template)
        with atomic_dir(out) as folder:
            base_model.prepare(raw, str(raw), folder, template, remote_code=True)
    return size


def main() -> None:
    """Run the command line."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    add_base(parser)
    parser.add_argument("--awq", action="store_true", help="4-bit weights in groups of 128")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--tokenizer", type=Path, help="folder of a tokenizer.json to take")
    parser.add_argument("--report", type=Path, help="JSON to write")
    add_shape(parser)
    args = parser.parse_args()
    device = args.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    start = time.perf_counter()
    shape = shape_of(args, args.base)
    check(shape)
    config, template = BASES[args.base].config(shape), chat_template(args.base)
    size = make(args.out, config, template, args.awq, args.seed, device, args.tokenizer)
    seconds = round(time.perf_counter() - start, 1)
    publish(record(weight_bytes=size, seconds=seconds, device=device), args.report)


if __name__ == "__main__":
    run_cli(main)
