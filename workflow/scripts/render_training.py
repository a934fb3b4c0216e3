"""Render XTuner's configuration file from the settings of the run."""

import argparse
import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from butler.chat_template import ChatTemplate
from butler.devices import resolve_device
from butler.errors import ButlerError, run_cli
from butler.files import atomic_write_text

TEMPLATES = Path(__file__).resolve().parents[1] / "templates"


def render(
    train: dict[str, Any],
    template: ChatTemplate,
    device: str,
    base: str,
    data: str,
    seed: int,
    remote_code: bool,
) -> str:
    """Return the text of the configuration for `device`, "cpu" or "cuda"."""
    if train["checkpoint_interval"] % train["accumulation"]:
        raise ButlerError(
            f"train.checkpoint_interval {train['checkpoint_interval']} is not a multiple of "
            f"train.accumulation {train['accumulation']}: a resumed run would lose gradients"
        )
    on_gpu = device == "cuda"
    environment = Environment(loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined)
    return (
        environment.get_template("xtuner_config.py.jinja").render(
            train=train,
            base=base,
            data=data,
            seed=seed,
            remote_code=remote_code,
            prompt_template=repr(template.to_xtuner()),
            nf4=train["quantisation"] == "nf4",
            finetune="SupervisedFinetune" if on_gpu else "CpuSupervisedFinetune",
            optim_wrapper="AmpOptimWrapper" if on_gpu else "OptimWrapper",
            dtype="torch.bfloat16" if on_gpu else "torch.float32",
            backend="nccl" if on_gpu else "gloo",
            warmup_iters=max(2, round(train["warmup_ratio"] * (train["max_iters"] or 0))),
        )
        + "\n"
    )


def main() -> None:
    """Render one configuration."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", required=True, help="the train section as JSON")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--chat-template", required=True)
    parser.add_argument("--remote-code", action="store_true")
    parser.add_argument("--base", required=True, help="folder of the base model")
    parser.add_argument("--data", required=True, help="train.jsonl")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    text = render(
        json.loads(args.train),
        ChatTemplate.load(args.chat_template),
        resolve_device(args.device),
        args.base,
        args.data,
        args.seed,
        args.remote_code,
    )
    atomic_write_text(args.out, text)


if __name__ == "__main__":
    run_cli(main)
