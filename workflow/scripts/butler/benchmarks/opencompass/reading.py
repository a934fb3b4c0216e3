"""The questions of OpenCompass' data sets, loaded by its own loaders (needs OpenCompass)."""

import contextlib
import io
import json
import logging
import re
import tempfile
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import opencompass
from mmengine.config import ConfigDict
from opencompass.registry import ICL_PROMPT_TEMPLATES
from opencompass.utils import build_dataset_from_cfg
from opencompass.utils.prompt import safe_format

from butler.benchmarks.opencompass import OpenCompassSettings
from butler.benchmarks.opencompass.configured import configured
from butler.benchmarks.opencompass.gold import gold_text
from butler.benchmarks.opencompass.scoring import rehearse
from butler.benchmarks.question_sheet import Question
from butler.errors import ButlerError

GROUPS = Path(opencompass.__file__).parent / "configs" / "summarizers" / "groups"
NOT_ASKED = ("BOT", "assistant", "SYSTEM", "system")  # roles whose turns are no question


def read_data_sets(settings: OpenCompassSettings, repository: Path) -> list[Question]:
    """Load the data sets as an evaluation will and return their questions, in its order.

    Raises:
        ButlerError: if one cannot be loaded, has no question, or fewer examples than are shown.
    """
    where = f"benchmark {settings.name}"
    chosen = configured(settings, repository)
    groups = _groups()
    questions: list[Question] = []
    for one in chosen:
        rows, examples = _load(one, settings, where)
        _check_examples(one, examples, settings, where)
        template = one["infer_cfg"].get("prompt_template") or one["infer_cfg"]["ice_template"]
        output = one["reader_cfg"].get("output_column")
        _check_columns(one, rows, settings, where)
        texts = [_question(template, row, output) for row in rows]
        _check_scorer(one, texts, where)
        golds = [gold_text(row[output]) if output else "" for row in rows]
        group = groups.get(one["abbr"], "")
        questions += [
            Question(one["abbr"], index, text, gold, group=group)
            for index, (text, gold) in enumerate(zip(texts, golds, strict=True))
        ]
    return questions


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep progress bars and the library's own log off the terminal; errors come as exceptions."""
    logging.disable(logging.WARNING)
    aside = io.StringIO()
    try:
        with contextlib.redirect_stdout(aside), contextlib.redirect_stderr(aside):
            yield
    finally:
        logging.disable(logging.NOTSET)


