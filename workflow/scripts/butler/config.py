"""Checking a configuration against config/schema.yaml, with one sentence per mistake."""

import difflib
import math
import re
import reprlib
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, ValidationError, validators

from butler.chat_template import ChatTemplate
from butler.errors import ButlerError
from butler.lmdeploy.guards import check_split
from butler.lmdeploy.release import RELEASES
from butler.lmdeploy.served_folder import model_shape
from butler.model_folder import check_model_folder
from butler.settings.training import TrainSettings
from butler.yaml_files import check_size

# JSON Schema takes 60.0 for an integer, and YAML's .nan and .inf for numbers.
VALIDATOR = validators.extend(
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine_many(
        {
            "integer": lambda _, value: type(value) is int,
            "number": lambda _, value: type(value) in (int, float) and math.isfinite(value),
        }
    ),
)
EXPONENT = re.compile(r"[+-]?\d+(?:\.\d*)?[eE][+-]?\d+")
CLOCK_SKEW_S = 10  # that a file server may be ahead of us
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
SCHEMA = Path(__file__).resolve().parents[3] / "config" / "schema.yaml"


def check_config(config: Mapping[str, Any], schema_path: Path = SCHEMA) -> None:
    """Check `config` against the schema.

    Raises:
        ButlerError: one sentence that names the first wrong key and what it takes.
    """
    check_size(config, "config")
    schema = yaml.safe_load(schema_path.read_text(encoding="utf-8"))
    errors = sorted(VALIDATOR(schema).iter_errors(config), key=lambda e: list(map(str, e.path)))
    if errors:
        raise ButlerError(f"config: {_sentence(errors[0])} (see config/{schema_path.name})")
    check_consent(config["base"]["model"], config["base"]["remote_code"])
    TrainSettings.check(config["train"])
    check_room(config)


def check_room(config: Mapping[str, Any]) -> None:
    """Check that a session holds a question beside the longest answer that is asked for.

    Raises:
        ButlerError: one sentence that names both keys.
    """
    length = config["workspace"]["session_len"]
    for name, benchmark in config["benchmarks"].items():
        if benchmark["max_new_tokens"] >= length:
            raise ButlerError(
                f"config: workspace.session_len {length} leaves no room for a question beside "
                f"benchmarks.{name}.max_new_tokens {benchmark['max_new_tokens']}; raise the one or "
                "lower the other"
            )


def check_consent(model: str, remote_code: str | bool) -> None:
    """Check that a model's own code runs by consent to that model, not by an inherited one.

    Raises:
        ButlerError: one sentence that says what base.remote_code takes.
    """
    if remote_code is True:
        raise ButlerError(
            "config: base.remote_code is true, which names no model; set it to the value of "
            f"base.model ({model}) if you trust the Python code of that model, else to false"
        )
    if remote_code and remote_code != model:
        raise ButlerError(
            f"config: base.remote_code lets the Python code of {remote_code} run, but base.model "
            f"is {model}; set it to the latter if you trust its code, else to false"
        )


def _sentence(error: ValidationError) -> str:
    key = ".".join(str(part) for part in error.path)
    if error.validator == "additionalProperties":
        known = list(error.schema["properties"])
        unknown = next(name for name in error.instance if name not in known)
        full = f"{key}.{unknown}"[:80] if key else str(unknown)[:80]
        close = difflib.get_close_matches(str(unknown), known, n=1)
        advice = f"did you mean '{close[0]}'?" if close else f"known here: {', '.join(known)}"
        return f"unknown key '{full}'; {advice}"
    if error.validator == "required":
        missing = next(name for name in error.validator_value if name not in error.instance)
        return f"key '{f'{key}.{missing}' if key else missing}' is missing"
    return f"key '{key}' {_expectation(error)}"


BOUNDS = {
    "minimum": "at least",
    "maximum": "at most",
    "exclusiveMinimum": "more than",
    "exclusiveMaximum": "less than",
}


