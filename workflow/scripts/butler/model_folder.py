"""Whether a Hugging Face folder of others can be taken as base model, told before anything is run.

Only JSON and the headers of safetensors files are read, no code and no pickle: the format is
https://huggingface.co/docs/safetensors (8 bytes of length, a JSON header, the data). What is read
may be a download or a copy: sentences name it by `shown`, base.model as the user wrote it.
"""

import json
import struct
from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from butler.errors import ButlerError
from butler.families import Family, family_of
from butler.hf_folder import read_index, sizes_of
from butler.json_files import read_object
from butler.lmdeploy.release import RELEASES, norms_unread
from butler.schemes import Variant
from butler.versions import numbers

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle")  # can run code when loaded
USUAL_HEAD = 128  # values of a head
PICKLED_WEIGHTS = "pytorch_model*.bin"  # as transformers writes them
LARGEST_HEADER = 100_000_000  # bytes, as safetensors itself allows
# A tokenizer's vocabulary: that of a fast one, of a SentencePiece one, or of a slow byte-level one.
VOCABULARIES = (("tokenizer.json",), ("tokenizer.model",), ("vocab.json", "merges.txt"))


def check_model_folder(folder: Path, shown: str, pickles: bool = False) -> None:
    """Check configuration, architecture, tokenizer, shards, and the embedding's and head's tensors.

    With `pickles`, a folder of pickled weights alone passes unread: they are checked when they have
    been made safetensors.

    Raises:
        ButlerError: one sentence that names the file and what to do.
    """
    config = model_config(folder, shown)
    family = family_of(config, f"{shown}/config.json")
    _check_tokenizer(folder, shown)
    weights = weight_files(folder, shown, pickles)
    if weights and is_pickle(weights[0].name):
        return
    shapes: dict[str, list[int]] = {}
    for shard in weights:
        shapes |= read_shapes(shard, f"{shown}/{shard.name}")
    _check_names(folder, shapes, shown)
    _check_ends(config, family, shapes, shown)


def model_config(folder: Path, shown: str) -> dict[str, Any]:
    """Return config.json.

    Raises:
        ButlerError: if it is missing or no JSON object.
    """
    if not (folder / "config.json").is_file():
        raise ButlerError(
            f"{shown}/config.json is missing; base.model takes a complete Hugging Face folder"
        )
    return read_object(folder / "config.json", f"{shown}/config.json")


def check_group_size(config: Mapping[str, Any], group_size: int, shown: str) -> None:
    """Check that the inputs of all layers come in whole groups of 4-bit weights.

    Raises:
        ButlerError: naming the size that does not, if the model cannot be quantised.
    """
    path = f"{shown}/config.json"
    sizes = sizes_of(config, path, hidden="hidden_size", mlp="intermediate_size")
    inputs = {
        "hidden_size": sizes["hidden"],
        "intermediate_size": sizes["mlp"],
        "attention heads × head size": sizes["heads"] * sizes["head_dim"],
    }
    if odd := _no_multiple(inputs, group_size):
        raise ButlerError(
            f"{path}: {odd} is no multiple of awq.group_size {group_size}, so the model cannot be "
            "quantised to 4 bits; leave the variants with w4 out of variants, or take another "
            "base.model"
        )


def check_blocks(config: Mapping[str, Any], block: int, shown: str) -> None:
    """Check that the matrices of all layers come in whole blocks of 8-bit weights.

    LMDeploy puts the rows of each head in another order, with the scales of whole blocks of them.

    Raises:
        ButlerError: naming the size that does not, if the model cannot be quantised.
    """
    path = f"{shown}/config.json"
    sizes = sizes_of(config, path, hidden="hidden_size", mlp="intermediate_size")
    sides = {
        "hidden_size": sizes["hidden"],
        "intermediate_size": sizes["mlp"],
        "head size": sizes["head_dim"],
    }
    if odd := _no_multiple(sides, block):
        raise ButlerError(
            f"{path}: {odd} is no multiple of {block}, so the model cannot be held in FP8 in "
            f"blocks of {block}; leave the variants with fp8 out of variants, or take another "
            "base.model"
        )


def _no_multiple(sizes: Mapping[str, int], of: int) -> str | None:
    """Return the first of the named sizes that is no multiple, as a sentence names it."""
    return next((f"{name} {size}" for name, size in sizes.items() if size % of), None)


