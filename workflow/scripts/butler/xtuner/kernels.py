"""The one place that chooses between Liger's kernels and plain torch."""

from types import ModuleType

import torch


def kernels_for(device: torch.device) -> ModuleType:
    """Return the module of the small operations for `device`; Liger needs Triton, hence CUDA."""
    if device.type == "cuda":
        from butler.xtuner import kernels_liger

        return kernels_liger
    from butler.xtuner import kernels_torch

    return kernels_torch
