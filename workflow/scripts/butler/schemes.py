"""The one list of what can be shipped: how weights and KV caches may be held, and their pairs.

A scheme is one record here. Everything else is derived from it: the variants' names, the rules'
inputs, the engine's setting, the bytes of a token, the limit of its check, its label in the report.
"""

from collections.abc import Mapping
from dataclasses import dataclass

PARAMETER_BYTES = 4  # scale and zero point of a quantised vector, in fp16 each
TURBOMIND, PYTORCH = "turbomind", "pytorch"  # LMDeploy's two engines, as its --backend names them
BACKENDS = (TURBOMIND, PYTORCH)
FP8_BLOCK = 128  # rows and columns of a matrix that share a scale in fp32, as TurboMind takes it


@dataclass(frozen=True)
class WeightScheme:
    """How weights are held.

    `folder` is the model folder below build/ that a workspace is converted from, or that a release
    without workspaces serves; `format` is its name in LMDeploy. `bits` a weight takes; those of 4
    are in groups with a scale and a zero point each. Those of 8 are of torch's type `codes`, with a
    scale for each `block` of so many rows and columns, or, without a block, for each row; then the
    inputs are quantised too, token by token (W8A8). The check of that folder against the merged
    model has the scheme's `check` as its name. `tool` is the environment (envs/TOOL.lock) that
    quantises, where that of LMDeploy does not. `since` is the first release here that serves it,
    `backends` the engines that do: the first, unless a KV cache asks for another. `agreement` is
    how far its mean NLL may be from that of its weights in transformers, in nats per token, where
    that is more than checks.workspace_nll_lmdeploy: transformers does not quantise the inputs.
    `capability` is the least compute capability of a card: Triton computes in e4m3 from 8.9 on.

    TurboMind of both releases takes AWQ and GPTQ in groups of 128 and in no others, GPTQ with
    symmetric scales and rows in order (`sym`, not `desc_act`). A workspace holds both alike, so
    that they run on the same engines and cards. 0.18's PyTorch engine fell
    when it was given FP8's folder, and has not been given one of 4 bits.
    """

    name: str
    folder: str
    format: str
    label: Mapping[str, str]
    bits: int = 16
    check: str | None = None
    tool: str | None = None
    since: tuple[int, ...] = (0,)
    backends: tuple[str, ...] = BACKENDS
    codes: str | None = None
    block: int | None = None
    agreement: float = 0.0
    capability: tuple[int, int] = (7, 0)

    @property
    def grouped(self) -> bool:
        """Whether weights are whole numbers, a scale and a zero point for each group of a row."""
        return self.bits == 4

    @property
    def by_row(self) -> bool:
        """Whether weights have a scale for each row, and inputs are quantised as they are."""
        return self.bits == 8 and self.block is None


@dataclass(frozen=True)
class KVScheme:
    """How the keys and values of past tokens are held.

    `bits` a value takes; codes have scale and zero point in fp16 beside each head's vector, floats
    of 8 bits (`scaled` false) none. `policies` says what LMDeploy's `quant_policy` is for it, by
    the first release for which that holds, and `backends` which engines know it, `capability` as
    of weights. `agreement` is how
    far the reference engine may be from TurboMind, and `limit` the default of checks.kv_nll, how
    much more than with the fp16 cache; both in nats per token: what a sound cache costs differs by
    model, a broken one costs whole nats. `identical` is the least share of greedy tokens that the
    two engines must have in common: with few bits an answer parts at a near tie and stays apart.
    `static` says that LMDeploy up to 0.3 had one scale and zero point for a whole layer of it,
    `small_heads` since which release TurboMind takes it with heads of 64 values too.
    """

    name: str
    suffix: str
    bits: int
    policies: Mapping[tuple[int, ...], int]
    label: Mapping[str, str]
    agreement: float
    limit: float
    identical: float = 0.95
    static: bool = False
    small_heads: tuple[int, ...] = (0,)
    scaled: bool = True
    backends: tuple[str, ...] = BACKENDS
    capability: tuple[int, int] = (7, 0)

    @property
    def quantised(self) -> bool:
        """Whether values take fewer bits than they are computed in."""
        return self.bits < 16

    def vector_bytes(self, head_dim: int) -> int:
        """Return the bytes of one head's key or value of one token; `head_dim` is even."""
        parameters = PARAMETER_BYTES if self.quantised and self.scaled else 0
        return head_dim * self.bits // 8 + parameters

    def policy(self, version: tuple[int, ...]) -> int | None:
        """Return LMDeploy's quant_policy for it in that release, None where it has none."""
        known = [since for since in self.policies if since <= version]
        return self.policies[max(known)] if known else None