def check_variant_sizes(
    config: Mapping[str, Any],
    variant: Variant,
    group_size: int,
    release: str | None,
    shown: str,
) -> None:
    """Check that a model has sizes with which a variant of it can be made and served.

    Args:
        config: of the model.
        variant: one that LMDeploy of that version has.
        group_size: of 4-bit weights.
        release: of the LMDeploy that serves, as config.yaml names it; None where it does not.
        shown: what the user calls the model.

    Raises:
        ButlerError: naming the size and what to leave out.
    """
    if variant.weights.grouped:
        check_group_size(config, group_size, shown)
    if variant.weights.block:
        check_blocks(config, variant.weights.block, shown)
    path = f"{shown}/config.json"
    head = sizes_of(config, path)["head_dim"]
    version = RELEASES[release].version if release else None
    if version and head < USUAL_HEAD and numbers(version) < variant.kv.small_heads:
        raise ButlerError(
            f"{path}: heads of {head} values; TurboMind of LMDeploy {version} falls "
            f"when it holds their KV cache in {variant.kv.name}: leave {variant.name} out of "
            "variants, or set lmdeploy: latest, or engine: reference, which serves on the CPU"
        )


def check_served(
    config: Mapping[str, Any], release: str, shown: str, reference: bool = False
) -> None:
    """Check that TurboMind of LMDeploy `release`, as config.yaml names it, serves such a model.

    With `reference` the engine on the CPU serves what that release makes.

    Raises:
        ButlerError: naming the architecture or the head size that it does not take.
    """
    path = f"{shown}/config.json"
    family, head = family_of(config, path), sizes_of(config, path)["head_dim"]
    if release not in family.served_by:
        raise ButlerError(
            f"{path} names architecture {family.architecture}, which TurboMind does not serve with "
            f"lmdeploy: {release}; set lmdeploy: {' or '.join(family.served_by)}"
        )
    if not reference:
        check_head_norms(family, release, path)
    heads = family.served_by[release]
    if heads and head not in heads:
        raise ButlerError(
            f"{path}: heads of {head} values; with lmdeploy: {release} a model of architecture "
            f"{family.architecture} needs {' or '.join(map(str, heads))}, so take another "
            "base.model"
        )


def check_head_norms(family: Family, release: str, where: str) -> None:
    """Check that TurboMind of a release has all that the family's attention computes with.

    Raises:
        ButlerError: naming `where` the architecture stands, if it has not.
    """
    if family.heads_normed and RELEASES[release].workspaces:
        able = [name for name in family.served_by if not RELEASES[name].workspaces]
        raise ButlerError(
            f"{where} names architecture {family.architecture}: it has "
            f"{norms_unread(RELEASES[release])}; set lmdeploy: {' or '.join(able)}, or engine: "
            "reference, which serves on the CPU"
        )


def is_pickle(name: str) -> bool:
    """Return whether a file of this name holds a pickle, or is an index of such files."""
    return any(fnmatch(name, pattern) for pattern in (*PICKLES, "*.bin.index.json"))


def weight_names(names: Iterable[str], shown: str, pickles: bool) -> list[str]:
    """Return those of a model's file names that hold its weights, in order.

    They are safetensors files, or pickles if there are no others and `pickles` lets them be read.

    Raises:
        ButlerError: if there are none, or pickles that may not be read.
    """
    present = sorted(names)
    found = [name for name in present if name.endswith(".safetensors")]
    if found or any(name.endswith(".safetensors.index.json") for name in present):
        return found
    pickled = [name for name in present if fnmatch(name, PICKLED_WEIGHTS)]
    if pickled and not pickles:
        raise ButlerError(
            f"{shown}/{pickled[0]} stands for pickled weights, which can run code where they are "
            "loaded carelessly, and there are no others; set base.pickles to the value of "
            "base.model to have them read as tensors alone and made safetensors"
        )
    if not pickled:
        raise ButlerError(
            f"{shown} holds no weights; base.model needs its *.safetensors or {PICKLED_WEIGHTS}"
        )
    return pickled


