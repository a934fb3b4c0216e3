"""Host memory of each stage, in bytes: what the plan prints and what the rules ask for.

A stage is its process (measured.PROCESS) and the tensors that it holds at its peak.
"""

from collections.abc import Callable
from dataclasses import dataclass

from butler.benchmarks.base import CONCURRENCY
from butler.held_out import KEPT_BYTES, LONGEST
from butler.hf_folder import WRITTEN_AT_ONCE, WRITTEN_SHARD
from butler.lmdeploy.cache_room import Room
from butler.lmdeploy.calibration_memory import Calibration
from butler.model_likelihood import BATCH_BYTES, TOKENS
from butler.plan.measured import (
    AWQ_SLACK,
    CORPUS_HELD,
    CUDA_HOST,
    GB,
    LEAST_ASKED,
    MARGIN,
    MB,
    PROCESS,
    SHARD,
    STOCK_SCORES,
)
from butler.plan.model_size import FP16, FP32, ModelSize
from butler.schemes import BASE_MODEL, KV_CACHES, WEIGHTS, Variant
from butler.settings.run import Settings
from butler.xtuner.memory import ADAPTER, NF4, RESERVE, kept_per_token

# What every check and conversion keeps to, whatever the model's size: the larger of the two.
BOUND, BOUND_SHARE = 8 * GB, 0.25
# Of the largest tensor in fp32: as it is, as it should be, and their difference. Of a real 0.5B the
# base stage took 1.0 and the workspace 1.3 GB, estimated 2.0.
STREAMED_COPIES = 3


@dataclass(frozen=True)
class Task:
    """A run's settings, the size of its base, and whether its tools use CUDA.

    `free`: bytes that the fullest GPU has left, which training and quantising make use of; None
    where that is not known, and they take the least.
    """

    settings: Settings
    size: ModelSize
    on_gpu: bool
    free: int | None = None

    @property
    def device(self) -> str:
        """What measured.py has the figures of."""
        return "cuda" if self.on_gpu else "cpu"

    @property
    def lmdeploy(self) -> bool:
        """Whether LMDeploy serves."""
        return self.settings.serving_engine(self.on_gpu) == "lmdeploy"

    @property
    def served_bytes(self) -> int:
        """Bytes of a weight that the engine reads."""
        return FP16 if self.lmdeploy else FP32

    @property
    def variants(self) -> list[Variant]:
        """What is served: the chosen variants and the base."""
        return [*self.settings.chosen().values(), BASE_MODEL]


def streamed(task: Task) -> float:
    """Bytes of a stage that goes tensor by tensor, within the bound."""
    held = STREAMED_COPIES * FP32 * task.size.largest
    return min(held, max(BOUND, BOUND_SHARE * task.size.fp16))


def stock_kept(task: Task) -> float:
    """Bytes that a layer of stock XTuner keeps of a token: fp32 values and attention's scores."""
    train, shape = task.settings.train, task.size.shape
    kept = 2 * kept_per_token(shape, train.lora_r, train.lora_dropout > 0)
    scores = STOCK_SCORES * FP32 * shape.heads * train.max_length
    return kept + (scores if task.size.eager else 0)


def _training(task: Task) -> float:
    """Bytes of a training on a CPU: base, adapter, activations and fp32 logits thrice.

    On a GPU each process holds the shard that it loads.
    """
    train, shape = task.settings.train, task.size.shape
    if task.on_gpu:
        return train.processes * (CUDA_HOST + min(task.size.stored, SHARD))
    linear = shape.linear_parameters * (NF4 if train.quantisation == "nf4" else FP32)
    fixed = linear + FP32 * (task.size.parameters - shape.linear_parameters)
    fixed += ADAPTER * shape.adapter_parameters(train.lora_r)
    micro = 1 if train.micro_batch == "auto" else train.micro_batch
    tokens = micro * train.max_length
    layers = 1 if train.activation_checkpointing is True else shape.layers
    activations = tokens * layers * stock_kept(task)
    return train.processes * (fixed + activations + 3 * FP32 * tokens * shape.vocabulary)


def calibrating(task: Task) -> float:
    """Bytes that calibrating holds on a GPU beside weights: one sample's scores and logits, and
    the hidden states of all samples before and after a layer.
    """
    text, shape = task.settings.calibration, task.size.shape
    logits = 2 * FP32 * text.length * shape.vocabulary
    states = 2 * FP16 * text.samples * text.length * shape.hidden
    return RESERVE + AWQ_SLACK * (_calibration(task).sample + logits + states)


def _calibration(task: Task) -> Calibration:
    text, shape = task.settings.calibration, task.size.shape
    return Calibration.of(shape.heads, shape.hidden, text.samples, text.length)


def _quantising(task: Task, made: float, beside: float = 0) -> float:
    """Bytes of the whole model, in fp32 on a CPU, with the hidden states of the text.

    A GPU that holds it beside the calibration is loaded shard by shard, and gives back what is
    quantised, `made` bytes. `beside` of them are there as long as the model is.
    """
    size, text = task.size, task.settings.calibration
    if not task.on_gpu:
        states = 2 * FP32 * text.samples * text.length * size.shape.hidden
        return FP32 * size.parameters + states + beside
    if task.free is not None and _calibration(task).fits_beside(size.fp16, task.free):
        return CUDA_HOST + max(SHARD, made)
    return CUDA_HOST + size.fp16 + beside


