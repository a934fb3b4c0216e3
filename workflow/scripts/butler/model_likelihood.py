"""How likely a Hugging Face model finds token sequences, whatever its size.

The model is built without its weights; each module gets its own right before it runs and gives
them back after (accelerate's hooks). So memory holds the largest module and one batch, on the host
and on a GPU, and the arithmetic is fp32 on both.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from butler.errors import ButlerError
from butler.families import family_of
from butler.hf_folder import ModelTensors, keep_old_cache, read_config

if TYPE_CHECKING:
    import torch

# A batch: padded positions, and attention scores of a layer over its sequences and heads. Each
# reads all the weights anew, so few are better: where there is room, it is so many times that.
TOKENS = 8192
SCORES = 2**27
BATCH_BYTES = 2**32  # what it takes at most: scores four times, an MLP's three products
LOGITS = 2**25  # logits at a time


class NamedTensors(Protocol):
    """Tensors by name, each read when it is asked for; ModelTensors is one."""

    def __contains__(self, name: str) -> bool:
        """Say whether there is a tensor of this name."""

    def __getitem__(self, name: str) -> "torch.Tensor":
        """Return a tensor of any precision, on any device."""


class _OnDevice(Mapping[str, "torch.Tensor"]):
    """The weights as accelerate asks for them: fp32, on the device that computes."""

    def __init__(self, weights: NamedTensors, device: str) -> None:
        self._weights, self._device = weights, device

    def __getitem__(self, name: str) -> "torch.Tensor":
        # Moved before it is converted: fewer bytes.
        return self._weights[name].to(self._device).float()

    def __iter__(self) -> Iterator[str]:
        raise NotImplementedError("accelerate asks by name")

    def __len__(self) -> int:
        raise NotImplementedError("accelerate asks by name")


def likelihoods(
    folder: Path,
    sequences: Sequence[Sequence[int]],
    device: str = "cpu",
    counted: Sequence[Sequence[bool]] | None = None,
    weights: NamedTensors | None = None,
) -> "list[torch.Tensor]":
    """Return the negative log-likelihood of tokens of each sequence, in nats.

    Args:
        folder: the model's config.json and, if it has any, its Python code; also its weights, where
            `weights` is not given. HF_HOME should name a folder that takes a copy of that code.
        sequences: token ids.
        device: "cpu" or "cuda".
        counted: which tokens of each sequence to return; default: all. The first is predicted by
            nothing and never returned.
        weights: the model's, under the names that its code has.

    Returns:
        For each sequence fp32 [counted tokens], on the CPU.

    Raises:
        ButlerError: if a weight is missing, or the model is of no known family.
    """
    import torch

    wanted = [
        [place for place in range(1, len(tokens)) if counted is None or counted[index][place]]
        for index, tokens in enumerate(sequences)
    ]
    keep_old_cache(folder)
    tensors = weights or ModelTensors(folder)
    decoder, head = _without_weights(folder, tensors, device)
    found = {}
    with torch.inference_mode():
        lengths = [len(tokens) for tokens in sequences]
        for batch in batches(lengths, read_config(folder), _room(device)):
            rows = [torch.tensor(list(sequences[index])) for index in batch]
            # Without a mask: no token sees what pads the end of its sequence.
            ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(device)
            hidden = decoder(input_ids=ids, use_cache=False)[0]
            weight = tensors[head].to(device).float()
            for index, row, states in zip(batch, rows, hidden, strict=True):
                places = torch.tensor(wanted[index], dtype=torch.long)
                before = states[(places - 1).to(device)]
                found[index] = _losses(before, weight, row[places].to(device))
            del hidden, weight
    return [found[index] for index in range(len(sequences))]


def _without_weights(folder: Path, tensors: NamedTensors, device: str) -> tuple[Any, str]:
    """Return the model's decoder, which fetches its weights itself, and its head's tensor.

    The head has no bias in any known family.

    Raises:
        ButlerError: if a weight is missing.
    """
    import torch
    from accelerate import init_empty_weights
    from accelerate.hooks import attach_align_device_hook
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(str(folder), trust_remote_code=True)
    # With an AWQ folder's, transformers would build packed layers.
    vars(config).pop("quantization_config", None)
    with init_empty_weights(include_buffers=False):
        model = AutoModelForCausalLM.from_config(
            config, trust_remote_code=True, torch_dtype=torch.float32
        ).eval()
    family = family_of(read_config(folder), str(folder / "config.json"))
    head = f"{family.head}.weight"
    if config.tie_word_embeddings and head not in tensors:
        head = f"{family.embedding}.weight"
    decoder = model.get_decoder()
    prefix = next(name for name, module in model.named_modules() if module is decoder)
    names = [f"{prefix}.{name}" for name, _ in decoder.named_parameters()]
    if missing := [name for name in [*names, head] if name not in tensors]:
        raise ButlerError(f"{folder} does not fit its own architecture: it lacks {missing[0]}")
    attach_align_device_hook(
        decoder,
        execution_device=torch.device(device),
        offload=True,
        weights_map=_OnDevice(tensors, device),
        module_name=prefix,
    )
    return decoder, head


def _room(device: str) -> int:
    """Return how many BATCH_BYTES fit in half of a GPU's free memory; on a host it is one."""
    import torch

    if device == "cpu":
        return 1
    torch.cuda.empty_cache()  # what the model before left to torch would count as taken
    return max(1, torch.cuda.mem_get_info()[0] // 2 // BATCH_BYTES)


def batches(
    lengths: Sequence[int], config: Mapping[str, Any], room: int = 1
) -> Iterator[list[int]]:
    """Yield the indices of sequences that are computed together, the longest first.

    `room`: how many times TOKENS and SCORES a batch may have.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    while order:
        longest = max(1, lengths[order[0]])
        scores = longest**2 * config["num_attention_heads"]
        size = max(1, min(room * TOKENS // longest, room * SCORES // scores))
        yield order[:size]
        del order[:size]


def _losses(
    hidden: "torch.Tensor", head: "torch.Tensor", targets: "torch.Tensor"
) -> "torch.Tensor":
    """Return the loss of each target, fp32 [rows] on the CPU, from hidden states [rows, width]."""
    import torch
    import torch.nn.functional as functional

    at_once = max(1, LOGITS // head.shape[0])
    found = [
        functional.cross_entropy(functional.linear(states, head), wanted, reduction="none").cpu()
        for states, wanted in zip(hidden.split(at_once), targets.split(at_once), strict=True)
    ]
    return torch.cat(found)