def _common(weights: WeightScheme, kv: KVScheme) -> list[str]:
    """Return the engines that serve both."""
    return [one for one in weights.backends if one in kv.backends]


@dataclass(frozen=True)
class Variant:
    """A deployable folder: weights and KV cache."""

    name: str
    weights: WeightScheme
    kv: KVScheme

    @property
    def capability(self) -> tuple[int, int]:
        """The least compute capability of a card that serves it."""
        return max(self.weights.capability, self.kv.capability)

    @property
    def backend(self) -> str:
        """The engine of LMDeploy that serves it."""
        return _common(self.weights, self.kv)[0]


BASELINE = "fp16"  # what the other variants are compared with
BASE = "base"  # the model before fine-tuning, served like fp16, to show what that changed

WEIGHTS = {
    one.name: one
    for one in (
        WeightScheme("fp16", "merged", "hf", {"zh": "fp16 权重", "en": "fp16 weights"}),
        WeightScheme(
            "w4",
            "awq",
            "awq",
            {"zh": "4 位权重", "en": "4-bit weights"},
            4,
            "awq",
            backends=(TURBOMIND,),
        ),
        WeightScheme(
            "w4gptq",
            "gptq",
            "gptq",
            {"zh": "4 位权重（GPTQ）", "en": "4-bit weights (GPTQ)"},
            4,
            "gptq",
            tool="gptq",
            backends=(TURBOMIND,),
        ),
        WeightScheme(
            "fp8",
            "fp8",
            "fp8",
            {"zh": "8 位浮点权重（FP8）", "en": "8-bit float weights (FP8)"},
            8,
            "fp8",
            since=(0, 18),
            backends=(TURBOMIND,),
            codes="float8_e4m3fn",
            block=FP8_BLOCK,
        ),
        WeightScheme(
            "w8a8",
            "w8a8",
            "smooth_quant",
            {"zh": "8 位权重与激活（W8A8）", "en": "int8 weights and activations (W8A8)"},
            8,
            "w8a8",
            since=(0, 18),
            backends=(PYTORCH,),
            codes="int8",
            agreement=0.1,
        ),
        WeightScheme(
            "w8a8fp8",
            "w8a8fp8",
            "smooth_quant",
            {"zh": "FP8 权重与激活（W8A8）", "en": "FP8 weights and activations (W8A8)"},
            8,
            "w8a8fp8",
            since=(0, 18),
            backends=(PYTORCH,),
            codes="float8_e4m3fn",
            agreement=0.1,
            capability=(8, 9),
        ),
    )
}
W8A8 = {one.name: one for one in WEIGHTS.values() if one.by_row}
FORMATS = sorted({one.format for one in WEIGHTS.values()})
KV_CACHES = {
    one.name: one
    for one in (
        KVScheme(
            "fp16",
            "",
            16,
            {(0,): 0},
            {"zh": "fp16 KV 缓存", "en": "fp16 KV cache"},
            agreement=0.002,
            limit=0.0,  # there is nothing to lose against itself
        ),
        KVScheme(
            "int8",
            "kv8",
            8,
            {(0,): 4, (0, 4): 8},  # until LMDeploy 0.3 the number 4 meant int8
            {"zh": "int8 KV 缓存", "en": "int8 KV cache"},
            agreement=0.01,
            limit=0.1,
            static=True,
        ),
        KVScheme(
            "int4",
            "kv4",
            4,
            {(0, 4): 4},
            {"zh": "int4 KV 缓存", "en": "int4 KV cache"},
            agreement=0.06,  # fp16's rounding of K and V alone: 0.05 (benchmarks/kv_rounding.py)
            identical=0.75,
            limit=0.5,
            small_heads=(0, 18),
        ),
        KVScheme(
            "fp8",
            "kvfp8",
            8,
            {(0, 18): 16},
            {"zh": "FP8 KV 缓存", "en": "FP8 KV cache"},
            agreement=0.06,  # the reference engine has no such cache
            limit=0.1,
            scaled=False,
            backends=(PYTORCH,),
            capability=(8, 9),
        ),
    )
}


def _name(weights: WeightScheme, kv: KVScheme) -> str:
    """Return the variant's name: fp16 weights are named only where nothing else is."""
    return f"{weights.name if weights.name != BASELINE or not kv.suffix else ''}{kv.suffix}"


VARIANTS = {
    name: Variant(name, weights, kv)
    for weights in WEIGHTS.values()
    for kv in KV_CACHES.values()
    if _common(weights, kv)
    for name in [_name(weights, kv)]
}
# The base model's weights as they are: judged beside the variants, and no variant itself.
BASE_MODEL = Variant(
    BASE,
    WeightScheme(BASE, "base", "hf", {"zh": "微调前", "en": "before fine-tuning"}),
    KV_CACHES["fp16"],
)
