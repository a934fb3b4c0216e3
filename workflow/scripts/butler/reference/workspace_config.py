"""The config.yaml of an LMDeploy 0.7.3 TurboMind workspace."""

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from butler.errors import ButlerError
from butler.lmdeploy.engine_settings import EngineSettings
from butler.lmdeploy.release import CONVERTER
from butler.lmdeploy.workspace_files import how_to_make
from butler.schemes import BASELINE, VARIANTS, KVScheme
from butler.yaml_files import read_yaml

# What `lmdeploy convert` 0.7.3 writes. Later versions have other keys (and another orientation of
# output.weight), so a difference here means that the files below cannot be trusted either.
MODEL_KEYS = frozenset(
    [
        "attn_bias",
        "chat_template",
        "embedding_size",
        "expert_inter_size",
        "expert_num",
        "experts_per_token",
        "group_size",
        "head_num",
        "hidden_units",
        "inter_size",
        "kv_head_num",
        "kv_lora_rank",
        "model_arch",
        "model_format",
        "model_name",
        "moe_group_num",
        "moe_shared_gate",
        "norm_eps",
        "norm_topk_prob",
        "num_layer",
        "q_lora_rank",
        "qk_norm",
        "qk_rope_dim",
        "routed_scale",
        "session_len",
        "size_per_head",
        "topk_group",
        "topk_method",
        "tp",
        "tune_layer_num",
        "v_head_dim",
        "vocab_size",
        "weight_type",
    ]
)
ATTENTION_KEYS = frozenset(
    [
        "attention_factor",
        "beta_fast",
        "beta_slow",
        "cache_block_seq_len",
        "high_freq_factor",
        "low_freq_factor",
        "max_position_embeddings",
        "original_max_position_embeddings",
        "rope_scaling_factor",
        "rope_scaling_type",
        "rope_theta",
        "rotary_embedding",
        "softmax_scale",
        "use_dynamic_ntk",
        "use_logn_attn",
    ]
)
WEIGHT_TYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "int4": torch.float16}
ROPE_TYPES = ("", "default", "linear", "dynamic", "llama3")


@dataclass(frozen=True)
class Rope:
    """Rotary embedding: base, and how it is stretched for long contexts."""

    theta: float
    kind: str
    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_positions: int


@dataclass(frozen=True)
class ModelConfig:
    """Shape of the model, in tokens, heads and features.

    `inter_sizes` holds the (padded) MLP width of each layer; `group_size` is 0 without W4;
    `qk_norm`: queries and keys are normed, each head by itself, before they are rotated.
    `session_len` is the longest prompt + answer in tokens; `tp` the number of GPUs that the files
    are split for.
    """

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    inter_sizes: tuple[int, ...]
    vocab: int
    embedding_rows: int
    norm_eps: float
    attn_bias: bool
    qk_norm: bool
    softmax_scale: float
    rope: Rope
    weight_type: str
    group_size: int
    session_len: int
    tp: int

    @property
    def w4(self) -> bool:
        """Whether the linear layers are stored in 4 bits."""
        return self.weight_type == "int4"


@dataclass(frozen=True)
class WorkspaceConfig:
    """A config.yaml: the model, and how the engine is told to serve it.

    `session_len` is the longest prompt + answer in tokens. A workspace that is no variant yet has
    no engine_config: the KV cache is fp16 and a session as long as the model allows.
    """

    model: ModelConfig
    kv: KVScheme
    session_len: int


def read_config(workspace: Path, file: Path) -> WorkspaceConfig:
    """Return what a workspace's config.yaml describes.

    Raises:
        ButlerError: if the file is missing, is not of LMDeploy 0.7.3, or describes a model that
            this engine cannot run.
    """
    return _Reader(workspace, file).read()


