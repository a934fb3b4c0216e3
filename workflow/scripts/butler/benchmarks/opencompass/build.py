"""From the settings of an evaluation to a configuration of OpenCompass 0.5.4 (loaded by it).

The prompts come from OpenCompass or from the question sheet and nowhere from the variant, so every
variant is asked with the same bytes.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from butler.benchmarks.question_sheet import Question, read_sheet
from butler.benchmarks.registry import read_benchmark
from butler.errors import ButlerError

# Whole names, by which butler/imports.py finds the code that an evaluation loads.
_MODELS = "butler.benchmarks.opencompass.chat_models"
_PARTS = "butler.benchmarks.opencompass.parts"
_SCORING = "butler.benchmarks.opencompass.scoring"
# Roles as the OpenAI API knows them: an example is a user turn and an assistant turn.
_ROLES = {
    "round": [
        {"role": "HUMAN", "api_role": "HUMAN"},
        {"role": "BOT", "api_role": "BOT", "generate": True},
    ],
    "reserved_roles": [{"role": "SYSTEM", "api_role": "SYSTEM"}],
}


def build_config(settings_path: str) -> dict[str, Any]:
    """Return the OpenCompass configuration for the settings in a JSON file (evaluate_model.py).

    Types are dotted names, so that OpenCompass can dump the configuration and read it back.
    """
    _dump_without_layout()
    settings = json.loads(Path(settings_path).read_text(encoding="utf-8"))
    try:
        kind, benchmark = read_benchmark(settings["benchmark"])
        paths = Path(settings["repository"]), Path(settings["questions"])
        datasets = kind.data_sets(benchmark, *paths)
        longest = kind.check_length(benchmark.name, datasets, settings["session_len"])
        if not kind.own_prompts:  # else the sheet is the data set
            asked = read_sheet(paths[1], benchmark.name).data_sets
            datasets = [_only(one, asked[one["abbr"]]) for one in datasets if one["abbr"] in asked]
    except ButlerError as error:
        raise SystemExit(str(error)) from error
    return {
        "models": [_model(settings, longest)],
        "datasets": datasets,
        "infer": _stage("opencompass.tasks.OpenICLInferTask"),
        "eval": _stage(f"{_SCORING}.ScoringTask"),
        "summarizer": {
            "type": f"{_PARTS}.StrictSummarizer",
            "scores": settings["scores"],
        },
    }


def _only(dataset: dict[str, Any], questions: Sequence[Question]) -> dict[str, Any]:
    """Return a data set of which these questions alone are asked, with the examples of all."""
    whole = {key: value for key, value in dataset.items() if key not in ("infer_cfg", "eval_cfg")}
    shared = {key: dataset[key] for key in ("abbr", "reader_cfg", "infer_cfg", "eval_cfg")}
    chosen = [one.index for one in questions]
    return {"type": f"{_PARTS}.chosen", "whole": whole, "questions": chosen} | shared


def _dump_without_layout() -> None:
    """Keep yapf from laying out the configuration each time OpenCompass dumps it.

    It dumps it three times; with 4 subjects the layout took over half of a run, and more than
    linearly longer with more. The dump holds the same values on one long line each.
    """
    from yapf.yapflib import yapf_api

    yapf_api.FormatCode = lambda text, **_: (text, False)


def _model(settings: dict[str, Any], longest: int) -> dict[str, Any]:
    """Return the model that is asked, the same for every question."""
    shared = {
        "abbr": settings["variant"],
        "path": settings["variant"],
        "tokenizer_path": settings["tokenizer"],
        "meta_template": _ROLES,
        # OpenCompass leaves out examples until the prompt fits, so an answer always has room.
        "max_seq_len": settings["session_len"] - longest,
        "max_out_len": longest,
        # A batch ends when its slowest question does: large ones keep the server busy.
        "batch_size": 16 * settings["concurrency"],
        "query_per_second": 1000,
        "trust_remote_code": settings["trust_remote_code"],
        "answered": settings["answered"],
    }
    if settings["url_file"] is None:
        return shared | {
            "type": f"{_MODELS}.TransformersProcess",
            "command": settings["command"],
            "log": settings["log"],
        }
    return shared | {
        "type": f"{_MODELS}.LocalServer",
        "url_file": settings["url_file"],
        "known": settings["known"],
        "key": "EMPTY",
        "max_workers": settings["concurrency"],
        "temperature": 0.0,
        # TurboMind's own default keeps 40 tokens to draw from.
        "extra_body": {"top_k": 1},
    }


def _stage(task: str) -> dict[str, Any]:
    """All data sets in one task: each task would cost a start of OpenCompass."""
    return {
        "partitioner": {"type": "opencompass.partitioners.NaivePartitioner", "n": 10_000},
        "runner": {
            "type": "opencompass.runners.LocalRunner",
            "max_num_workers": 1,
            "task": {"type": task},
        },
    }
