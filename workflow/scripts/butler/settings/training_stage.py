"""Settings of the base model and of its fine-tuning."""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from butler.families import FAMILIES
from butler.settings.section import FileName, Positive, Section, Text

NonNegative = Annotated[float, Field(ge=0)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
COMMIT = re.compile(r"[0-9a-f]{40}")


class BaseSettings(Section):
    """The model that is fine-tuned."""

    model: FileName = "data/base/tiny"
    """a folder, or a hub id such as internlm/internlm2-chat-7b"""
    hub: Literal["huggingface", "modelscope"] = "huggingface"
    """huggingface | modelscope: of a hub id; a mirror by HF_ENDPOINT or MODELSCOPE_ENDPOINT"""
    revision: Annotated[str, Field(pattern=r"^[\w.-]+$")] | None = None
    """of a hub id: the commit to pin, 40 digits; on modelscope a tag too"""
    remote_code: bool | Text = "data/base/tiny"
    """the model whose own Python code may run: base.model again, or false"""
    pickles: bool | Text = False
    """the model whose pickled weights may be read, where it has no others: base.model, or false"""
    architecture: Literal[tuple(FAMILIES)] | None = None  # type: ignore[valid-type]
    """what a hub's config.json names, if that trains in an environment of its own"""
    chat_template: Text = "internlm2_chat"
    """a name in config/chat_templates.yaml"""

    @model_validator(mode="after")
    def _revision_is_pinned(self) -> Self:
        commit = self.revision is None or COMMIT.fullmatch(self.revision)
        if self.hub == "huggingface" and not commit:
            raise ValueError(
                f"base.revision {self.revision} is no commit, which has 40 digits; pin one, since "
                "branches and tags move"
            )
        return self


class TrainSettings(Section):
    """QLoRA with XTuner."""

    epochs: Positive = 1
    max_steps: Annotated[int, Field(ge=2)] | None = 160
    """updates of the optimiser; null: by epochs"""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 2.0e-3
    warmup_ratio: BelowOne = 0.03
    weight_decay: NonNegative = 0.0
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    max_length: Annotated[int, Field(ge=16)] = 512
    """tokens in a pack"""
    batch_size: Positive = 2
    """packs in an update, over all processes"""
    micro_batch: Literal["auto", 1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64] = "auto"
    """packs at a time on one GPU: auto is as many as its memory holds"""
    lora_r: Positive = 64
    lora_alpha: Annotated[float, Field(gt=0)] = 16
    lora_dropout: BelowOne = 0.1
    quantisation: Literal["nf4", "none"] = "nf4"
    """nf4 | none: how the frozen base is held"""
    kernels: Literal["auto", "stock"] = "auto"
    """auto | stock: our forward and backward passes on a GPU, or XTuner's"""
    activation_checkpointing: Literal["auto", True, False] = "auto"
    """auto | true | false: recompute activations; auto: if need be"""
    checkpoint_interval: Positive = 50
    """updates"""
    log_interval: Positive = 5
    """updates"""
    deepspeed: Literal["deepspeed_zero1", "deepspeed_zero2", "deepspeed_zero3"] | None = None
    """null | deepspeed_zero1 | deepspeed_zero2 | deepspeed_zero3"""
    nodes: Positive = 1
    """machines of one Slurm job that share the training"""
    processes: Positive = 1
    """on each node, one per GPU"""

    @property
    def world(self) -> int:
        """Processes on all nodes together."""
        return self.nodes * self.processes

    @property
    def packs_of_a_process(self) -> int:
        """Packs that each process takes in an update."""
        return self.batch_size // self.world

    @model_validator(mode="after")
    def _packs_can_be_shared_out(self) -> Self:
        if self.batch_size % self.world:
            raise ValueError(
                f"train.batch_size {self.batch_size} cannot be shared by {self.world} processes; "
                "set a multiple of train.nodes x train.processes"
            )
        if self.micro_batch != "auto" and self.packs_of_a_process % self.micro_batch:
            raise ValueError(
                f"train.micro_batch {self.micro_batch} does not divide the "
                f"{self.packs_of_a_process} packs that a process takes in an update; set a divisor "
                "or auto"
            )
        return self
