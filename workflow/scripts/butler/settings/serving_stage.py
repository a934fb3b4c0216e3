"""Settings of quantisation and serving."""

from typing import Annotated, Literal

from pydantic import Field

from butler.settings.section import Positive, Section, Share


class CalibrationSettings(Section):
    """Training text that the quantisation of weights measures activations on."""

    samples: Positive = 32
    length: Positive = 256
    """tokens"""


class AwqSettings(Section):
    """Activation-aware weight quantisation."""

    bits: Literal[4] = 4
    group_size: Literal[128] = 128
    """all that TurboMind 0.7.3 serves"""
    search_scale: bool = False
    """search for the best smoothing of each layer: slower, often more accurate"""


class GptqSettings(Section):
    """The other quantisation of weights to 4 bits, in groups of awq.group_size, for w4gptq."""

    damping: Annotated[float, Field(gt=0, le=1)] = 0.01
    """of the mean second moment of a layer's inputs, added to each: more where they are few"""


class WorkspaceSettings(Section):
    """What a TurboMind workspace is made for."""

    session_len: Positive = 2048
    """tokens of a chat, question and answer"""
    cache_max_entry_count: Share = 0.5
    """share of the free GPU memory for an fp16 KV cache"""
    tp: Literal[1, 2, 4, 8] = 1
    """GPUs that share the tensors; a workspace is converted for it"""


class KVCacheSettings(Section):
    """The quantised KV caches."""

    cache_max_entry_count: Share = 0.5
    """share of the free GPU memory for a quantised KV cache"""
    static_parameters: bool = False
    """calibrate scale and zero point of each layer too: no engine since LMDeploy 0.4 reads them"""
