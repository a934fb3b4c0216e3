"""All settings of a run: the configuration file as one typed value."""

from collections import Counter
from collections.abc import Collection, Mapping
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from butler.benchmarks.base import BenchmarkSettings
from butler.benchmarks.registry import KINDS
from butler.devices import DEVICES, ENGINES, serving_engine, uses_gpu
from butler.lmdeploy.release import CONVERTER, RELEASES
from butler.schemes import BASELINE, VARIANTS, Variant
from butler.settings.corpus_stage import CorpusSettings
from butler.settings.judging_stage import (
    CheckSettings,
    DecisionSettings,
    DivergenceSettings,
    EfficiencySettings,
    ReportSettings,
)
from butler.settings.overlays import Layers
from butler.settings.section import FileName, Section
from butler.settings.serving_stage import (
    AwqSettings,
    CalibrationSettings,
    GptqSettings,
    KVCacheSettings,
    WorkspaceSettings,
)
from butler.settings.trainer import trainer_of
from butler.settings.training_stage import BaseSettings, TrainSettings
from butler.yaml_files import check_size

Entry = Annotated[
    reduce(or_, (kind.Settings for kind in KINDS.values())), Field(discriminator="kind")
]
DEMO_SUBJECTS = ("chemistry", "geography", "history", "mathematics")


def _demo_benchmarks() -> list[BenchmarkSettings]:
    """Return the benchmarks of the demo."""
    ceval = {
        "name": "ceval",
        "label": "C-Eval",
        "kind": "opencompass",
        "dataset": "ceval_gen",
        "path": "data/demo/ceval",
        "parts": [f"ceval-middle_school_{subject}" for subject in DEMO_SUBJECTS],
        "max_new_tokens": 8,
    }
    recipe = {"name": "recipe", "kind": "recipe", "questions": 40, "max_new_tokens": 320}
    return [KINDS[one["kind"]].Settings.check(one) for one in (ceval, recipe)]


class Settings(Section):
    """Every setting of a run. This file is the demo, complete on a laptop CPU.

    For a real model give overlays, files with what differs:
    snakemake all --config overlays=config/internlm2_chat_7b.yaml,mine.yaml
    docs/settings.md has what each key takes; relative input paths start at this repository.
    """

    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 42  # what NumPy and torch both take
    device: Literal[DEVICES] = "auto"  # type: ignore[valid-type]
    """auto | cpu | cuda: where training, quantisation and their checks run"""
    engine: Literal[ENGINES] = "auto"  # type: ignore[valid-type]
    """auto | reference | lmdeploy: what serves; auto is lmdeploy where device is a GPU"""
    lmdeploy: Literal[tuple(RELEASES)] = "0.7.3"  # type: ignore[valid-type]
    """0.7.3 | latest: which LMDeploy serves; latest takes model folders, on CUDA"""
    corpus: CorpusSettings = Field(default_factory=CorpusSettings)
    base: BaseSettings = Field(default_factory=BaseSettings)
    train: TrainSettings = Field(default_factory=TrainSettings)
    calibration: CalibrationSettings = Field(default_factory=CalibrationSettings)
    awq: AwqSettings = Field(default_factory=AwqSettings)
    gptq: GptqSettings = Field(default_factory=GptqSettings)
    workspace: WorkspaceSettings = Field(default_factory=WorkspaceSettings)
    kv_cache: KVCacheSettings = Field(default_factory=KVCacheSettings)
    variants: Annotated[list[Literal[tuple(VARIANTS)]], Field(min_length=1)] = Field(  # type: ignore[valid-type]
        default_factory=lambda: ["fp16", "kv8", "w4", "w4kv8"]
    )
    """which to make, weights and KV cache; fp16 is what the others are compared with"""
    benchmarks: Annotated[list[Entry], Field(min_length=1)] = Field(  # type: ignore[valid-type]
        default_factory=_demo_benchmarks
    )
    """what to ask: opencompass, qa, recipe, or a kind of your own (docs/your_own.md)"""
    efficiency: EfficiencySettings = Field(default_factory=EfficiencySettings)
    divergence: DivergenceSettings = Field(default_factory=DivergenceSettings)
    decision: DecisionSettings = Field(default_factory=DecisionSettings)
    report: ReportSettings = Field(default_factory=ReportSettings)
    checks: CheckSettings = Field(default_factory=CheckSettings)
    environments: FileName = ".envs"
    """where the tools' virtual environments are built"""

    @model_validator(mode="after")
    def _lists(self) -> "Settings":
        for key, names in (
            ("variants", self.variants),
            ("benchmarks", [one.name for one in self.benchmarks]),
        ):
            twice = [name for name, count in Counter(names).items() if count > 1]
            if twice:
                raise ValueError(f"{key} has {twice[0]} twice; each needs a name of its own")
        if BASELINE not in self.variants:
            raise ValueError(
                f"variants lacks {BASELINE}, which the others are compared with; add it"
            )
        return self

    def tools(self, repository: Path) -> list[str]:
        """Return the tools of this run by their environments' names; paths start at `repository`.

        Raises:
            ButlerError: if base.architecture is not the base's.
        """
        trainer = trainer_of(self.base, repository)
        serving = RELEASES[self.lmdeploy].tool
        quantising = [one.weights.tool for one in self.chosen().values() if one.weights.tool]
        return list(dict.fromkeys([trainer, CONVERTER.tool, "opencompass", serving, *quantising]))

    def on_gpu(self, present: bool) -> bool:
        """Say whether what `device` is for runs on a GPU; `present`: this machine has one."""
        return uses_gpu(self.device, present)

    def serving_engine(self, present: bool) -> str:
        """Return which engine serves, with `auto` decided; `present`: this machine has a GPU."""
        return serving_engine(self.engine, self.device, present)

    def engine_for_jobs(self) -> str:
        """Return the engine that jobs are told: as far decided as it is alike on every machine.

        With `device: auto` the jobs look where they are, for the engine as for the device. If it
        were decided here, what one machine made would be stale on another.
        """
        return self.engine if self.device == "auto" else self.serving_engine(present=False)

    def chosen(self) -> dict[str, Variant]:
        """Return the variants of this run by name."""
        return {name: VARIANTS[name] for name in self.variants}


def read_settings(config: Mapping[str, Any], beside: Collection[str] = ()) -> Settings:
    """Return the settings in a configuration; what it leaves out has its default.

    `beside` are keys that may be given beside these, and are taken out before.

    Raises:
        ButlerError: one sentence that names the first wrong key and what it takes.
    """
    check_size(config, "config")
    where = config.file_of if isinstance(config, Layers) else "config"
    return Settings.check(config, where, beside)
