"""The model families that every stage knows: one record for each architecture.

A base of a known family needs no change here; a new family needs a record and, if its attention
is called unlike those in butler/xtuner/layers.py, a forward there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from butler.errors import ButlerError

# Heads that XTuner 0.2.0 leaves without LoRA (xtuner/model/utils.py, find_all_linear_names); one of
# another name is taken for a layer like any other.
HEADS_WITHOUT_LORA = ("lm_head", "output_layer")
TRAINER = (
    "xtuner"  # the tool that trains, merges and checks, where a family's record names no other
)


@dataclass(frozen=True)
class FastLayers:
    """The classes of a family's own code that the fast training path has forwards for.

    `mlp` has the projections `gate`, `up` and `down`; `attention` is called as the function of
    butler/xtuner/layers.py that ATTENTION_FORWARDS names `forward`.
    """

    mlp: str
    gate: str
    up: str
    down: str
    attention: str
    forward: str


@dataclass(frozen=True)
class LayerNames:
    """Where a decoder layer keeps its tensors, by their modules' names within it; LLaMA's names.

    `query`, `key` and `value` are all the one projection where a family has them fused.
    `query_norm` and `key_norm` norm each head before it is rotated, where a family does that.
    """

    attention_norm: str = "input_layernorm"
    query: str = "self_attn.q_proj"
    key: str = "self_attn.k_proj"
    value: str = "self_attn.v_proj"
    attention_out: str = "self_attn.o_proj"
    ffn_norm: str = "post_attention_layernorm"
    gate: str = "mlp.gate_proj"
    up: str = "mlp.up_proj"
    down: str = "mlp.down_proj"
    query_norm: str | None = None
    key_norm: str | None = None

    @property
    def linears(self) -> tuple[str, ...]:
        """The matrices, each once."""
        heads = (self.query, self.key, self.value, self.attention_out)
        return tuple(dict.fromkeys((*heads, self.gate, self.up, self.down)))


@dataclass(frozen=True)
class Family:
    """What the stages must know of the models of one architecture; the defaults are LLaMA's names.

    `architecture` is what config.json calls it. `embedding` and `head` are modules: their tensors
    are those names with `.weight`. `fused_qkv`: query, key and value are one projection, for each
    key-value head its queries, its key and its value. `layers` are numbered below `model.layers`.

    `trainer`: the tool (envs/TOOL.lock) whose transformers has the family; XTuner trains in each.

    `code`: the module of XTuner that holds the family's Python code, for a folder whose config.json
    names code but does not hold it. `old_cache`: that code asks for a method of transformers' cache
    that went with 4.49.

    `query_bias` ends the names of tensors that are there if the attention has biases. `bias_reader`
    is the reader of LMDeploy 0.7.3 to take then, where its own for the family drops them.

    `quantised_as`: the architecture whose maps of layers `lite` of LMDeploy 0.7.3 is to take, where
    it has none for the family (butler/lmdeploy/lite_maps.py).

    `served_by`: the releases of LMDeploy (butler/lmdeploy/release.py) whose TurboMind serves the
    family, and the head sizes that it takes, in values; none where no bound is known.

    `templates`: those of config/chat_templates.yaml that chat models of the family usually have.
    """

    architecture: str
    embedding: str = "model.embed_tokens"
    head: str = "lm_head"
    fused_qkv: bool = False
    layers: LayerNames = LayerNames()
    trainer: str = TRAINER
    code: str | None = None
    old_cache: bool = False
    query_bias: str = "self_attn.q_proj.bias"
    bias_reader: str | None = None
    quantised_as: str | None = None
    served_by: Mapping[str, tuple[int, ...]] = field(
        # LMDeploy 0.7.3 refuses other heads (turbomind/supported_models.py).
        default_factory=lambda: {"0.7.3": (64, 128), "latest": ()}
    )
    templates: tuple[str, ...] = ()
    fast: FastLayers | None = None

    @property
    def lora_on_head(self) -> bool:
        """Whether XTuner trains a LoRA pair on the head too."""
        return self.head.rpartition(".")[2] not in HEADS_WITHOUT_LORA

    @property
    def heads_normed(self) -> bool:
        """Whether queries and keys are normed."""
        return self.layers.query_norm is not None


def _like_llama(name: str) -> FastLayers:
    """Return the layers of a family whose code in transformers is LLaMA's under other names."""
    parts = ("gate_proj", "up_proj", "down_proj")
    return FastLayers(f"{name}MLP", *parts, f"{name}Attention", forward="llama")


FAMILIES = {
    one.architecture: one
    for one in (
        Family(
            "InternLM2ForCausalLM",
            embedding="model.tok_embeddings",
            head="output",
            fused_qkv=True,
            layers=LayerNames(
                attention_norm="attention_norm",
                query="attention.wqkv",
                key="attention.wqkv",
                value="attention.wqkv",
                attention_out="attention.wo",
                ffn_norm="ffn_norm",
                gate="feed_forward.w1",
                up="feed_forward.w3",
                down="feed_forward.w2",
            ),
            code="xtuner._lite.modelings.internlm2",
            old_cache=True,
            query_bias="attention.wqkv.bias",
            # LMDeploy 0.7.3 cuts wqkv in pieces of 128 whatever config.json says
            # (turbomind/deploy/source_model/internlm2.py).
            served_by={"0.7.3": (128,), "latest": ()},
            templates=("internlm2_chat",),
            fast=FastLayers(
                "InternLM2MLP", "w1", "w3", "w2", "InternLM2SdpaAttention", forward="internlm2"
            ),
        ),
        Family(
            # Its code comes with the model alone and was not at hand: it may need the cache's old
            # method, which does no harm, and trains by its own forwards.
            "InternLMForCausalLM",
            old_cache=True,
            bias_reader="qwen2",
            served_by={"0.7.3": ()},  # LMDeploy 0.18 no longer lists it
            templates=("internlm_chat",),
        ),
        Family(
            "LlamaForCausalLM",
            bias_reader="qwen2",
            templates=("llama3_chat", "llama2_chat"),
            fast=_like_llama("Llama"),
        ),
        Family(
            # LLaMA's layers. Its code comes with the model; XTuner's is the same.
            "InternLM3ForCausalLM",
            code="xtuner._lite.modelings.internlm3",
            bias_reader="qwen2",
            templates=("internlm2_chat",),
            fast=_like_llama("InternLM3"),
        ),
        Family("Qwen2ForCausalLM", templates=("qwen_chat",), fast=_like_llama("Qwen2")),
        Family(
            "Qwen3ForCausalLM",
            layers=LayerNames(query_norm="self_attn.q_norm", key_norm="self_attn.k_norm"),
            trainer="xtuner-qwen3",
            quantised_as="Qwen2ForCausalLM",
            templates=("qwen3_chat", "qwen_chat"),
            fast=_like_llama("Qwen3"),
        ),
    )
}


TRAINERS = frozenset(one.trainer for one in FAMILIES.values())


def family_of(config: Mapping[str, Any], shown: str) -> Family:
    """Return the family of a model by its config.json; `shown` is what the user calls that file.

    Raises:
        ButlerError: if the architecture is none of those known.
    """
    named = config.get("architectures")
    architecture = str(named[0]) if isinstance(named, list) and named else None
    if architecture not in FAMILIES:
        raise ButlerError(
            f"{shown} names architecture {architecture}, which the stages do not know; take a base "
            f"model of {', '.join(FAMILIES)}"
        )
    return FAMILIES[architecture]
