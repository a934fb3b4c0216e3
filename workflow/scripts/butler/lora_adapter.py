"""A LoRA adapter in PEFT's files: which modules it changes, and by what.

The change of a module's weight is scale·B·A, transposed for modules that hold theirs so. The scale
is alpha/r, or alpha/√r for rank-stabilised LoRA (peft/tuners/lora/layer.py, `update_layer`).
"""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

from butler.errors import ButlerError
from butler.hf_folder import ModelTensors

if TYPE_CHECKING:
    import torch

PREFIX = "base_model.model."
ENDINGS = (".lora_A.weight", ".lora_B.weight")
# Settings of PEFT that change what a pair means; XTuner sets none of them.
UNKNOWN = ("use_dora", "use_qalora", "lora_bias", "layer_replication", "modules_to_save")


class LoraAdapter:
    """The pairs of an adapter's folder, read when they are asked for.

    Raises:
        ButlerError: if the adapter is of another kind than LoRA pairs beside linear modules.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / "adapter_config.json"
        self._settings = json.loads(path.read_text(encoding="utf-8"))
        if found := [name for name in UNKNOWN if self._settings.get(name)]:
            raise ButlerError(f"{path} sets {found[0]}, which cannot be merged here; train without")
        self._tensors = ModelTensors(folder)
        names = self._tensors.names()
        modules = {name.removeprefix(PREFIX).rpartition(".lora_")[0] for name in names}
        self.modules = sorted(modules)
        """Names of the modules in the base that have a pair."""
        if set(names) != {f"{PREFIX}{module}{end}" for module in modules for end in ENDINGS}:
            raise ButlerError(f"{folder} holds more or less than LoRA pairs of linear modules")

    @property
    def base(self) -> str:
        """The folder of the base that it was trained on, as it was called then."""
        return self._settings.get("base_model_name_or_path") or ""

    def factors(self, module: str) -> "tuple[torch.Tensor, torch.Tensor]":
        """Return fp32 [out, r] and [r, in], whose product is what `module`'s weight gains."""
        a, b = (self._tensors[f"{PREFIX}{module}{end}"].float() for end in ENDINGS)
        left, right = b * self._scale(module, b.shape[1]), a
        if self._settings.get("fan_in_fan_out"):
            return right.T.contiguous(), left.T.contiguous()
        return left, right

    def _scale(self, module: str, r: int) -> float:
        alpha = self._settings["lora_alpha"]
        if pattern := self._settings.get("alpha_pattern"):
            from peft.utils.other import get_pattern_key

            alpha = pattern.get(get_pattern_key(pattern.keys(), module), alpha)
        return alpha / math.sqrt(r) if self._settings.get("use_rslora") else alpha / r
