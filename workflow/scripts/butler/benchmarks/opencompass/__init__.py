"""A data set that OpenCompass configures, by the name that OpenCompass gives it.

`plan` and `verify` run in the main environment; `build`, `parts` and `run_config` are loaded by
OpenCompass in its own.
"""

from typing import Annotated, Literal

from pydantic import Field

from butler.benchmarks.base import Benchmark, BenchmarkSettings
from butler.settings.section import Count, Text


class OpenCompassSettings(BenchmarkSettings):
    """What is asked of a data set; null leaves a thing as OpenCompass has it."""

    kind: Literal["opencompass"]
    dataset: Annotated[str, Field(pattern=r"^[\w-]+$")]
    """the name of OpenCompass' configuration, such as ceval_gen, cmmlu_gen or gsm8k_gen"""
    path: Text
    """its data, laid out as OpenCompass wants it"""
    parts: Annotated[list[Text], Field(min_length=1)] | None = None
    """data sets of the configuration, by OpenCompass' names of them; null asks all"""
    split: Text | None = None
    """the split that is asked, where the data set has several"""
    shots: Count | None = None
    """examples before a question"""


class OpenCompass(Benchmark):
    """`opencompass`."""

    kind = "opencompass"
    Settings = OpenCompassSettings
