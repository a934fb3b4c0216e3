"""Benchmarks that judge an answer by a reference answer: what all of them have in common.

A scorer for another domain is one new file beside this one:

    class CodeSettings(ReferenceSettings):
        kind: Literal["code"]

    class Code(ReferenceBenchmark):
        kind = "code"
        Settings = CodeSettings
        metrics = ("same_lines",)

        @classmethod
        def score_answer(cls, settings, prediction, reference):
            return {"same_lines": …}  # 0 to 100
"""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from butler.benchmarks.base import Benchmark, BenchmarkSettings
from butler.benchmarks.question_files import QuestionRecord, read_questions
from butler.benchmarks.question_sheet import Question
from butler.errors import ButlerError
from butler.settings.section import FileName, Positive

_PARTS = "butler.benchmarks.opencompass.parts"


class ReferenceSettings(BenchmarkSettings):
    """Questions of a file, or the held-out part of the corpus."""

    path: FileName | None = None
    """JSON lines or CSV of questions and answers; null: the held-out part of the corpus"""
    questions: Positive | None = None
    """how many, the first ones; null asks all"""
    max_new_tokens: Positive = 256
    """tokens of an answer"""


class ReferenceBenchmark(Benchmark):
    """Questions with reference answers, and a scorer.

    `metrics` are the names of all metrics, in the order of the results; the first is the main one
    unless `main_metric` says otherwise.
    """

    own_prompts = True
    metrics: ClassVar[tuple[str, ...]]

    @classmethod
    @abstractmethod
    def score_answer(cls, settings: Any, prediction: str, reference: str) -> dict[str, float]:
        """Return the metrics of one answer, 0 to 100; a data set's are the means of them."""

    @classmethod
    def score_all(
        cls, settings: Any, predictions: Sequence[str], references: Sequence[str]
    ) -> dict[str, float]:
        """Return metrics that all answers have together and none alone, 0 to 100."""
        return {}

    @classmethod
    def check_reference(cls, settings: Any, reference: str) -> str | None:
        """Return why no answer can be judged by this reference, as a sentence; None if it can."""
        return None

    @classmethod
    def cluster(cls, question: str) -> str:
        """Return what a question shares with others that are no news beside it.

        The questions of a cluster are asked in one round and count as one observation. "" is a
        cluster of the question's own text.
        """
        return ""

    @classmethod
    def main_metric(cls, settings: Any) -> str:
        """Return the metric that the decision goes by."""
        return cls.metrics[0]

    @classmethod
    def score(
        cls, settings: Any, predictions: Sequence[str], references: Sequence[str]
    ) -> tuple[dict[str, float], list[dict[str, float]]]:
        """Score answers against references of equal number.

        Returns:
            The scores of all questions together, in the order of `metrics`, and the metrics of
            each question. All are 0 to 100.

        Raises:
            ValueError: if the numbers differ, there is none, or the scorer gives other metrics
                than it says.
        """
        if len(predictions) != len(references) or not references:
            raise ValueError(f"{len(predictions)} predictions for {len(references)} references")
        questions = [
            cls.score_answer(settings, prediction, reference)
            for prediction, reference in zip(predictions, references, strict=True)
        ]
        found = {
            name: sum(question[name] for question in questions) / len(questions)
            for name in questions[0]
        }
        found |= cls.score_all(settings, predictions, references)
        if unknown := sorted(found.keys() - set(cls.metrics)):
            raise ValueError(f"{cls.kind} does not name {unknown[0]} among its metrics")
        return {name: found[name] for name in cls.metrics if name in found}, questions

    @classmethod
    def metrics_of(cls, settings: Any, result: dict[str, Any]) -> dict[str, float]:
        """Return the scores, the main one first."""
        main = cls.main_metric(settings)
        names = [main, *(name for name in cls.metrics if name in result and name != main)]
        return {name: result[name] for name in names}

    @classmethod
    def asks_held_out(cls, settings: Any) -> bool:
        """Say whether the questions are the held-out part of the corpus."""
        return settings.path is None

    @classmethod
    def files(cls, settings: Any, repository: Path) -> list[Path]:
        """Return the file of questions, if it is the user's."""
        return [repository / settings.path] if settings.path else []

    @classmethod
    def check(cls, settings: Any, repository: Path, test_size: int) -> None:
        """Look for the file; of the held-out part no more can be asked than there is."""
        where = f"benchmark {settings.name}"
        if settings.path is None:
            if settings.questions is not None and settings.questions > test_size:
                raise ButlerError(
                    f"{where} asks {settings.questions} questions, but corpus.test_size holds out "
                    f"{test_size} records; raise it, or lower questions"
                )
            return
        path = repository / settings.path
        if not path.is_file():
            folder = " is a folder; name a file in it" if path.is_dir() else " is missing"
            raise ButlerError(f"{where}: path {settings.path}{folder}")
        if not path.stat().st_size:
            raise ButlerError(f"{where}: path {settings.path} is an empty file")

    @classmethod
    def read(cls, settings: Any, repository: Path, held_out: Path | None) -> list[Question]:
        """Read the questions; each reference must be one that an answer can be judged by."""
        where = f"benchmark {settings.name}"
        path = repository / settings.path if settings.path else held_out
        if path is None or not path.is_file():
            raise ButlerError(f"{where}: {path or 'the held-out part of the corpus'} is missing")
        questions: list[Question] = []
        try:
            for record in read_questions(path):
                questions.append(cls._question(settings, record, len(questions)))
                if len(questions) == settings.questions:
                    break
        except ButlerError as error:
            raise ButlerError(f"{where}: {error}") from error
        wanted = settings.questions or 1
        if len(questions) < wanted:
            raise ButlerError(f"{where} asks {wanted} questions, but {path} holds {len(questions)}")
        return questions

    @classmethod
    def _question(cls, settings: Any, record: QuestionRecord, index: int) -> Question:
        why = cls.check_reference(settings, record.answer)
        if why:
            raise ButlerError(
                f"{record.where}: {why}; kind {cls.kind} judges no such answers, kind qa takes any"
            )
        return Question(
            settings.name,
            index,
            record.question,
            record.answer,
            record.system,
            cluster=cls.cluster(record.question),
        )

    @classmethod
    def data_sets(cls, settings: Any, repository: Path, sheet: Path) -> list[dict[str, Any]]:
        """Return the one data set: the sheet's questions, each with its own messages."""
        icl = "opencompass.openicl"
        evaluator = {"type": f"{_PARTS}.ReferenceEvaluator", "benchmark": settings.to_argument()}
        return [
            {
                "type": f"{_PARTS}.SheetDataset",
                "abbr": settings.name,
                "path": str(sheet),
                "reader_cfg": {"input_columns": ["messages"], "output_column": "reference"},
                "infer_cfg": {
                    # Whole messages: no text of a user's is taken for a template.
                    "prompt_template": {
                        "type": f"{icl}.icl_raw_prompt_template.RawPromptTemplate",
                        "messages": [{"expand_column": "messages"}],
                    },
                    "retriever": {"type": f"{icl}.ZeroRetriever"},
                    "inferencer": {
                        "type": f"{icl}.GenInferencer",
                        "max_out_len": settings.max_new_tokens,
                    },
                },
                "eval_cfg": {"evaluator": evaluator},
            }
        ]