def _quantising_awq(task: Task) -> float:
    return _quantising(task, task.size.awq(task.settings.awq.group_size))


def _quantising_w8a8(task: Task) -> float:
    """Bytes with `smooth_quant`, which keeps each layer until all are quantised."""
    made = task.size.stored_in_eight(WEIGHTS["w8a8"])
    return _quantising(task, made, made)


def gptq_layer(task: Task) -> float:
    """Bytes of a layer in fp32, a copy of its largest matrix, the second moments of all its inputs
    and one's inverse, and what a batch of texts takes, at most BATCH_BYTES.
    """
    text, shape = task.settings.calibration, task.size.shape
    weights = [rows * columns for rows, columns in shape.linears]
    moments = [rows**2 for rows, _ in shape.linears]
    tokens = min(TOKENS, text.samples * text.length)
    widths = 3 * shape.mlp + 8 * shape.hidden + 4 * shape.heads * text.length
    matrices = sum(weights) + 2 * max(weights) + sum(moments) + 2 * max(moments)
    return FP32 * matrices + min(BATCH_BYTES, FP32 * tokens * widths)


def _gptq(task: Task) -> float:
    """Bytes of GPTQ's layer, on a CPU, the hidden states of the text and a file that is written."""
    text, shape = task.settings.calibration, task.size.shape
    states = FP32 * text.samples * text.length * shape.hidden
    layer = CUDA_HOST if task.on_gpu else gptq_layer(task)
    return layer + states + min(WRITTEN_SHARD, task.size.awq(task.settings.awq.group_size))


def _check_gptq(task: Task) -> float:
    """Bytes of a layer of the merged model beside its inputs' moments, or of the likelihoods."""
    return max(_on_device(task), CUDA_HOST if task.on_gpu else gptq_layer(task))


def _on_device(task: Task) -> float:
    """Bytes of a stage that goes tensor by tensor, on a GPU through CUDA."""
    return streamed(task) + (CUDA_HOST if task.on_gpu else 0)


def _merging(task: Task) -> float:
    """Bytes of the shards that are written at the same time."""
    return max(streamed(task), min(WRITTEN_AT_ONCE * WRITTEN_SHARD, task.size.fp16))


def _serving(task: Task, chats: int, tokens: int) -> float:
    """Bytes of the engine: all weights in fp32 and the cache, or TurboMind's own process.

    TurboMind reads the files tensor by tensor into the GPU.
    """
    if task.lmdeploy:
        return CUDA_HOST + 2 * FP32 * task.size.largest
    cache = Room(chats, tokens).held * task.size.kv_bytes(KV_CACHES["fp16"])
    logits = FP32 * chats * task.size.shape.vocabulary
    return FP32 * task.size.expanded + cache + logits


def _divergence(task: Task) -> float:
    """Bytes of two workspaces' layers in turn, or of the distributions that wait for the variant's.

    Those lie in the folder for temporary files, which may be memory; with them one conversation's.
    """
    if not task.lmdeploy:
        return streamed(task)
    one = FP32 * LONGEST * task.size.shape.vocabulary
    return CUDA_HOST + 2 * FP32 * task.size.largest + KEPT_BYTES + 2 * one


def _efficiency(task: Task) -> float:
    one = task.settings.efficiency
    return _serving(task, 1, one.prompt_tokens + one.new_tokens)


BY_SIZE: dict[str, Callable[[Task], float]] = {
    "base_model": streamed,
    "train": _training,
    # The checkpoint as it was read, optimiser and all.
    "adapter": lambda task: (
        ADAPTER * task.size.shape.adapter_parameters(task.settings.train.lora_r)
    ),
    "merge": _merging,
    "check_merge": streamed,
    "check_training": _on_device,
    "awq": _quantising_awq,
    "check_awq": _on_device,
    "gptq": _gptq,
    "check_gptq": _check_gptq,
    "fp8": lambda task: (
        _on_device(task) + min(WRITTEN_SHARD, task.size.stored_in_eight(WEIGHTS["fp8"]))
    ),
    "check_fp8": _on_device,
    "w8a8": _quantising_w8a8,
    "check_w8a8": _on_device,
    "calibrate": _quantising_awq,
    "workspace": streamed,
    "check_workspace": _on_device,
    "check_kv_cache": _on_device,
    "divergence": _divergence,
    "evaluate": lambda task: _serving(task, CONCURRENCY, task.settings.workspace.session_len),
    "evaluate_hugging_face": lambda task: (
        CUDA_HOST + min(task.size.stored, SHARD) if task.on_gpu else FP32 * task.size.expanded
    ),
    "efficiency": _efficiency,
}


def host_bytes(stage: str, task: Task, raw: int = 0) -> float:
    """Return the bytes of host memory at the peak of a job; `raw` is that of the raw records."""
    if stage in BY_SIZE:
        return PROCESS[stage] + BY_SIZE[stage](task)
    return fixed_bytes(stage, raw)


def fixed_bytes(stage: str, raw: int = 0) -> float:
    """Return those of a stage that no base changes."""
    return PROCESS[stage] + (CORPUS_HELD * raw if stage == "corpus" else 0)


def asked_mb(held: float) -> int:
    """Return the mem_mb that a rule asks for, where its job holds so many bytes."""
    return int(max(LEAST_ASKED, MARGIN * held) / MB)
