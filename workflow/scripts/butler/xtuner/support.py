"""Gaps of XTuner 0.2.0 closed, on a CPU and with several processes, and hooks of ours.

A configuration names what it needs from here; importing this module closes the gaps.
"""

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers.integrations.bitsandbytes as bitsandbytes_integration
from mmengine.dist import all_gather_object, all_reduce, get_rank, master_only
from mmengine.hooks import Hook, ParamSchedulerHook
from mmengine.optim import LinearLR
from transformers import dynamic_module_utils
from transformers.integrations import is_deepspeed_zero3_enabled
from xtuner.model import SupervisedFinetune

from butler.files import atomic_write_json
from butler.xtuner import FINISHED

if not torch.cuda.is_available():
    # transformers 4.48 lets bitsandbytes on a CPU pass with IPEX only; since 0.46 it has kernels of
    # its own for NF4 there.
    bitsandbytes_integration._validate_bnb_multi_backend_availability = lambda raise_exception: True
    # mmengine gives each of several processes a GPU before it asks whether there are any.
    torch.cuda.set_device = lambda device: None

if (process := os.environ.get("RANK", "0")) != "0":
    # A model's own code is copied to a cache, where processes would read each other's half files.
    own = Path(dynamic_module_utils.HF_MODULES_CACHE, process)
    dynamic_module_utils.HF_MODULES_CACHE = str(own)


class CpuSupervisedFinetune(SupervisedFinetune):
    """Supervised fine-tuning that does not ask the device for FlashAttention or bf16.

    Upstream asks torch.cpu.is_bf16_supported(), which does not exist.
    """

    @staticmethod
    def _prepare_for_flash_attn(cfg: Any, llm_cfg: Any) -> Any:
        return cfg

    @staticmethod
    def _prepare_for_qlora_zero3(cfg: Any) -> Any:
        if is_deepspeed_zero3_enabled() and "quantization_config" in cfg:
            # One type for all weights, as upstream has it on a GPU.
            cfg.quantization_config.bnb_4bit_quant_storage = cfg.torch_dtype
        return cfg


class Warmup(LinearLR):
    """A linear warm-up that lasts two iterations at least, however short the epoch."""

    @classmethod
    def build_iter_from_epoch(
        cls, *args: Any, begin: float = 0, end: float = 0, epoch_length: int, **kwargs: Any
    ) -> "Warmup":
        """Convert epochs to iterations; mmengine refuses a warm-up that rounds to none."""
        end = max(end, begin + 2 / epoch_length)
        return super().build_iter_from_epoch(
            *args, begin=begin, end=end, epoch_length=epoch_length, **kwargs
        )


def _random_state() -> dict[str, Any]:
    """Return the state of Python's, NumPy's and torch's generators, of this process's GPU too."""
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


class RandomStateHook(Hook):
    """Keep the random state in each checkpoint, so that a resumed run draws the same dropout.

    Each process has a state of its own. mmengine's message hub carries them: it is the one part of
    a checkpoint that DeepSpeed's form of it shares with the plain one.
    """

    KEY = "random_state"

    def __init__(self, interval: int) -> None:
        """Remember that checkpoints are made every `interval` iterations, and at the end."""
        self.interval = interval
        self._saved: dict[str, Any] | None = None

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Gather the states if a checkpoint is due; the hook that writes it runs later."""
        if self.every_n_train_iters(runner, self.interval) or self.is_last_train_iter(runner):
            runner.message_hub.update_info(self.KEY, all_gather_object(_random_state()))

    def before_train(self, runner: Any) -> None:
        """Take this process's state from the checkpoint that was resumed from, if any."""
        states = runner.message_hub.runtime_info.get(self.KEY)
        self._saved = states[get_rank()] if states else None

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Set the remembered state once: building and skipping data has drawn from it since."""
        saved, self._saved = self._saved, None
        if saved is None:
            return
        random.setstate(saved["python"])
        np.random.set_state(saved["numpy"])
        # mmengine loads a checkpoint onto the GPU; the generators take their state from the CPU.
        torch.set_rng_state(saved["torch"].cpu())
        if saved["cuda"] is not None:
            torch.cuda.set_rng_state(saved["cuda"].cpu())


class UpdateSchedulerHook(ParamSchedulerHook):
    """Change the learning rate between updates only, by what the iterations since add up to.

    mmengine changes it at every iteration, so that an update's learning rate depends on how many
    micro batches it is made of; this way it depends on the packs that were seen before it.
    """

    def __init__(self, accumulation: int) -> None:
        """Remember how many iterations make an update."""
        self.accumulation = accumulation

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Step the schedulers once for each iteration of the update that has ended."""
        if self.every_n_train_iters(runner, self.accumulation):
            for _ in range(self.accumulation):
                super().after_train_iter(runner, batch_idx, data_batch, outputs)


class MeanLossHook(Hook):
    """Let the logged loss be the mean over all processes; mmengine logs that of the first."""

    priority = "HIGHEST"  # before the hook that takes it down

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Replace the loss among what the iteration has to tell."""
        loss = outputs["loss"].detach().clone()
        all_reduce(loss, op="mean")
        outputs["loss"] = loss


class FinishHook(Hook):
    """Leave a mark when training reached its last iteration: XTuner's exit code does not say."""

    priority = "VERY_LOW"

    @master_only
    def after_train(self, runner: Any) -> None:
        """Write the number of iterations beside the checkpoints."""
        mark = {"iter": runner.iter, "max_iters": runner.max_iters}
        atomic_write_json(Path(runner.work_dir, FINISHED), mark)


class PortableHook(Hook):
    """Keep the path of this machine out of a checkpoint; nothing reads it there."""

    def before_train(self, runner: Any) -> None:
        """Let DeepSpeed's strategy ask the hooks before it saves: it drops what does so."""
        strategy = getattr(runner, "strategy", None)
        if strategy is None:
            return
        save = strategy.save_checkpoint

        def ask_and_save(
            *, extra_ckpt: dict[str, Any], callback: Callable[..., None], **rest: Any
        ) -> None:
            callback(extra_ckpt)
            save(extra_ckpt=extra_ckpt, callback=callback, **rest)

        strategy.save_checkpoint = ask_and_save

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Tell the file by its name alone."""
        info = checkpoint["message_hub"]["runtime_info"]
        if "last_ckpt" in info:
            info["last_ckpt"] = Path(info["last_ckpt"]).name
