"""What OpenCompass 0.5.4 lacks for us: questions of a sheet, scores of each, a strict end.

Loaded by OpenCompass in its environment; `butler` is on its PYTHONPATH.
"""

import json
import logging
import os
from inspect import signature
from pathlib import Path
from typing import Any

from datasets import Dataset
from opencompass.datasets.base import BaseDataset
from opencompass.openicl.icl_evaluator import BaseEvaluator
from opencompass.registry import ICL_EVALUATORS
from opencompass.summarizers import DefaultSummarizer
from opencompass.summarizers.default import METRIC_BLACKLIST, METRIC_WHITELIST
from opencompass.tasks import OpenICLEvalTask
from opencompass.utils import get_infer_output_path

from butler.benchmarks.opencompass.gold import gold_text
from butler.benchmarks.question_sheet import read_sheet
from butler.benchmarks.reference_answers import ReferenceBenchmark
from butler.benchmarks.registry import read_benchmark

CLOSE = 0.01  # points that a mean over right and wrong may be off OpenCompass' score
RIGHT = ("correct", "is_correct", "cascade_correct")  # how OpenCompass' evaluators call it


class SheetDataset(BaseDataset):
    """The questions of a sheet: columns messages (a chat) and reference (a text)."""

    @staticmethod
    def load(path: str) -> Dataset:
        """Read the one data set of a question sheet."""
        (questions,) = read_sheet(Path(path), "").data_sets.values()
        return Dataset.from_list(
            [{"messages": one.messages, "reference": one.reference} for one in questions]
        )


class ReferenceEvaluator(BaseEvaluator):
    """The scorer of a kind of benchmark that has reference answers.

    Args:
        benchmark: the settings of the benchmark as JSON.
    """

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


class ScoringTask(OpenICLEvalTask):
    """OpenCompass' scoring, which beside the score of all leaves the score of each question.

    `questions` in the result holds an object for each: score (of the main metric, 0 to 100),
    extracted (the answer as it was scored, after OpenCompass' post-processing) and, from a
    ReferenceEvaluator, metrics. `main_metric` is the first by OpenCompass' own order.
    """

    def _evaluate_predictions(
        self, pred_strs: Any, test_set: Any, pred_dicts: Any
    ) -> dict[str, Any]:
        result = dict(super()._evaluate_predictions(pred_strs, test_set, pred_dicts))
        if "error" in result:
            return result
        evaluator = ICL_EVALUATORS.get(self.eval_cfg["evaluator"]["type"])
        if issubclass(evaluator, ReferenceEvaluator):
            # OpenCompass wraps each value in a list, one item per run of the data set.
            result["questions"] = [
                {"score": one["score"][0], "metrics": one["metrics"][0]}
                for one in result["details"]
            ]
            return result
        main = main_metric(result)
        if main is None:
            return {"error": f"the scorer gave no number: {str(result)[:200]}"}
        scores = self._right_or_wrong(result, main, len(pred_strs))
        if scores is None:
            scores = self._one_by_one(evaluator, main, pred_strs, test_set, pred_dicts)
        result["main_metric"] = main
        result["questions"] = [
            {"score": score, "extracted": gold_text(extracted)}
            for score, extracted in zip(scores, pred_strs, strict=True)
        ]
        return result

    def _right_or_wrong(self, result: dict[str, Any], main: str, count: int) -> list[float] | None:
        """Return the scores of the questions from the evaluator's details.

        None if it does not say of each question whether it is right, or the main metric is not the
        share of those.
        """
        details = result.get("details")
        if not isinstance(details, list) or len(details) != count:
            return None
        scores = []
        for detail in details:
            said = [detail[key][0] for key in RIGHT if detail.get(key)]
            if len(said) != 1 or said[0] not in (True, False):
                return None
            scores.append(100.0 * bool(said[0]))
        return scores if abs(sum(scores) / count - result[main]) <= CLOSE else None

    def _one_by_one(
        self, evaluator: Any, main: str, pred_strs: Any, test_set: Any, pred_dicts: Any
    ) -> list[float]:
        """Return what the same evaluator scores for each question alone."""
        # What depends on nothing but the two texts is scored once for each pair of them.
        plain = set(signature(evaluator.score).parameters) <= {"self", "predictions", "references"}
        known: dict[str, float] = {}
        scores = []
        dumps, self.dump_details = self.dump_details, False
        logging.disable(logging.INFO)  # it tells of each call
        try:
            for index, prediction in enumerate(pred_strs):
                row = test_set[index]
                gold = row[self.output_column] if self.output_column else None
                pair = repr((prediction, gold)) if plain else str(index)
                if pair not in known:
                    alone = super()._evaluate_predictions(
                        [prediction], test_set.select([index]), [pred_dicts[index]]
                    )
                    known[pair] = float(alone[main])
                scores.append(known[pair])
        finally:
            logging.disable(logging.NOTSET)
            self.dump_details = dumps
        return scores


def main_metric(result: dict[str, Any]) -> str | None:
    """Return the metric that OpenCompass' summary puts first, None if there is no number."""
    names = [
        name
        for name, value in result.items()
        if name not in METRIC_BLACKLIST and isinstance(value, int | float)
    ]
    known = [name for name in METRIC_WHITELIST if name in names]
    return next(iter([*known, *names]), None)


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