def _expectation(error: ValidationError) -> str:
    kind, wanted = error.validator, error.validator_value
    if kind == "enum":
        wanted = ", ".join("null" if value is None else str(value) for value in wanted)
        sentence = f"takes one of {wanted}"
    elif kind == "const":
        sentence = f"takes {wanted} only"
    elif kind == "type":
        sentence = f"takes {' or '.join(wanted if isinstance(wanted, list) else [wanted])}"
        found = error.instance
        if "number" in wanted and isinstance(found, str) and EXPONENT.fullmatch(found):
            sentence += f" (write {float(found):.1e})"  # YAML 1.1 takes 2e-4 for a text
    elif kind == "pattern":
        sentence = f"must match {wanted}"
    elif kind in BOUNDS:
        sentence = f"takes {BOUNDS[kind]} {wanted}"
    else:
        return f"is not valid: {error.message[:300]}"
    return f"{sentence}, found {reprlib.repr(error.instance)}"


def check_inputs(config: Mapping[str, Any], repository: Path) -> None:
    """Check that what the configuration points to is there, before anything long starts.

    Raises:
        ButlerError: one sentence that names the key and the missing file.
    """
    ChatTemplate.load(config["base"]["chat_template"])
    corpus = config["corpus"]["path"]
    if not (repository / corpus).exists():
        raise ButlerError(
            f"config: corpus.path {corpus} is neither a file nor a folder; give your raw recipes"
        )
    model, revision = config["base"]["model"], config["base"]["revision"]
    if (repository / model).is_dir():
        check_model_folder(repository / model, model)
    else:
        if not HUB_ID.fullmatch(model):
            raise ButlerError(
                f"config: base.model {model} is neither a folder nor a hub id such as "
                "internlm/internlm2-chat-7b"
            )
        if revision is None:
            raise ButlerError(
                f"config: base.revision is missing; pin the commit of {model}, 40 digits"
            )
    ceval = config["benchmarks"]["ceval"]
    for subject in ceval["subjects"]:
        for split in ("dev", "val", "test"):
            path = Path(ceval["path"]) / split / f"{subject}_{split}.csv"
            if not (repository / path).is_file():
                raise ButlerError(
                    f"config: {path} is missing; benchmarks.ceval needs dev, val and test of "
                    f"subject {subject}"
                )


def check_clock(paths: Iterable[Path]) -> None:
    """Check that no input is dated in the future, before anything long starts.

    Snakemake would take what is made from it for older than its input when the job is over, and
    remove it.

    Raises:
        ButlerError: one sentence that names the newest file and its date.
    """
    dated = [(path.stat().st_mtime, path) for path in paths if path.exists()]
    newest, path = max(dated, default=(0.0, Path()))
    if newest > time.time() + CLOCK_SKEW_S:
        raise ButlerError(
            f"{path} is dated {datetime.fromtimestamp(newest):%Y-%m-%d %H:%M:%S}, in the future; "
            "set the clock right, or touch it if the clock is"
        )


def check_engine(config: Mapping[str, Any], repository: Path, gpu: bool) -> None:
    """Check that what serves can serve: releases without workspaces and several GPUs need CUDA.

    `gpu` says whether this machine has one; jobs may run elsewhere, where `device: cuda` says so.

    Raises:
        ButlerError: one sentence that names the keys that do not go together.
    """
    engine, tp = config["engine"], config["workspace"]["tp"]
    needs = [] if RELEASES[config["lmdeploy"]].workspaces else [f"lmdeploy: {config['lmdeploy']}"]
    needs += [f"workspace.tp: {tp}"] if tp > 1 else []
    elsewhere = engine == "turbomind" and config["device"] == "cuda"
    for key in needs:
        if engine == "reference":
            raise ButlerError(
                f"config: {key} cannot be served with engine: reference; set engine: turbomind "
                "and use a CUDA machine"
            )
        if not gpu and not elsewhere:
            raise ButlerError(
                f"config: {key} is served on CUDA alone and there is no GPU here; set engine: "
                "turbomind and device: cuda if the jobs run on a machine that has one"
            )
    base = repository / config["base"]["model"]
    if (base / "config.json").is_file():
        check_split(tp, model_shape(base), "config: workspace.tp")
