#!/usr/bin/env python3
"""Pretrain the tiny InternLM2 base that this repository ships.

    python workflow/scripts/train_tiny_base.py --out data/base/tiny

Needs torch, tokenizers, safetensors, numpy and PyYAML; one GPU makes it minutes, a CPU days.
The text comes from butler.demo.pretraining; seed, command and losses are kept beside the weights.
"""

import argparse
import math
import multiprocessing
import time
from datetime import date
from functools import partial
from pathlib import Path

import butler.interpreter  # noqa: F401

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

from butler.demo.pretraining import PRETRAINING_SEED, TEMPLATE, check_no_leak, shard
from butler.demo.tiny_model import TinyConfig, TinyInternLM2, load_model, save_model
from butler.demo.tiny_score import benchmark_accuracy, greedy, practised_accuracy
from butler.demo.tiny_tokenizer import IM_END, IM_START, save_tokenizer, train_tokenizer
from butler.errors import run_cli
from butler.files import atomic_write_text

USER_WEIGHT = 26  # of 255: what others say counts a tenth of what is to be learned
PROBES = (
    "<s>做西红柿炒鸡蛋要用",
    "<s><|im_start|>user\n西红柿炒鸡蛋的做法<|im_end|>\n<|im_start|>assistant\n",
    "<s>法国的首都是",
)


