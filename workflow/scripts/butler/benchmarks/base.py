"""What every kind of benchmark has: settings of its own, and a place in the list of kinds.

A kind is a subclass of Benchmark in a module or package of this folder; registry.py finds it there
by its `kind`, so that a new one is one new file. One that judges answers by a reference answer
starts from `reference_answers.ReferenceBenchmark`.
"""

import inspect
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from butler.benchmarks.question_sheet import Question
from butler.errors import ButlerError
from butler.imports import SCRIPTS, code_of
from butler.settings.section import Positive, Section, Text

TAKEN = ("divergence", "efficiency", "evaluation")  # of results/NAME_VARIANT.csv and of checks
CONCURRENCY = 16  # questions asked of a model at a time
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,39}$"
LOADED = SCRIPTS / "butler" / "benchmarks" / "opencompass"  # what OpenCompass loads by name


def _free(name: str) -> str:
    if name in TAKEN:
        raise ValueError(f"takes another name than {name}, which is that of other results")
    return name


class BenchmarkSettings(Section):
    """One entry of `benchmarks` in the configuration."""

    name: Annotated[str, Field(pattern=NAME), AfterValidator(_free)]
    """what its results are called: results/NAME_VARIANT.csv"""
    kind: str
    label: Text | None = None
    """how the report calls it; null: by its name"""
    max_new_tokens: Positive | None = None
    """tokens of an answer"""


class Benchmark(ABC):
    """A kind of benchmark; `Settings` are those of its entries in the configuration."""

    kind: ClassVar[str]
    Settings: ClassVar[type[BenchmarkSettings]]
    tool: ClassVar[str | None] = None
    """whose environment reads the questions; None: the workflow's own"""
    own_prompts: ClassVar[bool] = False
    """whether a question is asked as `Question.messages` says, and not as OpenCompass does"""

    @classmethod
    @abstractmethod
    def asks_held_out(cls, settings: Any) -> bool:
        """Say whether the questions are the held-out part of the corpus."""

    @classmethod
    @abstractmethod
    def files(cls, settings: Any, repository: Path) -> list[Path]:
        """Return the data files that are read, in order; relative paths start at `repository`."""

    @classmethod
    @abstractmethod
    def check(cls, settings: Any, repository: Path, test_size: int) -> None:
        """Look at what can be seen before the first job; `test_size` records are held out.

        Raises:
            ButlerError: one sentence that names the benchmark and the user's path or key.
        """

    @classmethod
    @abstractmethod
    def read(cls, settings: Any, repository: Path, held_out: Path | None) -> list[Question]:
        """Read what is asked, in order; runs in the environment of `tool`.

        Raises:
            ButlerError: one sentence that names the benchmark, the user's file, and the line.
        """

    @classmethod
    @abstractmethod
    def data_sets(cls, settings: Any, repository: Path, sheet: Path) -> list[dict[str, Any]]:
        """Return what OpenCompass is to ask, as its configuration says it (loaded by OpenCompass).

        Args:
            sheet: the question sheet that `read` gave.
        """

    @classmethod
    def check_length(cls, name: str, data_sets: list[dict[str, Any]], session_len: int) -> int:
        """Return the tokens of the longest answer to the data sets of benchmark `name`.

        Raises:
            ButlerError: if it leaves no room for a prompt in a session.
        """
        longest = max(int(one["infer_cfg"]["inferencer"]["max_out_len"]) for one in data_sets)
        if longest >= session_len:
            raise ButlerError(
                f"benchmark {name}: an answer of {longest} tokens leaves no room for a prompt in a "
                f"session of {session_len}: raise workspace.session_len, or set max_new_tokens"
            )
        return longest

    @classmethod
    @abstractmethod
    def metrics_of(cls, settings: Any, result: dict[str, Any]) -> dict[str, float]:
        """Return the rows of a data set by metric, the main one first, from OpenCompass' scores."""

    @classmethod
    def reading_code(cls) -> list[str]:
        """Return the files of ours, below the scripts, that read the questions of this kind."""
        return _below_scripts([Path(inspect.getfile(cls))])

    @classmethod
    def code(cls) -> list[str]:
        """Return the files of ours, below the scripts, that an evaluation loads by their names."""
        return _below_scripts([Path(inspect.getfile(cls)), *sorted(LOADED.glob("*.py"))])


def _below_scripts(files: list[Path]) -> list[str]:
    """Return the files and all that they import, as texts that start below the scripts."""
    scripts = [str(file.resolve().relative_to(SCRIPTS)) for file in files]
    found = [path for script in scripts for path in code_of(script)]
    return list(dict.fromkeys(str(path.relative_to(SCRIPTS)) for path in found))
