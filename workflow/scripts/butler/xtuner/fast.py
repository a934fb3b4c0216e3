"""XTuner's supervised fine-tuning with less work for the same result.

The base stays in the precision of its computation (stock XTuner makes norms, embeddings and head
fp32, and with them every hidden state); attention gets no mask; a layer and its LoRA pair are one
step; logits are made of labelled positions only. Within a micro batch each pack weighs the same in
the loss, so that an update is the mean over its packs, as with one pack at a time in stock XTuner.
An epoch's last micro batch may be smaller than the others but counts as much: its packs weigh more.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from mmengine import print_log
from mmengine.runner import load_checkpoint
from peft import get_peft_model
from torch import Tensor
from transformers.integrations import is_deepspeed_zero3_enabled
from xtuner.model import SupervisedFinetune
from xtuner.model.utils import find_all_linear_names
from xtuner.utils import IGNORE_INDEX

import butler.xtuner.support  # noqa: F401  bitsandbytes on a CPU
from butler.xtuner.kernels import kernels_for
from butler.xtuner.layers import gather_whole, no_masks, recompute, replace_forwards


def labelled_rows(labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Find the positions of `labels` [packs, tokens] whose next token carries loss.

    Returns their indices in the flattened positions, the tokens they must predict, and their
    weights in the loss, all [rows]: within a pack its rows' mean, over the packs theirs.
    """
    packs, tokens = labels.shape
    targets = F.pad(labels[:, 1:], (0, 1), value=IGNORE_INDEX)
    carries = targets != IGNORE_INDEX
    rows = carries.flatten().nonzero().squeeze(1)
    weight = 1.0 / (packs * carries.sum(dim=1).clamp(min=1))
    return rows, targets.flatten()[rows], weight[rows // tokens]


class FastSupervisedFinetune(SupervisedFinetune):
    """Supervised fine-tuning of a LoRA adapter with the fast path in place of stock forwards."""

    def __init__(self, *args: Any, recompute_layers: int = 0, **kwargs: Any) -> None:
        """Build the model as stock XTuner does; `recompute_layers` layers keep no activations."""
        super().__init__(*args, use_activation_checkpointing=False, **kwargs)
        base = self.llm.get_base_model()
        layers = base.get_decoder().layers
        self.replaced = replace_forwards(self.llm)
        if is_deepspeed_zero3_enabled():
            gather_whole([*layers, base.get_output_embeddings()])
            base.enable_input_require_grads()  # DeepSpeed's hooks are on a layer's input
        recompute(layers, recompute_layers)
        print_log(f"fast path: {self.replaced}, {recompute_layers} layers recomputed", "current")

    @staticmethod
    def _prepare_for_flash_attn(cfg: Any, llm_cfg: Any) -> Any:
        cfg.attn_implementation = "sdpa"
        return cfg

    def _prepare_for_lora(
        self, peft_model: str | None = None, use_activation_checkpointing: bool = False
    ) -> None:
        """Freeze the base as it is and put LoRA where stock XTuner puts it."""
        self.llm.requires_grad_(False)
        if self.lora.target_modules is None:
            self.lora.target_modules = find_all_linear_names(self.llm)
        self.llm = get_peft_model(self.llm, self.lora)
        if peft_model is not None:
            load_checkpoint(self, peft_model)

    def compute_loss(
        self, data: Mapping[str, Tensor], data_samples: None = None
    ) -> dict[str, Tensor]:
        """Return the loss of packs without padding: input_ids and labels, both [packs, tokens]."""
        base = self.llm.get_base_model()
        rows, targets, weights = labelled_rows(data["labels"])
        decoder, masks = base.get_decoder(), no_masks(base.config)
        hidden = decoder(input_ids=data["input_ids"], attention_mask=masks, use_cache=False)[0]
        logits = base.get_output_embeddings()(hidden.flatten(0, 1).index_select(0, rows))
        losses = kernels_for(logits.device).token_losses(logits, targets)
        return {"loss": torch.dot(losses, weights)}
