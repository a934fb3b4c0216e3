"""Settings of what is measured, decided and checked."""

from typing import Annotated, Literal

from pydantic import Field

from butler.settings.section import Limit, Positive, Section

Distinct = Annotated[list[Positive], Field(min_length=1)]


class EfficiencySettings(Section):
    """How memory and speed are measured."""

    prompt_tokens: Positive = 512
    new_tokens: Annotated[int, Field(ge=2)] = 64
    repeats: Positive = 3
    concurrency: Distinct = Field(default_factory=lambda: [1, 64, 256])
    """requests at a time in TurboMind; the reference engine takes one"""
    cards: Distinct = Field(default_factory=lambda: [24, 48, 80, 141])
    """GB: how many chats fit each, from TurboMind's figures"""
    chat_tokens: Positive = 2048
    """of such a chat, question and answer"""


class DecisionSettings(Section):
    """The rule by which a variant is chosen."""

    max_loss: Annotated[float, Field(ge=0)] = 2.0
    """points that a variant may lose against fp16 on any benchmark"""
    error: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """chance of shipping a variant that loses more, over all variants, benchmarks and rounds"""
    first_round: Annotated[int, Field(ge=40)] | None = None
    """questions of a benchmark asked first; twice as many while undecided; null: all at once"""
    most_questions: Positive | None = None
    """questions of a benchmark to ask at most; null: all it has"""
    prefer: Literal["memory", "speed"] = "memory"
    """memory | speed"""
    tokens: Positive = 16384
    """room in the KV cache counted as memory (8 chats of 2,048 tokens)"""


class ReportSettings(Section):
    """What the report shows."""

    answers: Positive = 20
    """questions shown with every model's answer, worst regressions first"""


class CheckSettings(Section):
    """Limits; a run stops at the first that is not kept."""

    cut_samples: Annotated[float, Field(ge=0, le=1)] = 0.1
    """share of the training samples that may be longer than train.max_length, and are cut"""
    training_nll: float | None = 0.0
    """nats: held-out NLL of merged − base, plus its standard error, is below; null: only told"""
    awq_scales: Limit = 0.55
    """largest weight error in group scales; rounding is 0.5, fp16 adds 0.04 at most"""
    workspace_nll: Limit = 0.002
    """|mean NLL of the workspace in the reference engine − of the HF model it came from|"""
    workspace_nll_turbomind: Limit = 0.02
    """the same in TurboMind, which computes in fp16; only a wrong load is further off"""
    kv_nll: dict[str, Limit] = Field(default_factory=dict)
    """mean NLL with a quantised KV cache − without, as int8: 0.1; else its scheme's own limit"""
    blank_answers: Annotated[float, Field(ge=0, le=1)] = 0.99
    """share of a benchmark's answers that may be without text (not of the base)"""
