"""Render XTuner's configuration file from the settings of the run, and plan its micro batches."""

import argparse
from pathlib import Path

import butler.interpreter  # noqa: F401

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from butler.chat_template import ChatTemplate
from butler.devices import DEVICES, resolve_device
from butler.errors import run_cli
from butler.files import atomic_write_text
from butler.settings.training_stage import TrainSettings
from butler.xtuner.configuration import TEMPLATE
from butler.xtuner.memory import BatchPlan, DecoderShape, free_memory, make_plan, require_gpus


def schedule(train: TrainSettings, plan: BatchPlan) -> dict[str, int]:
    """Return what the configuration counts in updates as XTuner counts it: in iterations.

    An iteration is one micro batch on each process; `max_iters` is 0 where epochs decide.
    """
    steps = train.max_steps or 0
    # The full rate is reached in the last update of the warm-up, and the cosine begins there.
    warm = max(2, round(train.warmup_ratio * steps)) - 1
    return {
        "max_iters": steps * plan.accumulation,
        "warmup_iters": warm * plan.accumulation,
        "checkpoint_iters": train.checkpoint_interval * plan.accumulation,
        "log_iters": train.log_interval * plan.accumulation,
    }


def render(
    train: TrainSettings,
    plan: BatchPlan,
    template: ChatTemplate,
    device: str,
    base: str,
    data: str,
    seed: int,
    remote_code: bool,
) -> str:
    """Return the text of the configuration for `device`, "cpu" or "cuda"."""
    on_gpu, fast = device == "cuda", plan.kernels == "fast"
    stock = "SupervisedFinetune" if on_gpu else "CpuSupervisedFinetune"
    loader = FileSystemLoader(TEMPLATE.parent)
    environment = Environment(loader=loader, undefined=StrictUndefined)
    return (
        environment.get_template(TEMPLATE.name).render(
            train=train,
            plan=plan,
            fast=fast,
            **schedule(train, plan),
            base=base,
            data=data,
            seed=seed,
            remote_code=remote_code,
            prompt_template=repr(template.to_xtuner()),
            nf4=train.quantisation == "nf4",
            finetune="FastSupervisedFinetune" if fast else stock,
            # The fast path casts for itself; stock XTuner needs autocast on a GPU.
            optim_wrapper="AmpOptimWrapper" if on_gpu and not fast else "OptimWrapper",
            dtype="torch.bfloat16" if on_gpu else "torch.float32",
            backend="nccl" if on_gpu else "gloo",
            ddp_on_cpu=not on_gpu and plan.world > 1 and not train.deepspeed,
        )
        + "\n"
    )


def main() -> None:
    """Render one configuration and its plan."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", required=True, help="the train section, JSON or its file")
    parser.add_argument("--device", choices=DEVICES, default="auto")
    parser.add_argument("--chat-template", required=True)
    parser.add_argument("--remote-code", action="store_true")
    parser.add_argument("--base", required=True, help="folder of the base model")
    parser.add_argument("--data", required=True, help="train.jsonl")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--plan", type=Path, required=True, help="JSON of the micro batches")
    args = parser.parse_args()
    train, device = TrainSettings.from_argument(args.settings), resolve_device(args.device)
    on_gpu = device == "cuda"
    require_gpus(train.processes, on_gpu)
    free = free_memory(train.processes) if on_gpu else 0
    plan = make_plan(train, DecoderShape.read(Path(args.base)), on_gpu, free)
    text = render(
        train,
        plan,
        ChatTemplate.load(args.chat_template),
        device,
        args.base,
        args.data,
        args.seed,
        args.remote_code,
    )
    plan.write(args.plan)
    print(plan)
    atomic_write_text(args.out, text)


if __name__ == "__main__":
    run_cli(main)
