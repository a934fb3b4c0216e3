"""How fast training is: stock XTuner, ours and PEFT side by side; each lever; several GPUs.

Run with the interpreter of the family's trainer, on a model that random_model.py made of the same
`--base` and a corpus of the workflow's (`snakemake build/corpus/train.jsonl`):

    .envs/xtuner/bin/python benchmarks/training.py --what stock ours peft --model DIR \\
        --data build/corpus/train.jsonl --work DIR --out FILE.json

`stock` and `ours` go through render_training.py and train.py with the same packs in each update,
and their loss curves are drawn together; `steps` times the two's steps alone, in a third of the
time; `peft` is the rival without XTuner; `ablation` adds one
lever after the other; `rounding` says how much of a small LoRA product survives bf16; `zero` scales
over processes; `forms` checks every checkpoint form: resume and adapter. Rates count every position
of the packs; butler/xtuner/memory.py counts the FLOP.
"""

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

from common import TOOLS, publish, record, versions
from random_bases import add_base, chat_template
from training_runs import (
    Subject,
    adapter,
    interrupt_after_checkpoint,
    limited,
    product_command,
    settings,
    train_product,
    write_config,
)

from butler.errors import run_cli
from butler.settings.training_stage import TrainSettings
from butler.xtuner.memory import DecoderShape

KINDS = {"ddp": None, **{f"zero{n}": f"deepspeed_zero{n}" for n in (1, 2, 3)}}


def draw(curves: dict[str, list[float]], path: Path) -> None:
    """Draw loss curves over the updates."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4))
    for name, losses in curves.items():
        axes.plot(range(1, len(losses) + 1), losses, label=name, linewidth=1)
    axes.set(xlabel="update", ylabel="loss, nats per labelled token")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def difference(stock: list[float], ours: list[float]) -> dict[str, float]:
    """Say how far two curves are apart, and how far a curve is from itself one update on."""
    pairs = list(zip(stock, ours, strict=False))
    apart = [abs(a - b) for a, b in pairs]
    steps = [abs(a - b) for a, b in zip(stock, stock[1:], strict=False)]
    tail = pairs[-max(1, len(pairs) // 5) :]
    return {
        "mean_difference": round(sum(apart) / len(apart), 4),
        "largest_difference": round(max(apart), 4),
        "mean_change_from_update_to_update": round(sum(steps) / max(1, len(steps)), 4),
        "last_fifth_stock": round(sum(a for a, _ in tail) / len(tail), 4),
        "last_fifth_ours": round(sum(b for _, b in tail) / len(tail), 4),
    }


def common_settings(args: argparse.Namespace, **changed: Any) -> TrainSettings:
    """Return the train section that this run's options ask for."""
    asked = {"max_length": args.tokens, "max_steps": args.steps, "batch_size": args.packs}
    return settings(args.base, **asked | changed)


def run_speed(args: argparse.Namespace, subject: Subject, figures: dict[str, Any]) -> None:
    """Run stock and ours through XTuner."""
    wanted = {"stock": {"kernels": "stock"}, "ours": {"micro_batch": args.micro_batch}}
    for name, changed in wanted.items():
        if name in args.what:
            limit = args.memory_limit_gb if name == "ours" else None
            train = common_settings(args, **changed)
            work = fresh(args.work / name)
            figures[name] = train_product(work, subject, train, limit)
            report(name, figures[name])
    # Now, since a product in this process keeps memory of the GPU.
    add_shares([figures[name] for name in wanted if name in figures], args, figures)
    if {"stock", "ours"} <= set(args.what):
        add_ratio(figures)
        curves = {name: figures[name]["losses"] for name in ("stock", "ours")}
        figures["curves"] = difference(curves["stock"], curves["ours"])
        draw(curves, args.out.with_suffix(".png"))


def add_shares(
    rows: list[dict[str, Any]], args: argparse.Namespace, figures: dict[str, Any]
) -> None:
    """Add to the figures of trainings the share of the matmul peak that they reached, on a GPU."""
    import torch

    timed = [row for row in rows if row["tokens_per_second"]]
    if timed and torch.cuda.is_available():
        peak, flops = limits(args, figures)
        for row in timed:
            share = row["tokens_per_second"] * flops / (peak * 1e12)
            row["percent_of_matmul_peak"] = round(100 * share, 1)


