"""Putting the fast path into a Hugging Face model: forwards are replaced, parameters are not.

What a family's layers are called stands in its record (butler/families.py); of any other model only
what is recognised is replaced. Names of parameters and modules stay, so checkpoints and adapters
stay what they are.
"""

from collections.abc import Callable, Iterable
from functools import partial
from types import MethodType
from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from butler.families import FAMILIES, FastLayers
from butler.xtuner.kernels import kernels_for
from butler.xtuner.lora_linear import fused_forward, is_fusable


def _rms_norm_forward(self: Any, hidden_states: Tensor) -> Tensor:
    kernels = kernels_for(hidden_states.device)
    return kernels.rms_norm(hidden_states, self.weight, self.variance_epsilon)


def _mlp_forward(layers: FastLayers) -> Callable[..., Tensor]:
    def forward(self: Any, x: Tensor) -> Tensor:
        gate, up = getattr(self, layers.gate)(x), getattr(self, layers.up)(x)
        return getattr(self, layers.down)(kernels_for(x.device).silu_mul(gate, up))

    return forward


def _attend(q: Tensor, k: Tensor, v: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Return [packs, tokens, heads · head_dim] for q, k, v [packs, tokens, heads, head_dim]."""
    kernels = kernels_for(q.device)
    q, k = kernels.rope(q.transpose(1, 2), k.transpose(1, 2), cos, sin)
    return kernels.attention(q, k, v.transpose(1, 2)).transpose(1, 2).flatten(2)


def _internlm2_attention(stock: Callable[..., Any]) -> Callable[..., Any]:
    def forward(
        self: Any,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_value: Any = None,
        **rest: Any,
    ) -> Any:
        if attention_mask is not None or past_key_value is not None:
            return stock(hidden_states, attention_mask, position_ids, past_key_value, **rest)
        packs, tokens, _ = hidden_states.shape
        groups = self.num_key_value_groups
        qkv = self.wqkv(hidden_states).view(packs, tokens, -1, groups + 2, self.head_dim)
        q, k, v = qkv.split([groups, 1, 1], dim=3)
        # Copies, so that the whole of qkv is not kept for the sake of v.
        q, k, v = q.flatten(2, 3), k.flatten(2, 3), v.flatten(2, 3).contiguous()
        cos, sin = self.rotary_emb(v, position_ids)
        return self.wo(_attend(q, k, v, cos, sin)), None, None

    return forward


def _llama_attention(stock: Callable[..., Any]) -> Callable[..., Any]:
    def forward(
        self: Any,
        hidden_states: Tensor,
        position_embeddings: tuple[Tensor, Tensor],
        attention_mask: Tensor | None = None,
        past_key_value: Any = None,
        **rest: Any,
    ) -> Any:
        if attention_mask is not None or past_key_value is not None:
            return stock(hidden_states, position_embeddings, attention_mask, past_key_value, **rest)
        heads = (*hidden_states.shape[:2], -1, self.head_dim)
        parts = (self.q_proj, self.k_proj, self.v_proj)
        q, k, v = (part(hidden_states).view(heads) for part in parts)
        if hasattr(self, "q_norm"):
            q, k = self.q_norm(q), self.k_norm(k)
        return self.o_proj(_attend(q, k, v, *position_embeddings)), None

    return forward


# By the `forward` of a family's FastLayers.
ATTENTION_FORWARDS = {"internlm2": _internlm2_attention, "llama": _llama_attention}
KNOWN = [family.fast for family in FAMILIES.values() if family.fast]
MLPS = {layers.mlp: layers for layers in KNOWN}
ATTENTIONS = {layers.attention: ATTENTION_FORWARDS[layers.forward] for layers in KNOWN}

KINDS = frozenset({"lora", "norm", "mlp", "attention"})


def replace_forwards(model: nn.Module, kinds: frozenset[str] = KINDS) -> dict[str, int]:
    """Replace the forwards of these `kinds` that are known in `model`; return how many of each."""
    replaced = dict.fromkeys(sorted(kinds), 0)
    for module in model.modules():
        kind, forward = _replacement(module, model.config)
        if kind in kinds:
            module.forward = MethodType(forward, module)
            replaced[kind] += 1
    return replaced


def _replacement(module: nn.Module, config: Any) -> tuple[str, Callable[..., Any]]:
    """Return the kind of a module and its new forward; the kind is empty where none is known."""
    name = type(module).__name__
    if name.endswith("RMSNorm") and hasattr(module, "variance_epsilon"):
        return "norm", _rms_norm_forward
    if name in MLPS and config.hidden_act == "silu":
        return "mlp", _mlp_forward(MLPS[name])
    if name in ATTENTIONS and not getattr(config, "use_sliding_window", False):
        return "attention", ATTENTIONS[name](module.forward)
    if is_fusable(module):
        return "lora", fused_forward
    return "", module.forward


def no_masks(config: Any) -> dict[str, None] | None:
    """Return what a decoder is given as `attention_mask` so that its layers get none.

    Where a configuration has kinds of layers, the decoder takes a mask for each. Left out, 4.53 of
    transformers makes a whole one, as if a pack might be of several sequences.
    """
    kinds = set(getattr(config, "layer_types", None) or ())
    return dict.fromkeys(kinds) if kinds == {"full_attention"} else None


def gather_whole(modules: Iterable[nn.Module]) -> None:
    """Let ZeRO-3 gather all weights of each of `modules` when it is called, not part by part.

    Its parts need not be called then, as the fused LoRA function calls none; and a layer's weights
    travel together.
    """
    from deepspeed.utils import set_z3_leaf_module

    for module in modules:
        set_z3_leaf_module(module, True)


def recompute(layers: nn.ModuleList, count: int) -> None:
    """Keep only the input of the first `count` layers; their backward pass runs them again."""
    for layer in layers[:count]:
        layer.forward = _recomputed(layer.forward)


def _recomputed(forward: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return checkpoint(partial(forward, **kwargs), *args, use_reentrant=False)

    return wrapped
