"""OpenCompass 0.5.4's configuration of a data set, changed to what the user asks (needs it).

Found and loaded as OpenCompass' command line does. Prompts, post-processing and scoring stay
OpenCompass' own; the data's place, the parts, the split, the examples and the length of an answer
are the user's.
"""

import difflib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import opencompass
from mmengine.config import Config
from opencompass.openicl.icl_inferencer import GenInferencer
from opencompass.openicl.icl_retriever import FixKRetriever
from opencompass.utils import dataset_abbr_from_cfg
from opencompass.utils.datasets_info import DATASETS_MAPPING
from opencompass.utils.file import match_files

from butler.benchmarks.opencompass import OpenCompassSettings
from butler.errors import ButlerError

FOLDERS = tuple(
    Path(opencompass.__file__).parent / "configs" / name
    for name in ("datasets", "dataset_collections")
)
JUDGES = ("judge_cfg", "judge_model", "llm_evaluator")  # keys of what another model judges
# A `path` that names how `datasets` reads; the files stand beside it then.
FILE_KEYS = {"csv": "data_files", "json": "data_files", "parquet": "data_files"}


def configured(settings: OpenCompassSettings, repository: Path) -> list[dict[str, Any]]:
    """Return the chosen data sets as plain values, types as dotted names.

    Raises:
        ButlerError: if OpenCompass has no such configuration, or it cannot be asked so: one
            sentence that names the benchmark and the key.
    """
    where = f"benchmark {settings.name}"
    file = _find(settings.dataset, where)
    every = _load(file, where)
    chosen = _parts(every, settings.parts, where)
    for one in chosen:
        _check_kind(one, file, where)
    place = _Place(every, repository / settings.path, f"{where}: {settings.dataset}")
    names = [one["abbr"] for one in chosen]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ButlerError(f"{where}: {settings.dataset} has two data sets called {twice[0]}")
    return [_with(one, settings, place, where) for one in chosen]


def _names() -> list[str]:
    """Return the names of all configurations of data sets."""
    return sorted({path.stem for folder in FOLDERS for path in folder.rglob("*.py")})


def _find(name: str, where: str) -> Path:
    """Return the file of the configuration `name`, the first where there are several."""
    found = [path for folder in FOLDERS for _, path in match_files(str(folder), f"{name}.py")]
    if not found:
        raise ButlerError(f"{where}: OpenCompass has no data set {name}{_close(name, _names())}")
    return Path(found[0])


def _load(file: Path, where: str) -> list[Any]:
    """Return all data sets of a configuration, each with a name."""
    try:
        config = Config.fromfile(str(file))
        every = [one for key in config if key.endswith("_datasets") for one in config[key]]
        plain = [_dotted(one) | {"abbr": dataset_abbr_from_cfg(one)} for one in every]
    # A configuration is a program: whatever it raises is about OpenCompass' file.
    except Exception as error:
        raise ButlerError(
            f"{where}: OpenCompass' own configuration {file.stem} does not load "
            f"({type(error).__name__}: {' '.join(str(error).split())[:200]})"
        ) from error
    if not plain:
        raise ButlerError(f"{where}: {file.stem} configures no data set")
    return plain