def add_ratio(figures: dict[str, Any]) -> None:
    """Add how many times stock's rate ours is, if both have one."""
    rates = [figures[name].get("tokens_per_second") for name in ("ours", "stock")]
    figures["times_stock"] = round(rates[0] / rates[1], 2) if all(rates) else None


def limits(args: argparse.Namespace, figures: dict[str, Any]) -> tuple[float, float]:
    """Return the TFLOP/s of a product of matrices and the FLOP of a token; enter both once."""
    from training_steps import LORA_RANK, matmul_peak

    if "matmul_tflops" not in figures:
        figures["matmul_tflops"] = round(matmul_peak(), 1)
    flops = DecoderShape.read(args.model).flops(LORA_RANK, args.tokens)
    figures["gflop_per_token"] = round(flops / 1e9, 2)
    return figures["matmul_tflops"], flops


def run_steps(args: argparse.Namespace, subject: Subject, figures: dict[str, Any]) -> None:
    """Time steps in this process."""
    from training_steps import Steps, ablation, packs, peft_rival, stock_and_ours

    peak, flops = limits(args, figures)
    most = max(args.micro_batches + [2])
    batch = packs(subject, args.tokens, most)
    share = (batch["labels"] >= 0).float().mean().item()
    figures["labelled_share"] = round(share, 3)
    if "steps" in args.what:
        steps = Steps(batch, flops, peak)
        figures["steps"] = stock_and_ours(steps, args.model, args.micro_batches)
        alike = [row["loss"] for row in steps.rows if row["micro_batch"] == 1]
        figures["steps"] |= {"all": steps.rows, "loss_difference": round(alike[1] - alike[0], 4)}
        add_ratio(figures["steps"])
    if "peft" in args.what:
        steps = Steps(batch, flops, peak)
        peft_rival(steps, args.model, 2)
        figures["peft"] = steps.rows
    if "ablation" in args.what:
        steps = Steps(batch, flops, peak)
        ablation(steps, args.model, args.micro_batches)
        figures["ablation"] = steps.rows


def rounding(shape: DecoderShape, tokens: int) -> list[dict[str, float]]:
    """Say how much of a small LoRA product survives, in each of the model's layer sizes."""
    from training_steps import lora_share

    sizes = [*dict.fromkeys(shape.linears), (shape.hidden, shape.vocabulary)]
    rows = [lora_share(tokens, width, out) for width, out in sizes]
    for row in rows:
        print(row, flush=True)
    return rows


def run_zero(args: argparse.Namespace, subject: Subject, figures: dict[str, Any]) -> None:
    """Train with the same packs in each update on one GPU and on several."""
    rows: dict[str, Any] = {}
    for name in args.runs:
        kind, processes = name.split(":")
        changed = {"deepspeed": KINDS[kind], "processes": int(processes)}
        train = common_settings(args, micro_batch=args.micro_batch, **changed)
        rows[name] = train_product(fresh(args.work / name), subject, train)
        report(name, rows[name])
    one = next((row for name, row in rows.items() if name.endswith(":1")), None)
    for row in rows.values():
        if one and row["tokens_per_second"]:
            ideal = one["tokens_per_second"] * row["processes"]
            row["scaling_efficiency"] = round(row["tokens_per_second"] / ideal, 3)
            pairs = zip(one["losses"], row["losses"], strict=False)
            row["largest_loss_difference"] = round(max(abs(a - b) for a, b in pairs), 4)
    figures["zero"] = rows


