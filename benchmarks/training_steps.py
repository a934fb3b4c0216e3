"""Timing single training steps in this process: one lever after the other; used by training.py."""

import gc
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from training_runs import Subject

from butler.xtuner.memory import GIB

SPEED_OF_MATMUL = 8192
LORA_RANK = 64


def matmul_peak() -> float:
    """Return the bf16 rate, in TFLOP/s, of one large product of random matrices on this GPU."""
    size = SPEED_OF_MATMUL
    a, b = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    seconds = timed(lambda: a @ b, repeats=20)
    return 2 * size**3 / seconds / 1e12


def timed(step: Callable[[], Any], repeats: int = 3, warm_up: int = 2) -> float:
    """Return the median seconds of `step` on the GPU."""
    for _ in range(warm_up):
        step()
    taken = []
    for _ in range(repeats):
        torch.cuda.synchronize()
        start = time.perf_counter()
        step()
        torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def packs(subject: Subject, tokens: int, count: int) -> dict[str, Tensor]:
    """Return `count` packs of the training corpus as XTuner makes them, on the GPU."""
    from datasets import load_dataset
    from mmengine.config import ConfigDict
    from transformers import AutoTokenizer
    from xtuner.dataset import process_hf_dataset
    from xtuner.dataset.map_fns import template_map_fn_factory

    rows = process_hf_dataset(
        dataset=load_dataset("json", data_files={"train": str(subject.data)}),
        tokenizer=AutoTokenizer.from_pretrained(subject.model, trust_remote_code=True),
        max_length=tokens,
        template_map_fn=template_map_fn_factory(ConfigDict(subject.template.to_xtuner())),
        remove_unused_columns=True,
        pack_to_max_length=True,
        map_num_proc=1,
    ).select(range(count))
    batch = {name: torch.tensor(rows[name][:]) for name in ("input_ids", "labels")}
    return {name: value.cuda() for name, value in batch.items()}


def lora(dropout: float, targets: list[str] | None = None) -> Any:
    """Return the LoRA configuration of all runs."""
    from peft import LoraConfig

    return LoraConfig(
        r=LORA_RANK,
        lora_alpha=16,
        lora_dropout=dropout,
        bias="none",
        task_type="CAUSAL_LM",
        target_modules=targets,
    )


def base_options(model: Path, **more: str) -> dict[str, Any]:
    """Return how the base is loaded: NF4, with bf16 as its precision of computation."""
    from transformers import BitsAndBytesConfig

    return {
        "pretrained_model_name_or_path": str(model),
        "trust_remote_code": True,
        "torch_dtype": torch.bfloat16,
        **more,
        "quantization_config": BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
            bnb_4bit_use_double_quant=True,
            bnb_4bit_quant_type="nf4",
        ),
    }


class Steps:
    """Forward and backward passes of one model on the same packs, timed and measured."""

    def __init__(self, batch: dict[str, Tensor], flops: float, peak: float) -> None:
        self.batch, self.flops, self.peak = batch, flops, peak
        self.tokens = batch["input_ids"].shape[1]
        self.rows: list[dict[str, Any]] = []

    def measure(
        self, name: str, loss_of: Callable[[dict[str, Tensor]], Tensor], micro: int, autocast: bool
    ) -> None:
        """Time one micro batch; gradients stay between the steps, as in accumulation."""
        part = {key: value[:micro] for key, value in self.batch.items()}
        kept: dict[str, float] = {}

        def step() -> None:
            context = torch.autocast("cuda", torch.bfloat16) if autocast else nullcontext()
            with context:
                loss = loss_of(part)
            loss.backward()
            kept["loss"] = loss.detach()

        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        try:
            seconds = timed(step)
        except torch.OutOfMemoryError:
            self.rows.append({"what": name, "micro_batch": micro, "out_of_memory": True})
            gc.collect()
            torch.cuda.empty_cache()
            return
        rate = micro * self.tokens / seconds
        row = {
            "what": name,
            "micro_batch": micro,
            "tokens_per_second": round(rate),
            "us_per_token": round(1e6 / rate, 1),
            "peak_gib": round(torch.cuda.max_memory_allocated() / GIB, 2),
            "percent_of_matmul_peak": round(100 * rate * self.flops / (self.peak * 1e12), 1),
            "loss": round(float(kept["loss"]), 4),
        }
        print(row, flush=True)
        self.rows.append(row)


