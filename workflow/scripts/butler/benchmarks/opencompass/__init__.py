"""A data set that OpenCompass configures, by the name that OpenCompass gives it.

`configured`, `reading` and `scoring` need OpenCompass; `build`, `parts`, `chat_models` and
`run_config` are loaded by it. `asking` and `proof` run in the workflow's environment.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from butler.benchmarks.base import Benchmark, BenchmarkSettings
from butler.benchmarks.question_sheet import Question
from butler.errors import ButlerError
from butler.settings.section import Count, FileName, Text


class OpenCompassSettings(BenchmarkSettings):
    """A data set that OpenCompass configures; null leaves a setting as it has it."""

    kind: Literal["opencompass"]
    dataset: Annotated[str, Field(pattern=r"^[\w-]+$")]
    """the name of OpenCompass' configuration, such as ceval_gen, cmmlu_gen or gsm8k_gen"""
    path: FileName
    """its data, in OpenCompass' layout"""
    parts: Annotated[list[Text], Field(min_length=1)] | None = None
    """some of its data sets, by OpenCompass' names; null asks all"""
    split: Text | None = None
    """the split that is asked, where the data set has several"""
    shots: Count | None = None
    """examples before a question"""


class OpenCompass(Benchmark):
    """`opencompass`."""

    kind = "opencompass"
    Settings = OpenCompassSettings
    tool = "opencompass"

    @classmethod
    def asks_held_out(cls, settings: OpenCompassSettings) -> bool:
        """Never: the data are the user's."""
        return False

    @classmethod
    def files(cls, settings: OpenCompassSettings, repository: Path) -> list[Path]:
        """Return the file, or all files of the folder."""
        path = repository / settings.path
        files = (file for file in path.rglob("*") if file.is_file())
        # Hidden files are a system's or a tool's.
        shown = [f for f in files if not any(p[0] == "." for p in f.relative_to(path).parts)]
        return sorted(shown) or [path]

    @classmethod
    def check(cls, settings: OpenCompassSettings, repository: Path, test_size: int) -> None:
        """Look for the data; `read` sees what is in them and whether OpenCompass knows the name."""
        path = repository / settings.path
        where = f"benchmark {settings.name}: path {settings.path}"
        if not path.exists():
            raise ButlerError(
                f"{where} is missing; put the data of {settings.dataset} there, laid out as "
                "OpenCompass wants them"
            )
        if path.is_dir() and not any(file.is_file() for file in path.rglob("*")):
            raise ButlerError(
                f"{where} is an empty folder; put the data of {settings.dataset} there"
            )

    @classmethod
    def read(
        cls, settings: OpenCompassSettings, repository: Path, held_out: Path | None
    ) -> list[Question]:
        """Load the data sets by OpenCompass' own loaders."""
        from butler.benchmarks.opencompass.reading import read_data_sets

        return read_data_sets(settings, repository)

    @classmethod
    def data_sets(
        cls, settings: OpenCompassSettings, repository: Path, sheet: Path
    ) -> list[dict[str, Any]]:
        """Return the data sets of OpenCompass' configuration with the user's settings."""
        from butler.benchmarks.opencompass.configured import configured

        return configured(settings, repository)

    @classmethod
    def metrics_of(cls, settings: OpenCompassSettings, result: dict[str, Any]) -> dict[str, float]:
        """Return the metric that OpenCompass takes for the main one."""
        return {result["main_metric"]: result[result["main_metric"]]}
