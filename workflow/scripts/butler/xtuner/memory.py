"""What a training step holds in GPU memory, and the micro batch that follows from it.

The formulas count the tensors of the fast path (`fast.py`) in bytes, with a margin.
benchmarks/training.py prints the estimate beside the measured peak: of a 7B with 8 packs of 2,048
tokens at a time 100.4 GiB for 93.4, with 1 pack 20.7 for 18.6.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from butler.errors import ButlerError
from butler.families import family_of
from butler.gpu import GpuMemory
from butler.hf_folder import read_config, read_sizes
from butler.settings.training_stage import TrainSettings

GIB = 2**30
BF16 = 2
NF4 = 0.5 + 1 / 64 + 4 / (64 * 256)  # a nibble, and doubly quantised scales of 64 and 256 values
ADAPTER = 16  # fp32 weight, gradient and Adam's two moments
RESERVE = 1.5 * GIB  # the CUDA context and the workspaces of the libraries
SLACK = 1.05  # what the allocator cannot use
# Larger micro batches gain nothing: by then the weights' dequantisation is 1 % of the time.
TOKENS_AT_ONCE = 16_384


@dataclass(frozen=True)
class DecoderShape:
    """A decoder's sizes: widths of the hidden state, the MLP and a head, and their numbers.

    `fused_qkv`: query, key and value are one projection; `lora_on_head`: the head has a LoRA pair;
    `heads_normed`: queries and keys are normed.
    """

    layers: int
    hidden: int
    mlp: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    fused_qkv: bool
    lora_on_head: bool
    heads_normed: bool = False

    @classmethod
    def read(cls, base: Path) -> "DecoderShape":
        """Read the sizes from a model folder's config.json.

        Raises:
            ButlerError: if a size is missing, or the model is of no known family.
        """
        sizes = read_sizes(
            base, hidden="hidden_size", mlp="intermediate_size", vocabulary="vocab_size"
        )
        family = family_of(read_config(base), str(base / "config.json"))
        return cls(
            **sizes,
            fused_qkv=family.fused_qkv,
            lora_on_head=family.lora_on_head,
            heads_normed=family.heads_normed,
        )

    @property
    def linears(self) -> list[tuple[int, int]]:
        """The (in, out) of a layer's linear modules; each has a LoRA pair."""
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        inner = (
            [(self.hidden, q + 2 * kv)]
            if self.fused_qkv
            else [(self.hidden, q), (self.hidden, kv), (self.hidden, kv)]
        )
        mlp = [(self.hidden, self.mlp)] * 2 + [(self.mlp, self.hidden)]
        return [*inner, (q, self.hidden), *mlp]

    @property
    def linear_parameters(self) -> int:
        """Parameters of all the linear modules but the head."""
        return self.layers * sum(i * o for i, o in self.linears)

    def adapter_parameters(self, r: int) -> int:
        """Parameters of the LoRA pairs of rank `r`."""
        head = self.hidden + self.vocabulary if self.lora_on_head else 0
        return r * (self.layers * sum(i + o for i, o in self.linears) + head)

    def flops(self, r: int, tokens: int) -> float:
        """Floating-point operations of a token's training step, in packs of `tokens`.

        Forward and input gradient of the frozen weights (4 a parameter), those and the weight
        gradient of the adapter (6), and causal attention: 4·T·width/2 forward, 2.5 times that
        backward. Every position is taken to have logits; what is recomputed does not count.
        """
        frozen = self.linear_parameters + self.hidden * self.vocabulary
        attention = 3.5 * self.layers * 2 * tokens * self.heads * self.head_dim
        return 4 * frozen + 6 * self.adapter_parameters(r) + attention


@dataclass(frozen=True)
class BatchPlan:
    """How one optimiser update is cut into micro batches; `needed` is bytes, 0 if not estimated."""

    kernels: str
    nodes: int
    processes: int  # on each node
    micro_batch: int
    accumulation: int
    recompute_layers: int
    layers: int
    tokens: int  # of one micro batch on all processes
    needed: int

    @property
    def world(self) -> int:
        """Processes on all nodes together."""
        return self.nodes * self.processes

    def write(self, path: Path) -> None:
        """Write the plan as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "BatchPlan":
        """Read a plan that `write` made."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))


def kept_per_token(shape: DecoderShape, r: int, dropout: bool) -> int:
    """Bytes that a layer keeps of a token for its backward pass; of dropout a mask of bytes."""
    q, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    norms = 2 * (2 * shape.hidden)  # the hidden state before and after each
    attention = 2 * q + 2 * kv + (q + kv if shape.heads_normed else 0)
    values = norms + attention + 3 * shape.mlp + r * len(shape.linears)
    masks = sum(i for i, _ in shape.linears) if dropout else 0
    return BF16 * values + masks + 4 * shape.heads


