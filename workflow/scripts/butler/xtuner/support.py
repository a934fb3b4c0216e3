"""Two gaps between XTuner 0.2.0 and a CPU closed, and two hooks of ours.

A configuration names what it needs from here; importing this module closes the first gap.
"""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers.integrations.bitsandbytes as bitsandbytes_integration
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.optim import LinearLR
from xtuner.model import SupervisedFinetune

from butler.xtuner import FINISHED

if not torch.cuda.is_available():
    # transformers 4.48 lets bitsandbytes on a CPU pass with IPEX only; since 0.46 it has kernels of
    # its own for NF4 there.
    bitsandbytes_integration._validate_bnb_multi_backend_availability = lambda raise_exception: True


class CpuSupervisedFinetune(SupervisedFinetune):
    """Supervised fine-tuning that does not ask the device for FlashAttention."""

    @staticmethod
    def _prepare_for_flash_attn(cfg: Any, llm_cfg: Any) -> Any:
        # Upstream asks torch.cpu.is_bf16_supported(), which does not exist.
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


class RandomStateHook(Hook):
    """Keep the random state in each checkpoint, so that a resumed run draws the same dropout."""

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Add the state of Python's, NumPy's and torch's generators."""
        checkpoint["random_state"] = {
            "python": random.getstate(),
            "numpy": np.random.get_state(),
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Remember the state; it is set when the first resumed iteration begins."""
        self._saved = checkpoint.get("random_state")

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Set the remembered state once: building and skipping data has drawn from it since."""
        saved, self._saved = getattr(self, "_saved", None), None
        if saved is None:
            return
        random.setstate(saved["python"])
        np.random.set_state(saved["numpy"])
        torch.set_rng_state(saved["torch"])
        if saved["cuda"]:
            torch.cuda.set_rng_state_all(saved["cuda"])


class FinishHook(Hook):
    """Leave a mark when training reached its last iteration: XTuner's exit code does not say."""

    priority = "VERY_LOW"

    @master_only
    def after_train(self, runner: Any) -> None:
        """Write the number of iterations beside the checkpoints."""
        mark = {"iter": runner.iter, "max_iters": runner.max_iters}
        Path(runner.work_dir, FINISHED).write_text(json.dumps(mark), encoding="utf-8")