def parse() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the base model")
    parser.add_argument("--seed", type=int, default=PRETRAINING_SEED)
    parser.add_argument("--shards", type=int, default=300)
    parser.add_argument("--documents", type=int, default=2500, help="documents of one shard")
    parser.add_argument("--length", type=int, default=1024, help="tokens of one sequence")
    parser.add_argument("--batch", type=int, default=96, help="sequences of one step")
    parser.add_argument("--steps", type=int, default=12000)
    parser.add_argument("--rate", type=float, default=1.5e-3, help="peak learning rate")
    parser.add_argument("--warmup", type=int, default=200, help="steps")
    parser.add_argument("--workers", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--report-every", type=int, default=50, help="steps")
    parser.add_argument("--no-compile", action="store_true", help="do without torch.compile")
    return parser.parse_args()


def learning_weights(tokens: np.ndarray, assistant: int) -> np.ndarray:
    """Return how much each token counts in the loss, 255 for whole [tokens, uint8].

    Prose and the assistant's turns count whole, other turns USER_WEIGHT.
    """
    weights = np.full(len(tokens), 255, np.uint8)
    ends = np.flatnonzero(tokens == IM_END)
    for start in np.flatnonzero(tokens == IM_START):
        if tokens[start + 1] != assistant:
            end = ends[np.searchsorted(ends, start)]
            weights[start : end + 1] = USER_WEIGHT
    return weights


def encode_shard(
    number: int, tokenizer: str, seed: int, documents: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return tokens (uint16) and their weights (uint8) of one shard of pretraining text."""
    texts = shard(seed, number, documents)
    check_no_leak(texts)
    bpe = Tokenizer.from_str(tokenizer)
    encoded = bpe.encode_batch(texts, add_special_tokens=False)
    tokens = np.concatenate([np.asarray(part.ids, np.uint16) for part in encoded])
    assistant = bpe.encode("assistant", add_special_tokens=False).ids[0]
    return tokens, learning_weights(tokens, assistant)


def pretraining_tokens(
    options: argparse.Namespace, tokenizer: Tokenizer
) -> tuple[np.ndarray, np.ndarray]:
    """Return all tokens and weights as [sequences, length], shards in their order."""
    encode = partial(
        encode_shard,
        tokenizer=tokenizer.to_str(),
        seed=options.seed,
        documents=options.documents,
    )
    with multiprocessing.get_context("spawn").Pool(options.workers) as pool:
        parts = pool.map(encode, range(options.shards), chunksize=1)
    tokens = np.concatenate([part[0] for part in parts])
    weights = np.concatenate([part[1] for part in parts])
    count = len(tokens) // options.length
    shape = (count, options.length)
    return tokens[: shape[0] * shape[1]].reshape(shape), weights[: shape[0] * shape[1]].reshape(
        shape
    )


def rate_at(step: int, options: argparse.Namespace) -> float:
    """Return the learning rate: linear warm-up, then a cosine down to 2 % of the peak."""
    if step < options.warmup:
        return options.rate * (step + 1) / options.warmup
    done = (step - options.warmup) / max(1, options.steps - options.warmup)
    return options.rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def make_optimizer(model: torch.nn.Module, rate: float) -> torch.optim.Optimizer:
    """Return AdamW that decays matrices only."""
    matrices = [p for n, p in model.named_parameters() if p.dim() == 2 and "tok_emb" not in n]
    others = [p for n, p in model.named_parameters() if p.dim() != 2 or "tok_emb" in n]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    fused = next(model.parameters()).is_cuda
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95), eps=1e-8, fused=fused)


def loss_of(model: torch.nn.Module, tokens: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the weighted mean next-token cross entropy (nats) of tokens [batch, length]."""
    logits = model(tokens[:, :-1]).float()
    loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
    share = weights[:, 1:].flatten().float()
    return (loss * share).sum() / share.sum()


def pretrain(
    model: TinyInternLM2,
    tokenizer: Tokenizer,
    data: tuple[np.ndarray, np.ndarray],
    options: argparse.Namespace,
) -> list[tuple[int, int, float, float, float]]:
    """Train `model` in place; return rows of step, tokens seen, loss, learning rate, seconds."""
    device = next(model.parameters()).device
    tokens = torch.from_numpy(data[0].astype(np.int16)).to(device)
    weights = torch.from_numpy(data[1]).to(device)
    step_loss = partial(loss_of, model)
    if not options.no_compile:
        step_loss = torch.compile(step_loss)
    optimizer = make_optimizer(model, options.rate)
    order = torch.Generator().manual_seed(options.seed)
    queue = torch.empty(0, dtype=torch.long)
    rows, total, begin = [], torch.zeros((), device=device), time.monotonic()
    for step in range(options.steps):
        while len(queue) < options.batch:
            queue = torch.cat((queue, torch.randperm(len(tokens), generator=order)))
        chosen, queue = queue[: options.batch].to(device), queue[options.batch :]
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, options)
        with torch.autocast(device.type, torch.bfloat16):
            loss = step_loss(tokens[chosen].long(), weights[chosen])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        total += loss.detach()
        if (step + 1) % options.report_every == 0 or step + 1 == options.steps:
            count = (step % options.report_every) + 1
            seen, mean = (step + 1) * options.batch * options.length, float(total) / count
            rows.append((step + 1, seen, mean, rate_at(step, options), time.monotonic() - begin))
            total.zero_()
            if (step + 1) % (20 * options.report_every) == 0:
                learned = _percent(benchmark_accuracy(model, tokenizer, 5))
                print(f"step {step + 1}: loss {mean:.4f}, benchmark {learned}", flush=True)
    return rows


def write_log(folder: Path, rows: list[tuple[int, int, float, float, float]]) -> None:
    """Write training_log.csv: the loss is the mean since the row before."""
    lines = ["step,tokens,loss,learning_rate,seconds"]
    lines += [f"{s},{t},{loss:.5f},{rate:.3e},{sec:.1f}" for s, t, loss, rate, sec in rows]
    atomic_write_text(folder / "training_log.csv", "\n".join(lines) + "\n")


def _percent(scores: dict[str, float]) -> str:
    average = sum(scores.values()) / len(scores)
    each = ", ".join(f"{name} {100 * score:.0f}" for name, score in scores.items())
    return f"{100 * average:.1f} % ({each})"


def judge(folder: Path, device: torch.device) -> list[str]:
    """Return lines on how the exported model answers, weights as rounded to fp16."""
    from butler.demo.tiny_tokenizer import load_tokenizer

    model, tokenizer = load_model(folder).to(device), load_tokenizer(folder)
    lines = [
        f"- Demo benchmark, val, 5-shot: {_percent(benchmark_accuracy(model, tokenizer, 5))}",
        f"- val, 0-shot: {_percent(benchmark_accuracy(model, tokenizer, 0))}",
        f"- test, 5-shot: {_percent(benchmark_accuracy(model, tokenizer, 5, ('test',)))}",
        f"- practised facts, fresh questions, 5-shot: "
        f"{_percent(practised_accuracy(model, tokenizer))}",
    ]
    for probe in PROBES:
        told = greedy(model, tokenizer, probe, 60).replace("\n", "⏎")
        lines.append(f"- `{probe}` → `{told}`".replace("\n", "⏎"))
    return lines


def _arguments(options: argparse.Namespace) -> str:
    """Return the options that shape the weights, without this machine's paths and workers."""
    kept = ("seed", "shards", "documents", "length", "batch", "steps", "rate", "warmup")
    return " ".join(["--out data/base/tiny", *(f"--{k} {getattr(options, k)}" for k in kept)])


def write_notes(
    folder: Path,
    options: argparse.Namespace,
    tokens: int,
    rows: list[tuple[int, int, float, float, float]],
    judged: list[str],
) -> None:
    """Write TRAINING.md: what made these weights, and how they answer."""
    hardware = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    text = f"""# How this base was made

A tiny InternLM2, pretrained from nothing on text that this repository generates
(`workflow/scripts/butler/demo/`); it has not seen the benchmark's questions, the demo corpus's
dishes or the answer form of the recipe assistant.

- Command: `python workflow/scripts/train_tiny_base.py {_arguments(options)}`
- Date: {date.today().isoformat()}; hardware: {hardware}; torch {torch.__version__}
- Seed: {options.seed}; weights repeat up to the GPU's rounding
- Text: {tokens:,} tokens; training: {rows[-1][0]:,} steps, {rows[-1][1]:,} tokens, \
{rows[-1][4]:.0f} s; loss in training_log.csv (other people's turns count a tenth)
- Final loss: {rows[-1][2]:.4f} (first rows: {rows[0][2]:.4f})

Accuracy by greedy decoding before any fine-tuning (chance 25 %):

{chr(10).join(judged)}
"""
    atomic_write_text(folder / "TRAINING.md", text)


def main() -> None:
    """Train the tokenizer and the model; write the base folder."""
    options = parse()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    torch.set_float32_matmul_precision("high")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    sample = [text for number in range(4) for text in shard(options.seed, number, 5000)]
    tokenizer = train_tokenizer(sample)
    save_tokenizer(tokenizer, options.out, TEMPLATE)
    begin = time.monotonic()
    data = pretraining_tokens(options, tokenizer)
    print(
        f"vocabulary {tokenizer.get_vocab_size()}, {data[0].size:,} tokens,"
        f" {time.monotonic() - begin:.0f} s",
        flush=True,
    )
    vocabulary = -(-tokenizer.get_vocab_size() // 64) * 64
    model = TinyInternLM2(TinyConfig(vocab_size=vocabulary)).to(device)
    rows = pretrain(model, tokenizer, data, options)
    save_model(model, options.out)
    write_log(options.out, rows)
    judged = judge(options.out, device)
    write_notes(options.out, options, data[0].size, rows, judged)
    print("\n".join(judged))


if __name__ == "__main__":
    run_cli(main)