def stock_loss(model: nn.Module) -> Callable[[dict[str, Tensor]], Tensor]:
    """Return what XTuner computes of a batch: all the inputs that its data loader gives."""

    def loss_of(part: dict[str, Tensor]) -> Tensor:
        ids = part["input_ids"]
        positions = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        mask = torch.ones_like(ids, dtype=torch.bool)
        data = {**part, "attention_mask": mask, "position_ids": positions}
        return model(data, mode="loss")["loss"]

    return loss_of


def stock_and_ours(
    steps: Steps, model_folder: Path, micro_batches: list[int]
) -> dict[str, dict[str, Any]]:
    """Measure a step of stock XTuner and of ours, each as its class builds it; return the fastest.

    Stock takes one pack at a time, as in trainings. Ours takes one too, for the sake of the loss:
    a new adapter adds nothing to the base, so that both have the same.
    """
    from mmengine.config import ConfigDict
    from transformers import AutoModelForCausalLM
    from xtuner.model import SupervisedFinetune

    from butler.xtuner.fast import FastSupervisedFinetune

    kinds = {"stock": (SupervisedFinetune, [1]), "ours": (FastSupervisedFinetune, micro_batches)}
    fastest = {}
    for name, (finetune, counts) in kinds.items():
        llm = ConfigDict(type=AutoModelForCausalLM.from_pretrained, **base_options(model_folder))
        model = finetune(llm=llm, lora=lora(0.1)).cuda().train()
        before = len(steps.rows)
        for micro in dict.fromkeys([1, *counts]):
            steps.measure(name, stock_loss(model), micro, autocast=name == "stock")
        fastest[name] = max(steps.rows[before:], key=lambda row: row.get("tokens_per_second", 0))
        del model
        gc.collect()
    return fastest


def use_sdpa(model: nn.Module) -> None:
    """Let an InternLM2 that was loaded with eager attention use SDPA, without loading it again."""
    import sys

    code = sys.modules[type(model).__module__]
    model.config.attn_implementation = "sdpa"
    for module in model.modules():
        if type(module).__name__ == "InternLM2Attention":
            module.__class__ = code.InternLM2SdpaAttention


def keep_bf16(model: nn.Module) -> None:
    """Undo the upcast of norms, embeddings and head that peft's preparation made."""
    for parameter in model.parameters():
        if not parameter.requires_grad and parameter.dtype == torch.float32:
            parameter.data = parameter.data.to(torch.bfloat16)


def lora_share(rows: int, width: int, out: int) -> dict[str, float]:
    """Return how much of a small LoRA product arrives in a layer's bf16 output, 1 being all.

    B is ±2e-4, as after one update; the weight and the input are random. The share is the
    projection of y(B) − y(0) on the product computed in fp32.
    """
    from butler.xtuner.lora_linear import LoraLinear

    bf16 = torch.bfloat16
    layer = nn.Linear(width, out, bias=False, device="cuda", dtype=bf16).requires_grad_(False)
    nn.init.normal_(layer.weight, std=0.02)
    x = torch.randn(rows, width, device="cuda", dtype=bf16)
    a = (torch.rand(LORA_RANK, width, device="cuda") * 2 - 1) / width**0.5
    b = 2e-4 * torch.randn(out, LORA_RANK, device="cuda").sign()
    inner = (x @ a.to(bf16).t()).mul_(0.25)
    wanted = inner.float() @ b.t()

    def one_product(b: Tensor) -> Tensor:
        return LoraLinear.apply(x, a, b, layer, 0.25, 0.0)

    def two_products(b: Tensor) -> Tensor:
        return layer(x) + inner @ b.to(bf16).t()

    def added_in_place(b: Tensor) -> Tensor:
        return (inner @ b.to(bf16).t()).addmm_(x, layer.weight.t())

    shares = {}
    for form in (one_product, two_products, added_in_place):
        arrived = form(b).float() - form(torch.zeros_like(b)).float()
        shares[form.__name__] = round(float((arrived * wanted).sum() / wanted.square().sum()), 3)
        del arrived
    return {"rows": rows, "in": width, "out": out, **shares}


