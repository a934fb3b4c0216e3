"""OpenCompass' scoring, with the score of each question beside that of all (needs OpenCompass)."""

import dis
import logging
from collections.abc import Sequence
from inspect import signature
from typing import Any

from mmengine.config import ConfigDict
from opencompass.registry import ICL_EVALUATORS
from opencompass.summarizers.default import METRIC_BLACKLIST, METRIC_WHITELIST
from opencompass.tasks import OpenICLEvalTask

from butler.benchmarks.opencompass.gold import CLOSE, gold_text

RIGHT = ("correct", "is_correct", "cascade_correct")  # how OpenCompass' evaluators call it
REHEARSED = 24  # questions of a data set that a rehearsal scores


class ScoringTask(OpenICLEvalTask):
    """OpenCompass' scoring, which beside the score of all leaves the score of each question.

    `questions` in the result holds an object for each: score (of the main metric, 0 to 100),
    extracted (the answer as it was scored, after OpenCompass' post-processing) and, from a scorer
    of ours, metrics. `main_metric` is the first by OpenCompass' own order.
    """

    def __init__(self, cfg: ConfigDict) -> None:
        super().__init__(cfg)
        self._known: dict[str, float] = {}  # scores of single answers

    def _evaluate_predictions(
        self, pred_strs: Any, test_set: Any, pred_dicts: Any
    ) -> dict[str, Any]:
        result = dict(super()._evaluate_predictions(pred_strs, test_set, pred_dicts))
        if "error" in result:
            return result
        evaluator = ICL_EVALUATORS.get(self.eval_cfg["evaluator"]["type"])
        if getattr(evaluator, "scores_each", False):
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
        if not isinstance(evaluator, type):  # a function that makes it
            options = {key: one for key, one in self.eval_cfg["evaluator"].items() if key != "type"}
            evaluator = type(evaluator(**options))
        texts_alone = reads_texts_alone(evaluator)
        kind = repr((main, self.eval_cfg["evaluator"]))
        scores = []
        dumps, self.dump_details = self.dump_details, False
        told = logging.root.manager.disable
        logging.disable(max(told, logging.INFO))  # it tells of each call
        try:
            for index, prediction in enumerate(pred_strs):
                row = test_set[index]
                gold = row[self.output_column] if self.output_column else None
                key = kind + repr((prediction, gold if texts_alone else row))
                if key not in self._known:
                    alone = super()._evaluate_predictions(
                        [prediction], test_set.select([index]), [pred_dicts[index]]
                    )
                    self._known[key] = float(alone[main])
                scores.append(self._known[key])
        finally:
            logging.disable(told)
            self.dump_details = dumps
        return scores


def reads_texts_alone(evaluator: type) -> bool:
    """Say whether a score is made of nothing but predictions and references.

    An evaluator may take the rows or the prompts and read them nowhere; OpenCompass' accuracy takes
    28 ms for one answer, and there are few pairs of letters.
    """
    score = evaluator.score  # type: ignore[attr-defined]
    read = {one.argval for one in dis.get_instructions(score) if one.opname.startswith("LOAD")}
    return read & signature(score).parameters.keys() - {"self"} == {"predictions", "references"}


def main_metric(result: dict[str, Any]) -> str | None:
    """Return the metric that OpenCompass' summary puts first, None if there is no number."""
    names = [
        name
        for name, value in result.items()
        if name not in METRIC_BLACKLIST and isinstance(value, int | float)
    ]
    known = [name for name in METRIC_WHITELIST if name in names]
    return next(iter([*known, *names]), None)


def rehearse(dataset: dict[str, Any], texts: Sequence[str], folder: str) -> str | None:
    """Score made-up answers to the first questions of a data set, as an evaluation will.

    Every second one is the right answer, the others are those to the question before.

    Args:
        texts: the questions; folder: where the scorer may leave files.

    Returns:
        Why a model cannot be judged so, None if it can. Whatever the scorer raises is raised.
    """
    task = ScoringTask(
        ConfigDict(
            models=[{"abbr": "rehearsal", "type": "none"}],
            datasets=[[dataset]],
            work_dir=folder,
        )
    )
    task.model_cfg, task.dataset_cfg = task.model_cfgs[0], task.dataset_cfgs[0][0]
    task.eval_cfg = task.dataset_cfg["eval_cfg"]
    task.output_column = dataset["reader_cfg"].get("output_column")
    rows = task._load_and_preprocess_test_data()
    rows = rows.select(range(min(len(rows), REHEARSED)))
    golds = [gold_text(row[task.output_column]) if task.output_column else "" for row in rows]
    answers = [golds[place - place % 2] for place in range(len(golds))]
    made_up = [
        {"prediction": answer, "origin_prompt": [{"role": "HUMAN", "prompt": text}], "gold": gold}
        for answer, gold, text in zip(answers, golds, texts, strict=False)
    ]
    result = task._evaluate_predictions(task._process_predictions(answers), rows, made_up)
    if "error" in result:
        return str(result["error"])
    main = result["main_metric"]
    mean = sum(one["score"] for one in result["questions"]) / len(made_up)
    if abs(mean - result[main]) > CLOSE:
        return f"its {main} is no mean over questions, so variants cannot be compared by it"
    return None