def weight_files(folder: Path, shown: str, pickles: bool = False) -> list[Path]:
    """Return the folder's files of weights as `weight_names` chooses them.

    Raises:
        ButlerError: if there are none, or pickles that may not be read.
    """
    names = (path.name for path in folder.iterdir())
    return [folder / name for name in weight_names(names, shown, pickles)]


def read_shapes(path: Path, shown: str) -> dict[str, list[int]]:
    """Return the shape of each tensor by its name; `shown` is what the user calls the file.

    Raises:
        ButlerError: if the file is not of the format, or shorter than its header says.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        first = stream.read(8)
        length = struct.unpack("<Q", first)[0] if len(first) == 8 else 0
        if not 2 <= length <= min(LARGEST_HEADER, size):
            raise ButlerError(f"{shown} is no safetensors file; fetch it again")
        try:
            header = json.loads(stream.read(length))
            header.pop("__metadata__", None)
            end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
            shapes = {name: list(entry["shape"]) for name, entry in header.items()}
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            raise ButlerError(f"{shown} is no safetensors file; fetch it again") from None
    if 8 + length + end > size:
        raise ButlerError(
            f"{shown} is cut short: {size:,} of {8 + length + end:,} bytes; fetch it again"
        )
    return shapes


def check_values(folder: Path, shown: str) -> None:
    """Read all weights once, mapped into memory and not copied (needs torch).

    Raises:
        ButlerError: naming the first tensor that holds NaN or infinity.
    """
    import torch
    from safetensors import safe_open

    for path in weight_files(folder, shown):
        with safe_open(str(path), framework="pt") as source:
            for name in source.keys():  # noqa: SIM118  no mapping
                tensor = source.get_tensor(name)
                # Both ends are NaN if any value is. isfinite() of 16 bits took 50 times as long.
                ends = torch.aminmax(tensor) if tensor.numel() else ()
                if not all(bool(end.isfinite()) for end in ends):
                    raise ButlerError(
                        f"{shown}/{path.name} holds NaN or infinity in {name}; fetch the file "
                        "again, or take another base model"
                    )


def _check_tokenizer(folder: Path, shown: str) -> None:
    """Raise ButlerError unless a tokenizer's configuration and vocabulary are there."""
    if not (folder / "tokenizer_config.json").is_file():
        raise ButlerError(
            f"{shown}/tokenizer_config.json is missing; base.model needs the tokenizer that the "
            "model was trained with"
        )
    read_object(folder / "tokenizer_config.json", f"{shown}/tokenizer_config.json")
    if not any(all((folder / name).is_file() for name in names) for names in VOCABULARIES):
        wanted = ", ".join(" with ".join(names) for names in VOCABULARIES)
        raise ButlerError(
            f"{shown} holds no vocabulary of a tokenizer, one of {wanted}; base.model needs that "
            "of the tokenizer that the model was trained with"
        )


def _check_names(folder: Path, shapes: dict[str, list[int]], shown: str) -> None:
    """Raise ButlerError unless every shard and tensor that an index names is there."""
    for index in sorted(folder.glob("*.safetensors.index.json")):
        weights = read_index(index, f"{shown}/{index.name}")
        for shard in sorted(set(weights.values())):
            if not (folder / shard).is_file():
                raise ButlerError(f"{shown}/{shard} is missing, named in {index.name}; fetch it")
        for name in sorted(weights):
            if name not in shapes:
                raise ButlerError(
                    f"{shown}/{weights[name]} lacks tensor {name}, named in {index.name}; fetch "
                    "both again"
                )


def _check_ends(
    config: Mapping[str, Any], family: Family, shapes: dict[str, list[int]], shown: str
) -> None:
    """Raise ButlerError unless the embedding and a head of its own are what config.json says."""
    path = f"{shown}/config.json"
    own_head = [] if config.get("tie_word_embeddings") else [family.head]
    named = [config.get("vocab_size"), config.get("hidden_size")]
    for module in (family.embedding, *own_head):
        name = f"{module}.weight"
        if name not in shapes:
            raise ButlerError(
                f"{path} names architecture {family.architecture}, but the weights beside it have "
                f"no {name}; take config.json and weights of one model"
            )
        if shapes[name] != named:
            raise ButlerError(
                f"{path} says vocab_size and hidden_size {named}, but {name} is {shapes[name]}; "
                "take config.json and weights of one model"
            )