def run_forms(args: argparse.Namespace, subject: Subject, figures: dict[str, Any]) -> None:
    """Cut a training of each form after a checkpoint, resume it, and convert the result."""
    rows: dict[str, Any] = {}
    for name in args.runs:
        kind, processes = name.split(":")
        changed = {"deepspeed": KINDS[kind], "processes": int(processes)}
        train = common_settings(
            args, checkpoint_interval=max(1, args.steps // 4), learning_rate=1e-3, **changed
        )
        whole, cut = fresh(args.work / f"{name}-whole"), fresh(args.work / f"{name}-cut")
        again = fresh(args.work / f"{name}-again")
        undisturbed = train_product(whole, subject, train)
        train_product(again, subject, train)
        write_config(cut, subject, train, None)
        command = product_command(cut, subject, train)
        was_cut = interrupt_after_checkpoint(command, cut)
        resumed = train_product(cut, subject, train)
        first, second, third = adapter(whole), adapter(cut), adapter(again)
        log = (cut / "log.txt").read_text(encoding="utf-8")
        rows[name] = {
            "checkpoint": "folder" if any((whole / "checkpoint").glob("*.pth/*")) else "file",
            "was_cut": was_cut,
            "resumed": "resuming from iter_" in log,
            "adapter_tensors": len(second),
            "largest_weight_difference": apart(first, second),
            "of_two_undisturbed_runs": apart(first, third),
            "last_losses": [undisturbed["losses"][-1], resumed["losses"][-1]],
        }
        report(name, rows[name])
    figures["forms"] = rows


def apart(one: dict[str, Any], other: dict[str, Any]) -> float:
    """Return the largest difference between the weights of two adapters."""
    return max(float((one[key].float() - other[key].float()).abs().max()) for key in one)


def report(name: str, row: dict[str, Any]) -> None:
    """Print a run's figures but its curve."""
    print(name, {key: value for key, value in row.items() if key != "losses"}, flush=True)


def fresh(folder: Path) -> Path:
    """Return `folder`, empty."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    whats = ["stock", "ours", "steps", "peft", "ablation", "rounding", "zero", "forms"]
    parser.add_argument("--what", nargs="+", choices=whats, required=True)
    parser.add_argument("--model", type=Path, required=True, help="folder, by random_model.py")
    add_base(parser)
    parser.add_argument("--data", type=Path, required=True, help="train.jsonl, by corpus.py")
    parser.add_argument("--work", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--out", type=Path, required=True, help="JSON; curves go beside it")
    parser.add_argument("--tokens", type=int, default=2048, help="in a pack")
    parser.add_argument("--packs", type=int, default=1, help="in an update, over all processes")
    parser.add_argument("--steps", type=int, default=200, help="updates")
    parser.add_argument("--micro-batch", type=micro_batch, default="auto", help="of ours")
    parser.add_argument("--micro-batches", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--memory-limit-gb", type=float, help="plan and train within so many GiB")
    parser.add_argument(
        "--runs", nargs="+", default=["ddp:1"], help="KIND:PROCESSES of zero, forms"
    )
    args = parser.parse_args()
    for name in ("model", "data", "work"):
        setattr(args, name, getattr(args, name).resolve())
    return args


def micro_batch(text: str) -> int | str:
    """Return a number of packs, or "auto"."""
    return text if text == "auto" else int(text)


def main() -> None:
    """Run what is asked for; write one JSON."""
    args = arguments()
    subject = Subject(args.model, chat_template(args.base), args.data)
    figures: dict[str, Any] = {"tokens_in_a_pack": args.tokens, "model": args.model.name}
    figures["versions"] = versions((*TOOLS, "liger-kernel", "deepspeed", "mmengine-lite"))
    if {"steps", "peft", "ablation"} & set(args.what):
        run_steps(args, subject, figures)
    if "rounding" in args.what:
        figures["lora_share"] = rounding(DecoderShape.read(args.model), args.tokens)
    run_speed(args, subject, figures)
    if "zero" in args.what:
        run_zero(args, subject, figures)
    if "forms" in args.what:
        run_forms(args, subject, figures)
    publish(record(**figures), args.out)


def main_limited() -> None:
    """Train in this process within a limit: how `--memory-limit-gb` starts XTuner."""
    parser = argparse.ArgumentParser(description=main_limited.__doc__)
    parser.add_argument("--gib", type=float, required=True)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    args = parser.parse_args(sys.argv[2:])
    limited(args.gib, args.config, args.work)


if __name__ == "__main__":
    run_cli(main_limited if sys.argv[1:2] == ["limited"] else main)