def fixed_bytes(shape: DecoderShape, train: TrainSettings) -> float:
    """Bytes of the frozen base, the adapter and its optimiser."""
    linear = shape.linear_parameters * (NF4 if train.quantisation == "nf4" else BF16)
    embeddings = 2 * shape.vocabulary * shape.hidden * BF16
    return linear + embeddings + ADAPTER * shape.adapter_parameters(train.lora_r)


def estimate(shape: DecoderShape, train: TrainSettings, micro_batch: int, recomputed: int) -> int:
    """Bytes of GPU memory at the peak of a step of `micro_batch` packs.

    `recomputed` layers keep their input only. The peak is at the head (logits and their gradient
    share one tensor; a LoRA pair on it takes a copy of its weight) or inside the backward pass of
    one layer.
    """
    tokens = micro_batch * train.max_length
    kept = kept_per_token(shape, train.lora_r, train.lora_dropout > 0)
    activations = tokens * ((shape.layers - recomputed) * kept + recomputed * BF16 * shape.hidden)
    head = tokens * BF16 * (shape.vocabulary + 4 * shape.hidden)
    if shape.lora_on_head:
        head += BF16 * shape.vocabulary * shape.hidden
    weight = BF16 * max(i * o for i, o in shape.linears)
    layer = tokens * BF16 * (3 * shape.mlp + 3 * shape.hidden) + weight
    if recomputed:
        layer += tokens * kept
    return int(RESERVE + fixed_bytes(shape, train) + SLACK * (activations + max(head, layer)))


def micro_batches(train: TrainSettings) -> list[int]:
    """Return the micro batches that are allowed, in packs, largest first."""
    if train.micro_batch != "auto":
        return [train.micro_batch]
    most, share = max(1, TOKENS_AT_ONCE // train.max_length), train.packs_of_a_process
    return [n for n in range(min(share, most), 0, -1) if share % n == 0]


def make_plan(train: TrainSettings, shape: DecoderShape, on_gpu: bool, free: int = 0) -> BatchPlan:
    """Cut an update into micro batches for a device with `free` bytes on each GPU.

    On a GPU the largest micro batch that fits without recomputation is taken; if none does, the
    smallest, with as few recomputed layers as make it fit. Without the fast path nothing is known
    of memory: one pack at a time and, on a GPU, every layer recomputed, as XTuner's own settings.

    Raises:
        ButlerError: if nothing fits, with the numbers.
    """
    allowed, wanted = micro_batches(train), train.activation_checkpointing
    fast = on_gpu and train.kernels == "auto"
    some = {True: [shape.layers], False: [0], "auto": list(range(shape.layers + 1))}[wanted]
    needed = 0
    if fast:
        micro, recomputed, needed = _fit(train, shape, allowed, some, free)
    else:
        micro = allowed[-1]
        recomputed = some[-1] if on_gpu else some[0]
    if len(allowed) == len(some) == 1:
        needed = 0  # all of it was set by hand: let it try
    return BatchPlan(
        kernels="fast" if fast else "stock",
        nodes=train.nodes,
        processes=train.processes,
        micro_batch=micro,
        accumulation=train.packs_of_a_process // micro,
        recompute_layers=recomputed,
        layers=shape.layers,
        tokens=micro * train.world * train.max_length,
        needed=needed,
    )


def _fit(
    train: TrainSettings, shape: DecoderShape, allowed: list[int], some: list[int], free: int
) -> tuple[int, int, int]:
    """Return the micro batch, the recomputed layers and the bytes of the first choice that fits."""
    tries = [(micro, some[0]) for micro in allowed] + [(allowed[-1], n) for n in some[1:]]
    for micro, recomputed in tries:
        needed = estimate(shape, train, micro, recomputed)
        if needed <= free or len(tries) == 1:
            return micro, recomputed, needed
    raise ButlerError(
        f"training needs {needed / GIB:.1f} GiB of GPU memory with {allowed[-1]} packs of "
        f"{train.max_length} tokens at a time and {some[-1]} of {shape.layers} layers "
        f"recomputed, but {free / GIB:.1f} GiB are free; lower train.max_length or train.lora_r"
    )


def require_gpus(processes: int, on_gpu: bool) -> None:
    """Stop where there are fewer GPUs than processes; on a CPU a node has one process.

    Raises:
        ButlerError: naming the key and the number found.
    """
    import torch

    # device_count() asks the driver alone and makes no CUDA context.
    gpus = torch.cuda.device_count() if on_gpu else 0
    if processes > max(1, gpus):
        raise ButlerError(f"train.processes is {processes}, but {gpus} GPUs are to be used")


def free_memory(processes: int) -> int:
    """Return the least free memory, in bytes, of the GPUs that `processes` processes use.

    torch would answer from a CUDA context, which holds memory beside the training's.
    """
    return GpuMemory(processes).least_free()
