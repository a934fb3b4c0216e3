"""From the settings of an evaluation to a configuration of OpenCompass 0.5.4 (loaded by it).

The prompts come from OpenCompass (C-Eval) or from the test file (recipes) and nowhere from the
variant, so every variant is asked with the same bytes.
"""

import json
from typing import Any

_PARTS = "butler.benchmarks.opencompass.parts"
# Roles as the OpenAI API knows them: an example is a user turn and an assistant turn.
_ROLES = {
    "round": [
        {"role": "HUMAN", "api_role": "HUMAN"},
        {"role": "BOT", "api_role": "BOT", "generate": True},
    ],
    "reserved_roles": [{"role": "SYSTEM", "api_role": "SYSTEM"}],
}


def build_config(settings_path: str) -> dict[str, Any]:
    """Return the OpenCompass configuration for the settings in a JSON file (see `plan.py`).

    Types are dotted names, so that OpenCompass can dump the configuration and read it back.
    """
    _dump_without_layout()
    with open(settings_path, encoding="utf-8") as stream:
        settings = json.load(stream)
    make = {"ceval": _ceval, "recipe": _recipe}[settings["benchmark"]]
    return {
        "models": [_model(settings)],
        "datasets": make(settings),
        "infer": _stage("OpenICLInferTask"),
        "eval": _stage("OpenICLEvalTask"),
        "summarizer": {"type": f"{_PARTS}.StrictSummarizer", "scores": settings["scores"]},
    }


def _dump_without_layout() -> None:
    """Keep yapf from laying out the configuration each time OpenCompass dumps it.

    It dumps it three times; with 4 subjects the layout took over half of a run, and more than
    linearly longer with more. The dump holds the same values on one long line each.
    """
    from yapf.yapflib import yapf_api

    yapf_api.FormatCode = lambda text, **_: (text, False)


def _model(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": f"{_PARTS}.LocalServer",
        "abbr": settings["variant"],
        "path": settings["variant"],
        "openai_api_base": settings["url"] + "/v1",
        "key": "EMPTY",
        "tokenizer_path": settings["tokenizer"],
        "meta_template": _ROLES,
        # OpenCompass leaves out examples until the prompt fits, so an answer always has room.
        "max_seq_len": settings["session_len"] - settings["max_new_tokens"],
        "max_out_len": settings["max_new_tokens"],
        "max_workers": settings["concurrency"],
        # A batch ends when its slowest question does: large ones keep the server busy.
        "batch_size": 16 * settings["concurrency"],
        "query_per_second": 1000,
        "temperature": 0.0,
        # TurboMind's own default keeps 40 tokens to draw from.
        "extra_body": {"top_k": 1},
        "trust_remote_code": settings["trust_remote_code"],
        "answered": settings["answered"],
    }


def _stage(task: str) -> dict[str, Any]:
    """All data sets in one task: each task would cost a start of OpenCompass."""
    return {
        "partitioner": {"type": "opencompass.partitioners.NaivePartitioner", "n": 10_000},
        "runner": {
            "type": "opencompass.runners.LocalRunner",
            "max_num_workers": 1,
            "task": {"type": f"opencompass.tasks.{task}"},
        },
    }


def _ceval(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """OpenCompass' own 5-shot C-Eval (ceval_gen) for the chosen subjects and split."""
    from opencompass.configs.datasets.ceval.ceval_gen import ceval_datasets

    known = {dataset["name"]: dataset for dataset in ceval_datasets}
    unknown = [name for name in settings["subjects"] if name not in known]
    if unknown:
        raise SystemExit(f"OpenCompass has no C-Eval subject {', '.join(unknown)}")
    chosen = []
    for name in settings["subjects"]:
        dataset = _dotted(known[name])
        dataset["abbr"] = name
        dataset["reader_cfg"]["test_split"] = settings["split"]
        chosen.append(dataset)
    return chosen


def _dotted(value: Any) -> Any:
    """Replace classes and functions by their dotted names; copy all containers."""
    if isinstance(value, dict):
        return {key: _dotted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_dotted(item) for item in value]
    if callable(value):
        return f"{value.__module__}.{value.__qualname__}"
    return value


def _recipe(settings: dict[str, Any]) -> list[dict[str, Any]]:
    turns = {"round": [{"role": "HUMAN", "prompt": "{input}"}, {"role": "BOT", "prompt": ""}]}
    if settings["system"]:
        turns["begin"] = [{"role": "SYSTEM", "prompt": "{system}"}]
    icl = "opencompass.openicl"
    return [
        {
            "type": f"{_PARTS}.RecipeDataset",
            "abbr": "recipe",
            "path": settings["data"],
            "questions": settings["questions"],
            "reader_cfg": {"input_columns": ["system", "input"], "output_column": "output"},
            "infer_cfg": {
                "prompt_template": {"type": f"{icl}.PromptTemplate", "template": turns},
                "retriever": {"type": f"{icl}.ZeroRetriever"},
                "inferencer": {"type": f"{icl}.GenInferencer"},
            },
            "eval_cfg": {"evaluator": {"type": f"{_PARTS}.RecipeEvaluator"}},
        }
    ]