def ablation(steps: Steps, model_folder: Path, micro_batches: list[int]) -> None:
    """Measure stock XTuner's step, then add one lever after the other, then larger batches."""
    from mmengine.config import ConfigDict
    from transformers import AutoModelForCausalLM
    from xtuner.model import SupervisedFinetune

    from butler.xtuner.fast import FastSupervisedFinetune
    from butler.xtuner.layers import recompute, replace_forwards

    options = base_options(model_folder, attn_implementation="eager")
    llm = ConfigDict(type=AutoModelForCausalLM.from_pretrained, **options)
    model = SupervisedFinetune(llm=llm, lora=lora(0.1)).cuda().train()
    base = model.llm.get_base_model()
    loss = stock_loss(model)
    steps.measure("stock XTuner: eager attention, checkpointing, fp32 residual", loss, 1, True)
    model.activation_checkpointing_disable()
    steps.measure("+ no recomputation", loss, 1, True)
    use_sdpa(base)
    steps.measure("+ SDPA without a mask", loss, 1, True)
    keep_bf16(model)
    steps.measure("+ bf16 residual stream", loss, 1, True)
    replace_forwards(model.llm, frozenset({"lora"}))
    steps.measure("+ fused LoRA linear", loss, 1, False)
    replace_forwards(model.llm, frozenset({"norm", "mlp"}))
    steps.measure("+ Liger RMSNorm, SwiGLU", loss, 1, False)
    replace_forwards(model.llm, frozenset({"attention"}))
    steps.measure("+ Liger RoPE, cuDNN attention with grouped heads", loss, 1, False)
    model.compute_loss = MethodType(FastSupervisedFinetune.compute_loss, model)
    steps.measure("+ Liger cross-entropy, labelled positions only", loss, 1, False)
    for micro in micro_batches:
        steps.measure(f"+ micro batch {micro}", loss, micro, False)
    profile = kernel_times(loss, {k: v[: micro_batches[0]] for k, v in steps.batch.items()})
    steps.rows.append({"what": "kernels of one step, ms", "kernels": profile})
    layers = base.get_decoder().layers
    recompute(layers, len(layers))
    steps.measure("recomputation of all layers", loss, micro_batches[-1], False)


def kernel_times(
    loss_of: Callable[[dict[str, Tensor]], Tensor], part: dict[str, Tensor]
) -> dict[str, float]:
    """Return the milliseconds of the twenty kernels that take longest in one step."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        loss_of(part).backward()
        torch.cuda.synchronize()
    found = [(e.key[:90], e.device_time_total / 1000) for e in profiler.key_averages()]
    found.sort(key=lambda item: -item[1])
    return {name: round(taken, 2) for name, taken in found[:20]}


def peft_rival(steps: Steps, model_folder: Path, micro: int) -> None:
    """Measure transformers + PEFT + bitsandbytes without XTuner, with one update a step.

    SDPA, no recomputation, dropout 0, no LoRA on the head, bf16 autocast as transformers' Trainer
    has it: the plain way to train a QLoRA adapter.
    """
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    options = base_options(model_folder, attn_implementation="sdpa")
    model = AutoModelForCausalLM.from_pretrained(**options)
    model.config.use_cache = False
    targets = ["wqkv", "wo", "w1", "w2", "w3"]
    model = get_peft_model(model, lora(0.0, targets)).train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=2e-4, fused=True)

    def loss_of(part: dict[str, Tensor]) -> Tensor:
        optimiser.step()
        optimiser.zero_grad()
        return model(**part).loss

    steps.measure("transformers + PEFT + bitsandbytes NF4, SDPA", loss_of, micro, True)
