"""The bases that random_model.py makes, by the names of their overlays in config/, at real size.

What a base's own config.json says that speed or memory depends on, and what its code asks for.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from common import ROOT, ButlerError

from butler.chat_template import ChatTemplate
from butler.families import FAMILIES, Family
from butler.settings.overlays import Layers, read_overlays
from butler.settings.serving_stage import AwqSettings

GROUP = AwqSettings().group_size
HEAD_DIM = 128  # of every base here


@dataclass(frozen=True)
class Shape:
    """Sizes of a base; the defaults are InternLM2-7B's."""

    hidden: int = 4096
    layers: int = 32
    heads: int = 32
    kv_heads: int = 8
    intermediate: int = 14336
    vocab: int = 92544

    def parameters(self) -> int:
        """Return the number of weights that a token's pass multiplies with, the head included."""
        attention = 2 * self.hidden * (self.heads + self.kv_heads) * HEAD_DIM
        mlp = 3 * self.hidden * self.intermediate
        return self.layers * (attention + mlp) + self.vocab * self.hidden

    def config(self) -> dict[str, int]:
        """Return the sizes by their names in config.json."""
        return {
            "hidden_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "intermediate_size": self.intermediate,
            "vocab_size": self.vocab,
        }


@dataclass(frozen=True)
class Base:
    """A base's architecture and shape, and what else its config.json says."""

    architecture: str
    shape: Shape = Shape()
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def family(self) -> Family:
        """What the stages know of its architecture."""
        return FAMILIES[self.architecture]

    def config(self, shape: Shape) -> dict[str, Any]:
        """Return config.json of the base in another shape, for the tokenizer of random_model.py."""
        from butler.demo.tiny_model import internlm2_config
        from butler.demo.tiny_tokenizer import BOS, EOS

        if self.architecture == "InternLM2ForCausalLM":
            return internlm2_config(**shape.config(), **self.more)
        name = self.architecture.removesuffix("ForCausalLM")
        module = name.lower()
        code = {
            "AutoConfig": f"configuration_{module}.{name}Config",
            "AutoModelForCausalLM": f"modeling_{module}.{self.architecture}",
        }
        return {
            "architectures": [self.architecture],
            **({"auto_map": code} if self.family.code else {}),
            "model_type": module,
            "bos_token_id": BOS,
            "eos_token_id": EOS,
            "hidden_act": "silu",
            "initializer_range": 0.02,
            "tie_word_embeddings": False,
            "torch_dtype": "float16",
            "use_cache": True,
            **shape.config(),
            **self.more,
        }


INTERNLM2 = {"max_position_embeddings": 32768, "rope_theta": 1_000_000, "rms_norm_eps": 1e-5}
BASES = {
    "internlm2_chat_7b": Base("InternLM2ForCausalLM", more=INTERNLM2),
    "internlm2_5_chat_7b": Base(
        "InternLM2ForCausalLM",
        more=INTERNLM2 | {"rope_scaling": {"type": "dynamic", "factor": 2.0}},
    ),
    "internlm3_8b": Base(
        "InternLM3ForCausalLM",
        Shape(layers=48, kv_heads=2, intermediate=10240, vocab=128512),
        {
            "head_dim": HEAD_DIM,
            "max_position_embeddings": 32768,
            "rope_theta": 50_000_000,
            "rope_scaling": {"rope_type": "dynamic", "factor": 6.0},
            "rms_norm_eps": 1e-5,
        },
    ),
    "llama3_1_8b": Base(
        "LlamaForCausalLM",
        Shape(vocab=128256),
        {
            "max_position_embeddings": 131072,
            "rope_theta": 500_000.0,
            "rope_scaling": {
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192,
            },
            "rms_norm_eps": 1e-5,
        },
    ),
    "qwen2_5_7b": Base(
        "Qwen2ForCausalLM",
        Shape(hidden=3584, layers=28, heads=28, kv_heads=4, intermediate=18944, vocab=152064),
        {"max_position_embeddings": 32768, "rope_theta": 1_000_000.0, "rms_norm_eps": 1e-6},
    ),
    "qwen3_8b": Base(
        "Qwen3ForCausalLM",
        Shape(layers=36, intermediate=12288, vocab=151936),
        {
            "head_dim": HEAD_DIM,
            "max_position_embeddings": 40960,
            "rope_theta": 1_000_000.0,
            "rms_norm_eps": 1e-6,
        },
    ),
}
DEFAULT = "internlm2_chat_7b"


def overlay(base: str) -> Layers:
    """Return the settings of a base's overlay."""
    return read_overlays(f"config/{base}.yaml", [ROOT])


def chat_template(base: str) -> ChatTemplate:
    """Return the chat template that a base's overlay names."""
    return ChatTemplate.load(overlay(base)["base"]["chat_template"])


def add_base(parser: argparse.ArgumentParser) -> None:
    """Add the option that names a base."""
    parser.add_argument("--base", choices=BASES, default=DEFAULT, help="an overlay of config/")


def add_shape(parser: argparse.ArgumentParser) -> None:
    """Add the options of a shape; one that is left out is the base's own."""
    for one in fields(Shape):
        parser.add_argument(f"--{one.name.replace('_', '-')}", type=int)


def shape_of(args: argparse.Namespace, base: str = DEFAULT) -> Shape:
    """Return the shape of a base with what the options change."""
    given = {one.name: getattr(args, one.name) for one in fields(Shape)}
    changed = {name: value for name, value in given.items() if value is not None}
    return replace(BASES[base].shape, **changed)


def shape_options(shape: Shape) -> list[str]:
    """Return the shape as options of another script."""
    return [
        part for k, v in shape.__dict__.items() for part in (f"--{k.replace('_', '-')}", str(v))
    ]


def check(shape: Shape) -> None:
    """Raise ButlerError for a shape that the chain does not take."""
    if shape.heads * HEAD_DIM != shape.hidden:
        raise ButlerError(f"--hidden must be {HEAD_DIM} × --heads: the head size is {HEAD_DIM}")
    if shape.heads % shape.kv_heads or shape.intermediate % GROUP:
        raise ButlerError(
            f"--heads must be a multiple of --kv-heads, --intermediate one of {GROUP}"
        )