def _said(error: BaseException) -> str:
    """Return what a library said, in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:300] if text else type(error).__name__


def _load(one: dict[str, Any], settings: OpenCompassSettings, where: str) -> tuple[Any, Any]:
    """Return the questions' rows and the examples' rows of a data set."""
    try:
        with _quiet():
            loaded = build_dataset_from_cfg(ConfigDict(one))
            rows, examples = loaded.test, loaded.train
    # A loader fails in any way there is on data that are not laid out as it expects.
    except Exception as error:
        split = one["reader_cfg"].get("test_split")
        if isinstance(error, KeyError) and split and error.args == (split,):
            raise ButlerError(f"{where}: {one['abbr']} has no split {split}") from error
        raise ButlerError(
            f"{where}: OpenCompass cannot load {one['abbr']} from path {settings.path} "
            f"({_said(error)}); lay the data out as OpenCompass wants them"
        ) from error
    if not len(rows):
        raise ButlerError(f"{where}: {one['abbr']} at path {settings.path} has no question")
    return rows, examples


def _check_examples(
    one: dict[str, Any], examples: Any, settings: OpenCompassSettings, where: str
) -> None:
    shown = one["infer_cfg"]["retriever"].get("fix_id_list")
    if shown and max(shown) >= len(examples):
        raise ButlerError(
            f"{where}: {one['abbr']} at path {settings.path} has {len(examples)} examples, but its "
            f"prompt shows {len(shown)} up to number {max(shown) + 1}; add some, or set shots"
        )


def _check_columns(
    one: dict[str, Any], rows: Any, settings: OpenCompassSettings, where: str
) -> None:
    """The columns that the prompt shows must be there, and right answers that are not all empty."""
    at = f"{where}: {one['abbr']} at path {settings.path}"
    output, prompt = one["reader_cfg"].get("output_column"), json.dumps(one["infer_cfg"])
    shown = [name for name in _words(one["reader_cfg"]["input_columns"]) if f"{{{name}}}" in prompt]
    missing = [name for name in [*shown, output] if name and name not in rows.column_names]
    if missing:
        raise ButlerError(
            f"{at} has no column {', '.join(missing)}; it has {', '.join(rows.column_names)}"
        )
    if output and all(gold in (None, "") for gold in rows[output]):
        raise ButlerError(
            f"{at} has no right answers (column {output} is empty); some data sets publish none of "
            "their test split: choose another split"
        )


def _check_scorer(one: dict[str, Any], texts: list[str], where: str) -> None:
    """Try the scorer: one that lacks a package, or judges no single answer, says so now."""
    try:
        with _quiet(), tempfile.TemporaryDirectory() as folder:
            why = rehearse(one, texts, folder)
    except Exception as error:  # scorers of OpenCompass are programs of many authors
        why = _said(error)
    if why:
        raise ButlerError(
            f"{where}: OpenCompass' scorer of {one['abbr']} cannot be used ({why}); choose other "
            "parts, or another data set"
        )


def _words(names: str | list[str]) -> list[str]:
    return names.split() if isinstance(names, str) else list(names)


def _question(template: dict[str, Any], row: Mapping[str, Any], output: str | None) -> str:
    """Return what the template makes of a row, from its first column to its last, for people.

    That leaves out the examples, and what is the same for every question.
    """
    shown = {name: value for name, value in row.items() if name != output}
    prompts = list(_prompts(template, shown))
    columns = re.compile("|".join(r"\{" + re.escape(name) + r"\}" for name in shown))
    parts = []
    for prompt in prompts:
        found = list(columns.finditer(prompt))
        if found:
            parts.append(safe_format(prompt[found[0].start() : found[-1].end()], **shown))
    return "\n".join(parts) or "\n".join(safe_format(prompt, **shown) for prompt in prompts)


def _prompts(template: dict[str, Any], row: Mapping[str, Any]) -> Iterator[str]:
    """Yield the templates of what is asked, without the roles that answer or instruct."""
    built = ICL_PROMPT_TEMPLATES.build(ConfigDict(template))
    if built.prompt_type == "raw_messages":
        for turn in built.messages:
            if isinstance(turn, dict) and "expand_column" in turn:
                said = row.get(turn["expand_column"]) or []
                # What a row brings itself is no template; it is shown as it stands.
                yield from (str(one.get("content", "")) for one in said if _asks(one))
            elif isinstance(turn, dict) and _asks(turn):
                yield _text(turn["content"])
        return
    body = built.template
    if isinstance(body, dict) and built.prompt_type == "origin":
        body = next(iter(body.values()))
    if isinstance(body, str):
        yield body
        return
    for section in ("begin", "round", "end"):
        turns = body.get(section, [])
        for turn in turns if isinstance(turns, list) else [turns]:
            if isinstance(turn, dict) and _asks(turn):
                yield turn.get("prompt", "")


def _asks(turn: Mapping[str, Any]) -> bool:
    return turn.get("role") not in NOT_ASKED


def _text(content: Any) -> str:
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)


def _groups() -> dict[str, str]:
    """Return the group of each data set: the first in OpenCompass' own lists that counts it.

    They list the parts of a whole, such as ceval-stem, before the whole.
    """
    found: dict[str, str] = {}
    for path in sorted(GROUPS.glob("*.py")):
        # As programs: mmengine, which loads configurations, calls nothing in some of these.
        with _quiet():
            lists = vars(import_module(f"opencompass.configs.summarizers.groups.{path.stem}"))
        for key, value in lists.items():
            for group in value if key.endswith("_summary_groups") else ():
                for subset in group.get("subsets", ()):
                    abbr = subset if isinstance(subset, str) else subset[0]
                    found.setdefault(abbr, group["name"])
    return found
