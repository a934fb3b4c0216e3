"""Merge the adapter into the unquantised base: each weight + scale·B·A in fp32, rounded to fp16.

It is what `xtuner convert merge` does, tensor by tensor instead of with the whole model: a few
shards of a gigabyte are in memory, whatever the model's size. Tokenizer and configuration are
written by transformers, as they are there.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import butler.interpreter  # noqa: F401

import torch

from butler.arguments import thread_count
from butler.errors import ButlerError, run_cli
from butler.families import family_of
from butler.files import atomic_dir
from butler.hf_folder import (
    WRITTEN_AT_ONCE,
    WRITTEN_SHARD,
    ModelTensors,
    carry_over,
    read_config,
    write_index,
)
from butler.lora_adapter import LoraAdapter
from butler.manifest import write_manifest
from butler.progress import counted, progress

FP16 = 2  # bytes
BLOCK = 2**24  # elements that are fp32 at a time


def check_adapter(adapter: LoraAdapter, shown: Path, base: Path) -> None:
    """Raise ButlerError if the adapter was trained on another base than this one."""
    if Path(adapter.base).name != base.name:
        raise ButlerError(f"adapter {shown} was trained on {adapter.base}, not on {base}")


def sources(base: ModelTensors, adapter: LoraAdapter, folder: Path) -> dict[str, str]:
    """Return the tensors of the merged model by name: which of the base's each is made from.

    A head that is tied to the embedding and has a pair gets a tensor of its own: the embedding
    was not trained.

    Raises:
        ButlerError: if the adapter changes a tensor that the base does not have.
    """
    found = {name: name for name in base.names()}
    family = family_of(read_config(folder), str(folder / "config.json"))
    for module in adapter.modules:
        name = f"{module}.weight"
        if name not in found and module == family.head:
            found[name] = f"{family.embedding}.weight"
        if name not in found:
            raise ButlerError(f"the adapter changes {name}, which {folder} does not have")
    return found


def shards(base: ModelTensors, names: Mapping[str, str]) -> list[list[str]]:
    """Share the tensors out to files of WRITTEN_SHARD fp16 bytes, in the order of names."""
    found: list[list[str]] = []
    room = 0
    for name, source in names.items():
        size = FP16 * torch.Size(base.shape(source)).numel()
        if size > room:
            found.append([])
            room = WRITTEN_SHARD
        found[-1].append(name)
        room -= size
    return found


def merged(weight: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return fp16 `weight` + `left` @ `right`, the sum in fp32; rows are done in blocks."""
    result = torch.empty(weight.shape, dtype=torch.float16)
    rows = max(1, BLOCK // weight.shape[1])
    parts = zip(result.split(rows), weight.split(rows), left.split(rows), strict=True)
    for out, old, factor in parts:
        out.copy_(torch.addmm(old.float(), factor, right))
    return result


def write_weights(base: Path, adapter: LoraAdapter, folder: Path, threads: int) -> set[str]:
    """Write the merged model's weights into `folder`, several shards at a time.

    Returns the names of the tensors that the base does not have.

    Raises:
        ButlerError: if a pair does not fit its weight.
    """
    from safetensors.torch import save_file

    old = ModelTensors(base)
    names = sources(old, adapter, base)
    files = shards(old, names)
    modules = {f"{module}.weight": module for module in adapter.modules}
    several = "-{:05}-of-" + f"{len(files):05}" if len(files) > 1 else ""
    index = {}
    done: list[str] = []

    def new(name: str) -> torch.Tensor:
        weight = old[names[name]]
        if name in modules:
            left, right = adapter.factors(modules[name])
            if weight.shape != (left.shape[0], right.shape[1]):
                raise ButlerError(f"the adapter's pair for {name} does not fit the one of {base}")
            return merged(weight, left, right)
        return weight.to(torch.float16, copy=True) if weight.is_floating_point() else weight

    def write(number: int) -> None:
        tensors = {}
        for name in files[number]:
            tensors[name] = new(name)
            done.append(name)
        file = f"model{several.format(number + 1)}.safetensors"
        save_file(tensors, folder / file, metadata={"format": "pt"})
        index.update(dict.fromkeys(files[number], file))

    started = time.monotonic()
    share = (max(1, threads // WRITTEN_AT_ONCE),)
    with (
        progress("merge", lambda: counted(len(done), len(names), "tensors", started)),
        ThreadPoolExecutor(min(WRITTEN_AT_ONCE, threads), "", torch.set_num_threads, share) as pool,
    ):
        list(pool.map(write, range(len(files))))
    write_index(folder, index)
    return set(names) - set(old.names())


def write_rest(base: Path, folder: Path, untied: bool) -> None:
    """Write configuration and tokenizer as transformers does, and carry over what it does not."""
    from transformers import AutoConfig, AutoTokenizer

    config = AutoConfig.from_pretrained(str(base), trust_remote_code=True)
    config.torch_dtype = torch.float16
    if untied:
        config.tie_word_embeddings = False
    config.save_pretrained(str(folder))
    AutoTokenizer.from_pretrained(str(base), trust_remote_code=True).save_pretrained(str(folder))
    carry_over(base, folder)


def main() -> None:
    """Merge one adapter."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--adapter", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=thread_count, default=2)
    args = parser.parse_args()
    adapter = LoraAdapter(args.adapter)
    check_adapter(adapter, args.adapter, args.base)
    with tempfile.TemporaryDirectory() as cache, atomic_dir(args.out) as folder:
        os.environ["HF_HOME"] = cache
        added = write_weights(args.base, adapter, folder, args.threads)
        write_rest(args.base, folder, untied=bool(added))
        write_manifest(folder)


if __name__ == "__main__":
    run_cli(main)
