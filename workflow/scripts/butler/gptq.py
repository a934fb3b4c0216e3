"""GPTQ of a model, a decoder layer at a time: LLM Compressor's algorithm on our own walk.

GPTQ (Frantar et al. 2022) rounds a weight matrix column by column; what rounding loses in one is
made up for in those that are left, by the inverse of the inputs' second moments. LLM Compressor's
functions do that. Its `oneshot` would do the rest too, but holds the whole model, in fp32 on a CPU,
goes on with plain rounding where it finds no inverse, and writes a format that LMDeploy 0.7.3 does
not read.
"""

from collections.abc import Iterator
from typing import Any

import torch

from butler.errors import ButlerError
from butler.layer_walk import Layer, Walk
from butler.lmdeploy.packed_weights import gptq_tensors
from butler.settings.serving_stage import AwqSettings, GptqSettings

ZERO = 8  # the code of weight 0: half of 16, since scales are symmetric


def quantised_layers(
    walk: Walk, group_size: int, settings: GptqSettings
) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
    """Yield each linear layer's name and its tensors in GPTQ's format, by their names' endings.

    The texts go on through the quantised layers.

    Raises:
        ButlerError: if the inputs of a layer are no basis for it.
    """
    for layer in walk.layers():
        for name, found in _quantise(walk, layer, group_size, settings):
            yield layer.prefix + name, {ending: one.cpu() for ending, one in found.items()}


def _quantise(
    walk: Walk, layer: Layer, group_size: int, settings: GptqSettings
) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
    from compressed_tensors.quantization import QuantizationArgs
    from llmcompressor.modifiers.quantization.gptq.gptq_quantize import quantize_weight
    from loguru import logger

    linears = layer.linears()
    moments = _moments(walk, layer, linears)
    rounding = QuantizationArgs(
        num_bits=AwqSettings().bits, symmetric=True, strategy="group", group_size=group_size
    )
    said: list[str] = []
    listening = logger.add(lambda message: said.append(str(message)), level="WARNING")
    for name, linear in linears.items():
        _, weight, scales, _, _ = quantize_weight(
            linear, rounding, moments, percdamp=settings.damping
        )
        if said:  # it would go on with plain rounding
            raise ButlerError(
                f"GPTQ finds no inverse of the inputs of {layer.prefix}{name}; raise gptq.damping "
                "or calibration.samples"
            )
        linear.weight.copy_(weight)
        steps = weight.t().unflatten(0, (-1, group_size)) / scales.t().unsqueeze(1)
        codes = (steps.round() + ZERO).flatten(0, 1).to(torch.uint8)
        zeros = torch.full_like(scales.t(), ZERO, dtype=torch.uint8)
        yield name, gptq_tensors(codes, zeros, scales.t())
    logger.remove(listening)


def _moments(
    walk: Walk, layer: Layer, linears: dict[str, torch.nn.Linear]
) -> dict[torch.nn.Linear, torch.Tensor]:
    """Return the second moments of each linear's inputs over all texts, fp32 [in, in]."""
    from llmcompressor.modifiers.quantization.gptq.gptq_quantize import (
        accumulate_hessian,
        make_empty_hessian,
    )

    found = {one: make_empty_hessian(one) for one in linears.values()}
    seen = dict.fromkeys(found, 0)

    def add(linear: torch.nn.Linear, inputs: torch.Tensor) -> None:
        found[linear], seen[linear] = accumulate_hessian(
            inputs, linear, found[linear], seen[linear]
        )

    walk.observe(layer, add)
    return found


def quantisation_config(group_size: int, settings: GptqSettings) -> dict[str, Any]:
    """Return what config.json says of such a folder; TurboMind takes no other `desc_act`, `sym`."""
    return {
        "quant_method": "gptq",
        "checkpoint_format": "gptq",  # AutoGPTQ's first version, whose zero points are 1 less
        "bits": AwqSettings().bits,
        "group_size": group_size,
        "damp_percent": settings.damping,
        "desc_act": False,
        "sym": True,
        "lm_head": False,
    }