def _dotted(value: Any) -> Any:
    """Replace classes and functions by their dotted names; copy all containers."""
    if isinstance(value, dict):
        return {key: _dotted(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_dotted(item) for item in value]
    if callable(value):
        return f"{value.__module__}.{value.__qualname__}"
    return value


def _close(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"; close to it: {', '.join(close)}" if close else ""


def _check_kind(one: dict[str, Any], file: Path, where: str) -> None:
    """Refuse what is not asked by generation, or not judged by OpenCompass alone."""
    where = f"{where}: {one['abbr']} of {file.stem}"
    if "infer_cfg" not in one:
        raise ButlerError(f"{where} is no data set of questions and answers")
    inferencer = one["infer_cfg"]["inferencer"]
    kind = inferencer["type"].rpartition(".")[2]
    if kind != GenInferencer.__name__:
        others = sorted({path.stem for path in file.parent.glob("*_gen.py")} - {file.stem})
        instead = f"; take {', '.join(others)}" if others else ", and there is no other of it"
        raise ButlerError(f"{where} asks for no answer that is written out ({kind}){instead}")
    if inferencer.get("multiround"):
        raise ButlerError(f"{where} asks several times in one chat, which is not supported")
    evaluation = one.get("eval_cfg") or {}
    if any(key in JUDGES for key in _keys(evaluation)):
        raise ButlerError(
            f"{where} is judged by another language model, which is not supported; take a "
            "configuration that scores by a rule"
        )
    if "evaluator" not in evaluation:
        raise ButlerError(f"{where} has no scorer in OpenCompass")


def _keys(value: Any) -> Iterator[str]:
    """Yield all keys in a value, at any depth."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _keys(item)
    elif isinstance(value, list):
        for item in value:
            yield from _keys(item)


def _parts(every: list[Any], parts: Sequence[str] | None, where: str) -> list[Any]:
    """Return the parts in the order of the settings, or all."""
    if parts is None:
        return every
    known = [one["abbr"] for one in every]
    for part in parts:
        if part not in known:
            advice = _close(part, known) or f"; it has {', '.join(known[:5])}"
            raise ButlerError(f"{where}: OpenCompass has no part {part} of it{advice}")
    return [one for part in parts for one in every if one["abbr"] == part]


class _Place:
    """Where the data are: the user's path stands for what all `path`s of a configuration share.

    Where they are all the same, that is the whole of it; where they differ, the part that differs
    stays below the user's path.
    """

    def __init__(self, every: Sequence[dict[str, Any]], path: Path, where: str) -> None:
        self.path, self.where = path.resolve(), where
        paths = {_local(found[1]) for one in every if (found := self._key(one))}
        self.shared = PurePosixPath(os.path.commonpath(paths) if paths else "")

    def _key(self, one: dict[str, Any]) -> tuple[str, str] | None:
        """Return the key that holds a data set's path, and the path that OpenCompass has there."""
        key = FILE_KEYS.get(one.get("path") or "", "path")
        value = one.get(key)
        return (key, value) if isinstance(value, str) and value else None

    def put(self, one: dict[str, Any]) -> None:
        """Replace a data set's path by the user's, also where its scoring reads the same."""
        found = self._key(one)
        if found is None:
            raise ButlerError(
                f"{self.where} does not take the data of {one['abbr']} from a path, which is not "
                "supported"
            )
        key, old = found
        rest = _local(old).relative_to(self.shared)
        new = self.path / rest
        # A configuration of one file: the user may name the file, or the folder that holds it.
        if rest == PurePosixPath() and self.shared.suffix and self.path.is_dir():
            new = self.path / self.shared.name
        if not new.exists():
            raise ButlerError(
                f"{self.where} needs {new}, which is missing; in OpenCompass' layout it is "
                f"{_local(old)}"
            )
        # Some loaders put a file's name right behind it.
        text = f"{new}/" if _kept_at(old).endswith("/") else str(new)
        one[key] = text
        evaluator = one["eval_cfg"]["evaluator"]
        evaluator |= {name: text for name, value in evaluator.items() if value == old}


def _kept_at(path: str) -> str:
    """Return where OpenCompass keeps data that it may call by the name of a hub."""
    return str(DATASETS_MAPPING.get(path, {}).get("local") or path)


def _local(path: str) -> PurePosixPath:
    return PurePosixPath(_kept_at(path))


def _with(
    one: dict[str, Any], settings: OpenCompassSettings, place: _Place, where: str
) -> dict[str, Any]:
    """Return a data set with the user's settings."""
    place.put(one)
    # Answers are greedy, so a second run of a question would be the first once more.
    one.pop("n", None)
    one.pop("k", None)
    if settings.split is not None:
        one["reader_cfg"]["test_split"] = settings.split
    if settings.shots is not None:
        _set_shots(one["infer_cfg"], settings.shots, f"{where}: shots of {one['abbr']}")
    inferencer = one["infer_cfg"]["inferencer"]
    if settings.max_new_tokens is not None:
        inferencer["max_out_len"] = settings.max_new_tokens
    if not inferencer.get("max_out_len"):
        raise ButlerError(
            f"{where}: OpenCompass does not say how long an answer to {one['abbr']} is; set "
            "max_new_tokens"
        )
    # How many are asked at a time is the server's matter.
    for key in ("batch_size", "max_seq_len"):
        inferencer.pop(key, None)
    return one


def _set_shots(infer: dict[str, Any], shots: int, where: str) -> None:
    """Ask with so many examples, the first of those that the data set has for it."""
    retriever = infer["retriever"]
    if retriever["type"].rpartition(".")[2] != FixKRetriever.__name__:
        raise ButlerError(
            f"{where} cannot be changed: its configuration fixes the examples in the prompt, or "
            "asks without any; leave shots null"
        )
    if shots:
        retriever["fix_id_list"] = list(range(shots))
        return
    # As OpenCompass' own configurations without examples: the template is the prompt's.
    infer["retriever"] = {"type": "opencompass.openicl.icl_retriever.ZeroRetriever"}
    template = infer.pop("ice_template", None)
    infer.setdefault("prompt_template", template)
