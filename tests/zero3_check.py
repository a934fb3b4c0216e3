"""Train the fast path under DeepSpeed's ZeRO-3; process 0 prints the losses (XTuner's Python).

Run by torch.distributed.run on a CPU, with a base's folder and `sharded` or `whole` (no ZeRO).
"""

import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "workflow" / "scripts"), str(ROOT / "tests")]
os.environ["DS_ACCELERATOR"] = "cpu"

import deepspeed
import torch
from transformers.integrations import HfDeepSpeedConfig

from butler.xtuner.fast import FastSupervisedFinetune
from butler.xtuner.support import CpuSupervisedFinetune
from fast_path_check import batch, build

PACKS, UPDATES = 2, 4


class Finetune(FastSupervisedFinetune):
    """The fast path on a CPU, which cannot be asked what stock XTuner asks a GPU."""

    _prepare_for_qlora_zero3 = staticmethod(CpuSupervisedFinetune._prepare_for_qlora_zero3)


def main(folder, form):
    deepspeed.init_distributed("gloo")
    rank, processes = torch.distributed.get_rank(), torch.distributed.get_world_size()
    settings = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": PACKS // processes,
        "zero_optimization": {
            "stage": 3 if form == "sharded" else 0,
            "overlap_comm": False,
            "stage3_param_persistence_threshold": 0,
        },
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
    }
    # transformers asks it while it is alive whether weights are to be sharded as they are read
    alive = HfDeepSpeedConfig(settings)
    model = build(Finetune, Path(folder), recompute_layers=1)
    trained = [p for p in model.parameters() if p.requires_grad]
    engine, *_ = deepspeed.initialize(
        model=model,
        optimizer=torch.optim.AdamW(trained, lr=5e-3),
        model_parameters=trained,
        config=alive.config,
    )
    losses = []
    for _ in range(UPDATES):
        packs = {key: value[rank::processes] for key, value in batch(PACKS).items()}
        own = torch.zeros(())
        for one in range(PACKS // processes):
            loss = engine({key: value[one : one + 1] for key, value in packs.items()}, mode="loss")
            engine.backward(loss["loss"])
            engine.step()
            own += loss["loss"].detach()
        torch.distributed.all_reduce(own)
        losses.append(float(own) / PACKS)
    sharded = min(p.numel() for p in model.parameters()) == 0
    if rank == 0:
        print(json.dumps({"losses": losses, "replaced": model.replaced, "sharded": sharded}))


if __name__ == "__main__":
    main(*sys.argv[1:])
