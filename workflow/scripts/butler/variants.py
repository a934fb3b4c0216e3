"""The one list of what is compared: the quantised variants, and the base they all come from."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Variant:
    """A deployable workspace: which weights it holds and whether its KV cache is int8."""

    weights: str
    kv8: bool


VARIANTS = {
    "fp16": Variant(weights="fp16", kv8=False),
    "kv8": Variant(weights="fp16", kv8=True),
    "w4": Variant(weights="w4", kv8=False),
    "w4kv8": Variant(weights="w4", kv8=True),
}

# The model before fine-tuning, served like fp16, to show what the fine-tuning changed.
BASE = "base"
MODELS = {BASE: Variant(weights="base", kv8=False)} | VARIANTS

# Which model folder each kind of weights is converted from, and in LMDeploy's name which format.
SOURCES = {"base": ("base", "hf"), "fp16": ("merged", "hf"), "w4": ("awq", "awq")}

BENCHMARKS = ("ceval", "recipe")
TOOLS = ("xtuner", "lmdeploy", "opencompass")
# What serves where config.yaml says `lmdeploy: latest`; built only then.
TOOLS_ON_DEMAND = ("lmdeploy-latest",)
