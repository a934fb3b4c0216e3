"""What OpenCompass 0.5.4 lacks for us: chosen questions, our own scorers, a strict end.

Loaded by OpenCompass in its environment; `butler` is on its PYTHONPATH.
"""

import json
import os
from pathlib import Path
from typing import Any

from datasets import Dataset
from opencompass.datasets.base import BaseDataset
from opencompass.openicl.icl_evaluator import BaseEvaluator
from opencompass.summarizers import DefaultSummarizer
from opencompass.utils import build_dataset_from_cfg, get_infer_output_path

from butler.benchmarks.question_sheet import read_sheet
from butler.benchmarks.reference_answers import ReferenceBenchmark
from butler.benchmarks.registry import read_benchmark


class SheetDataset(BaseDataset):
    """The questions of a sheet: columns messages (a chat) and reference (a text)."""

    @staticmethod
    def load(path: str) -> Dataset:
        """Read the one data set of a question sheet."""
        (questions,) = read_sheet(Path(path), "").data_sets.values()
        return Dataset.from_list(
            [{"messages": one.messages, "reference": one.reference} for one in questions]
        )


def chosen(whole: dict[str, Any], questions: list[int], **_: Any) -> BaseDataset:
    """Return a data set with some of its questions, by their places, and all of its examples.

    OpenCompass's own `test_range` takes a slice, or as many as it draws itself.
    """
    dataset = build_dataset_from_cfg(whole)
    dataset.reader.dataset["test"] = dataset.test.select(questions)
    return dataset


class ReferenceEvaluator(BaseEvaluator):
    """The scorer of a kind of benchmark that has reference answers.

    Args:
        benchmark: the settings of the benchmark as JSON.
    """

    scores_each = True
    """its details hold `score` and `metrics` of each question (see ScoringTask)"""

    def __init__(self, benchmark: str) -> None:
        super().__init__()
        kind, self.settings = read_benchmark(benchmark)
        if not issubclass(kind, ReferenceBenchmark):
            raise TypeError(f"{kind.kind} has no scorer")
        self.kind = kind

    def score(self, predictions: list[str], references: list[str]) -> dict[str, Any]:
        """Return the scores by metric, 0 to 100, and `details` with those of each question."""
        overall, questions = self.kind.score(self.settings, list(predictions), list(references))
        main = self.kind.main_metric(self.settings)
        details = [{"score": question[main], "metrics": question} for question in questions]
        return {**overall, "details": details}


class StrictSummarizer(DefaultSummarizer):
    """Ends the run with a sentence and a non-zero code if any data set has no score.

    OpenCompass alone prints '-' and exits with 0. Writes `scores`, a JSON object of data set to
    result without details, only if all are there.
    """

    def __init__(self, config: Any, scores: str) -> None:
        super().__init__(config)
        self.scores = scores

    def summarize(self, time_str: str = "", **_: Any) -> None:
        """Check every result file and write the scores."""
        results, missing = {}, []
        for dataset in self.dataset_cfgs:
            folder = os.path.join(self.work_dir, "results")
            path = get_infer_output_path(self.model_cfgs[0], dataset, folder)
            result = {"error": "no result file"}
            if os.path.exists(path):
                with open(path, encoding="utf-8") as stream:
                    result = json.load(stream)
            if "error" in result:
                missing.append(f"{dataset['abbr']}: {result['error']}")
            for key in ("details", "questions"):
                result.pop(key, None)
            results[dataset["abbr"]] = result
        if missing:
            raise SystemExit(f"OpenCompass left {len(missing)} without a score: {missing[:5]}")
        with open(self.scores + ".part", "w", encoding="utf-8") as stream:
            json.dump(results, stream, ensure_ascii=False, indent=2)
        os.replace(self.scores + ".part", self.scores)
