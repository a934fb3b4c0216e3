"""Settings of what is measured, decided and checked."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from butler.settings.section import Limit, Positive, Section

Distinct = Annotated[list[Positive], Field(min_length=1)]


class EfficiencySettings(Section):
    """How memory is measured and, of LMDeploy on a GPU, speed."""

    prompt_tokens: Positive = 512
    new_tokens: Annotated[int, Field(ge=2)] = 64
    repeats: Annotated[int, Field(ge=3)] = 3
    """measurements of each speed; results have their min, median and max"""
    concurrency: Distinct = Field(default_factory=lambda: [1, 64, 256])
    """requests at a time in LMDeploy"""
    cards: Distinct = Field(default_factory=lambda: [24, 48, 80, 141])
    """GB: how many chats fit each, from LMDeploy's figures"""
    chat_tokens: Positive = 2048
    """of such a chat, question and answer"""


class ServiceTarget(Section):
    """What a service promises to those who use it, at a load."""

    requests: Positive
    """at a time, one of efficiency.concurrency"""
    first_token_p90_s: Limit | None = None
    """seconds to the first token, which 9 of 10 requests keep"""
    between_tokens_p90_s: Limit | None = None
    """seconds from one output to the next, which 9 of 10 keep"""

    @property
    def promises(self) -> dict[str, float]:
        """Seconds by key, of those that are set."""
        return self.model_dump(exclude={"requests"}, exclude_none=True)

    @model_validator(mode="after")
    def _check_promises(self) -> "ServiceTarget":
        if not self.promises:
            raise ValueError(
                "decision.target promises nothing; set its first_token_p90_s, its "
                "between_tokens_p90_s or both"
            )
        return self


class DivergenceSettings(Section):
    """How each variant's next token is compared with fp16's."""

    conversations: Positive = 40
    """how many held-out records of build/corpus/test.jsonl, whose answers are compared"""


class DecisionSettings(Section):
    """The rule by which a variant is chosen."""

    max_loss: Annotated[float, Field(gt=0, lt=100)] = 2.0
    """points that a variant may lose against fp16 on any benchmark"""
    error: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """chance of shipping a variant that loses more, over all variants, benchmarks and rounds"""
    first_round: Annotated[int, Field(ge=40)] | None = None
    """questions of a benchmark asked first; twice as many while undecided; null: all at once"""
    most_questions: Positive | None = None
    """questions of a benchmark to ask at most; null: all it has"""
    prefer: Literal["memory", "speed"] = "memory"
    """memory | speed (of one request, the median; LMDeploy's alone)"""
    target: ServiceTarget | None = None
    """null, or what a variant must keep to ship: {requests: 64, first_token_p90_s: 1.0}"""
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
    """nats: held-out NLL of merged − base, plus its standard error, is below; null: no limit"""
    awq_scales: Limit = 0.55
    """largest weight error in group scales; rounding is 0.5, fp16 adds 0.04 at most"""
    gptq_error: Limit = 1.0
    """error of a layer's outputs on held-out text by GPTQ / by plain rounding, at most"""
    gptq_nll: Limit = 0.5
    """nats: mean NLL of held-out text with GPTQ − merged; what is broken costs more"""
    workspace_nll: Limit = 0.002
    """|mean NLL of the workspace in the reference engine − of the HF model it came from|"""
    workspace_nll_lmdeploy: Limit = 0.02
    """the same in LMDeploy, which computes in fp16 (W8A8: 0.1); only a wrong load is further off"""
    kv_nll: dict[str, Limit] = Field(default_factory=dict)
    """mean NLL with a quantised KV cache − without, as int8: 0.1; else its scheme's own limit"""
    blank_answers: Annotated[float, Field(ge=0, le=1)] = 0.99
    """share of a benchmark's answers that may be without text (not of the base)"""