class _Reader:
    """Turns one config.yaml into the dataclasses above, or into one clear sentence."""

    def __init__(self, workspace: Path, file: Path) -> None:
        self._workspace = workspace
        self._config_file = file

    def read(self) -> WorkspaceConfig:
        raw = self._read_config()
        model = self._model_config(raw)
        if raw.get("engine_config") is None:
            return WorkspaceConfig(model, VARIANTS[BASELINE].kv, model.session_len)
        settings, kv = EngineSettings.read(
            raw["engine_config"], str(self._config_file), CONVERTER.version
        )
        return WorkspaceConfig(model, kv, min(settings.session_len, model.session_len))

    def _read_config(self) -> Mapping[str, Any]:
        if not self._config_file.is_file():
            raise ButlerError(
                f"{self._config_file} is missing: {self._workspace} is not a TurboMind workspace; "
                f"{how_to_make(self._workspace)}"
            )
        raw = read_yaml(self._config_file)
        parts = {"model_config": MODEL_KEYS, "attention_config": ATTENTION_KEYS}
        for part, expected in parts.items():
            found = raw.get(part) if isinstance(raw, dict) else None
            if not isinstance(found, dict) or set(found) != expected:
                keys = set(map(str, found)) if isinstance(found, dict) else set()
                difference = ", ".join(name[:40] for name in sorted(keys ^ expected)[:5])
                raise ButlerError(
                    f"{self._config_file}: the keys of {part} are not those of LMDeploy 0.7.3 "
                    f"(they differ in {difference}); convert the model again with 0.7.3"
                )
        return raw

    def _model_config(self, raw: Mapping[str, Any]) -> ModelConfig:
        m, a = raw["model_config"], raw["attention_config"]
        try:
            self._refuse_unknown(raw)
            return self._checked(
                ModelConfig(
                    layers=int(m["num_layer"]),
                    hidden=int(m["hidden_units"]),
                    heads=int(m["head_num"]),
                    kv_heads=int(m["kv_head_num"]),
                    head_dim=int(m["size_per_head"]),
                    inter_sizes=tuple(int(n) for n in m["inter_size"]),
                    vocab=int(m["vocab_size"]),
                    embedding_rows=int(m["embedding_size"]),
                    norm_eps=float(m["norm_eps"]),
                    attn_bias=bool(m["attn_bias"]),
                    qk_norm=bool(m["qk_norm"]),
                    softmax_scale=float(a["softmax_scale"]) or int(m["size_per_head"]) ** -0.5,
                    rope=_rope(a),
                    weight_type=str(m["weight_type"]),
                    group_size=int(m["group_size"]),
                    session_len=_session_len(m, a),
                    tp=int(m["tp"]),
                )
            )
        except (TypeError, ValueError, ArithmeticError) as error:
            raise ButlerError(f"{self._config_file}: a value has the wrong type: {error}") from None

    def _refuse_unknown(self, raw: Mapping[str, Any]) -> None:
        m, a = raw["model_config"], raw["attention_config"]
        lora = raw.get("lora_config") or {}
        if not isinstance(lora, dict):
            raise TypeError("lora_config is no mapping")
        refused = {
            "model_config.expert_num": (bool(m["expert_num"]), "mixtures of experts"),
            "model_config.kv_lora_rank": (bool(m["kv_lora_rank"]), "latent attention"),
            "model_config.weight_type": (m["weight_type"] not in WEIGHT_TYPES, "this weight type"),
            "attention_config.rope_scaling_type": (
                a["rope_scaling_type"] not in ROPE_TYPES,
                f"any but {', '.join(ROPE_TYPES[1:])}",
            ),
            "attention_config.rotary_embedding": (
                a["rotary_embedding"] != m["size_per_head"],
                "a partly rotated head",
            ),
            "lora_config.lora_r": (bool(lora.get("lora_r")), "unmerged adapters"),
        }
        for key, (is_set, what) in refused.items():
            if is_set:
                part, name = key.split(".")
                value = reprlib.repr((raw[part] or {}).get(name))
                raise ButlerError(
                    f"{self._config_file}: {key} is {value}, which the reference engine does "
                    f"not run ({what}); use --engine lmdeploy"
                )

    def _checked(self, c: ModelConfig) -> ModelConfig:
        problems = {
            "num_layer": c.layers < 1 or len(c.inter_sizes) != c.layers,
            "head_num": c.heads < 1 or c.kv_heads < 1 or c.heads % max(c.kv_heads, 1) != 0,
            "size_per_head": c.head_dim < 2 or c.head_dim % 2 != 0,
            "hidden_units": c.hidden < 1,
            "inter_size": any(n < 1 for n in c.inter_sizes),
            "vocab_size": c.vocab < 1 or c.embedding_rows < c.vocab,
            "session_len": c.session_len < 1,
            "norm_eps": not 0 < c.norm_eps < 1,
            "tp": c.tp < 1 or c.heads % max(c.tp, 1) or c.kv_heads % max(c.tp, 1),
            "group_size": c.w4 and (c.group_size < 1 or c.hidden % c.group_size != 0),
        }
        for key, wrong in problems.items():
            if wrong:
                raise ButlerError(
                    f"{self._config_file}: model_config.{key} is impossible or does not fit the "
                    "other values; convert the model again"
                )
        return c


def _rope(a: Mapping[str, Any]) -> Rope:
    return Rope(
        theta=float(a["rope_theta"]),
        kind=str(a["rope_scaling_type"]),
        factor=float(a["rope_scaling_factor"]),
        low_freq_factor=float(a["low_freq_factor"]),
        high_freq_factor=float(a["high_freq_factor"]),
        original_positions=int(a["original_max_position_embeddings"]),
    )


def _session_len(m: Mapping[str, Any], a: Mapping[str, Any]) -> int:
    """Return the longest session in tokens.

    Dynamic NTK and logn attention do nothing up to max_position_embeddings and change every
    position after it, so a session of this engine ends there.
    """
    length, positions = int(m["session_len"]), int(a["max_position_embeddings"])
    stretched = a["rope_scaling_type"] == "dynamic" or a["use_dynamic_ntk"] or a["use_logn_attn"]
    return min(length, positions) if stretched and positions else length
