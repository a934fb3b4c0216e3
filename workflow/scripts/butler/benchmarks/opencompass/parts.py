"""What OpenCompass 0.5.4 lacks for us: a strict API model, the recipe benchmark, a strict end.

Loaded by OpenCompass in its environment; `butler` is on its PYTHONPATH.
"""

import json
import os
from threading import Lock
from typing import Any

from datasets import Dataset
from opencompass.datasets.base import BaseDataset
from opencompass.models import OpenAISDK
from opencompass.openicl.icl_evaluator import BaseEvaluator
from opencompass.summarizers import DefaultSummarizer
from opencompass.utils import get_infer_output_path
from opencompass.utils.prompt import PromptList

from butler.benchmarks.recipe.metrics import score_recipes

_API_ROLES = {"HUMAN": "user", "BOT": "assistant", "SYSTEM": "system"}


class LocalServer(OpenAISDK):
    """OpenAISDK against a server on this machine, made strict.

    Differences: tokens are counted on the whole chat as the server renders it, so that examples
    are left out exactly when the prompt does not fit; a prompt is never cut and the room for the
    answer never shrinks (OpenAISDK does both with a warning at most); an answer without text
    is an empty answer and not an error, as a small model may give one.
    """

    def __init__(self, trust_remote_code: bool, answered: str, **settings: Any) -> None:
        self.trust_remote_code = trust_remote_code
        self.answered = answered  # a file that gets a byte for each answer
        super().__init__(**settings)

    def _init_tokenizer(self) -> None:
        from transformers import AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(
            self.tokenizer_path, trust_remote_code=self.trust_remote_code
        )
        self.tokenizer_type = "hf"
        self._tokenizer_lock = Lock()

    def count_tokens(self, messages: list[dict[str, str]]) -> int:
        """Return the length in tokens of a chat with the opening of the answer."""
        with self._tokenizer_lock:  # a fast tokenizer is not safe to share between threads
            text = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            )
            return len(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def get_token_len_from_template(self, templates: Any, mode: str = "ppl") -> int:
        """Return the length of one prompt; OpenCompass leaves out examples by it."""
        return self.count_tokens(_messages(self.parse_template(templates, mode=mode)))

    def _generate(self, input: Any, max_out_len: int, temperature: float) -> str:
        messages = _messages(input)
        length = self.count_tokens(messages)
        if length > self.max_seq_len:
            raise ValueError(
                f"a prompt of {length} tokens and {max_out_len} new ones do not fit in a session "
                f"of {self.max_seq_len + max_out_len}: raise workspace.session_len; the prompt "
                f"ends {messages[-1]['content'][-40:]!r}"
            )
        answer = self.openai_client.chat.completions.create(
            model=self.path,
            messages=messages,
            max_tokens=max_out_len,
            temperature=temperature,
            timeout=self.timeout,
            extra_body=self.extra_body,
        )
        with open(self.answered, "ab") as stream:
            stream.write(b".")
        return answer.choices[0].message.content or ""


def _messages(prompt: str | PromptList) -> list[dict[str, str]]:
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    return [{"role": _API_ROLES[turn["role"]], "content": turn["prompt"]} for turn in prompt]


class RecipeDataset(BaseDataset):
    """The held-out recipes: columns system, input, output of the first `questions` lines."""

    @staticmethod
    def load(path: str, questions: int = 0) -> Dataset:
        """Read test.jsonl; `questions` 0 takes every line."""
        with open(path, encoding="utf-8") as stream:
            turns = [json.loads(line)["conversation"][0] for line in stream if line.strip()]
        turns = turns[: questions or None]
        return Dataset.from_list(
            [{key: turn.get(key) or "" for key in ("system", "input", "output")} for turn in turns]
        )


class RecipeEvaluator(BaseEvaluator):
    """The recipe metrics of `butler.benchmarks.recipe.metrics`, over all questions and for each."""

    def score(self, predictions: list[str], references: list[str]) -> dict[str, Any]:
        """Return the scores by metric, 0 to 100, and `details` with those of each question."""
        overall, questions = score_recipes(list(predictions), list(references))
        return {**overall, "details": questions}


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
            result.pop("details", None)
            results[dataset["abbr"]] = result
        if missing:
            raise SystemExit(f"OpenCompass left {len(missing)} without a score: {missing[:5]}")
        with open(self.scores + ".part", "w", encoding="utf-8") as stream:
            json.dump(results, stream, ensure_ascii=False, indent=2)
        os.replace(self.scores + ".part", self.scores)
