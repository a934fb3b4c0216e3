"""What pydantic finds wrong with a configuration, as one sentence that names the key."""

import difflib
import re
import reprlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

Place = tuple[int | str, ...]  # keys, and numbers in lists, that lead to a value
EXPONENT = re.compile(r"[+-]?\d+(?:\.\d*)?[eE][+-]?\d+")
TYPES = {
    "int_type": "integer",
    "int_from_float": "integer",
    "float_type": "number",
    "finite_number": "number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "none_required": "null",
}
BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "less_than_equal": ("at most", "le"),
    "greater_than": ("more than", "gt"),
    "less_than": ("less than", "lt"),
}


def first_wrong(
    error: ValidationError,
    values: Mapping[str, Any],
    model: type[BaseModel],
    beside: Collection[str],
) -> tuple[Place, str]:
    """Return the place of the first wrong key of `values`, and what is wrong, without a full stop.

    Args:
        error: what pydantic found.
        values: what it was found in.
        model: what the values were to be.
        beside: keys that may stand beside the model's own, and are no part of it.
    """
    errors = sorted(error.errors(), key=lambda one: _key(one, values))
    sentence = _sentence(_key(errors[0], values), errors, values, model, beside)
    return _place(errors[0], values), sentence


def _sentence(
    key: str,
    errors: Sequence[ErrorDetails],
    values: Mapping[str, Any],
    model: type[BaseModel],
    beside: Collection[str],
) -> str:
    first = errors[0]
    # A key that takes one of several types has an error for each of them.
    same = [one for one in errors if _key(one, values) == key]
    if first["type"] in ("extra_forbidden", "invalid_key"):
        own = {name for one in _models(model, first["loc"]) for name in one.model_fields}
        known = sorted(own | ({*beside} - {key} if len(first["loc"]) == 1 else set()))
        close = difflib.get_close_matches(key.rpartition(".")[2], known, n=1)
        advice = f"did you mean '{close[0]}'?" if close else f"known here: {', '.join(known)}"
        return f"unknown key '{key[:80]}'; {advice}"
    if first["type"] == "missing":
        return f"key '{key}' is missing"
    if first["type"] == "union_tag_not_found":
        return f"key '{key}.kind' is missing"
    if first["type"] == "union_tag_invalid":
        kinds = first["ctx"]["expected_tags"].replace("'", "")
        return f"key '{key}.kind' takes one of {kinds}, found '{first['ctx']['tag']}'"
    if first["type"] == "value_error":
        said = str(first["ctx"]["error"])
        # A rule over several keys names them itself.
        return said if key.rpartition(".")[2] in said else f"key '{key}' {said}"
    return f"key '{key}' {_wanted(same)}, found {reprlib.repr(first['input'])}"


def _wanted(same: Sequence[ErrorDetails]) -> str:
    """Return what a key takes, from the errors of all types that it may have."""
    choices = [one["ctx"]["expected"] for one in same if one["type"] == "literal_error"]
    if choices:
        words = re.sub(r" or |'", lambda found: ", " if found[0] == " or " else "", choices[0])
        words = re.sub(r"\b(None|True|False)\b", lambda found: _yaml(found[0]), words)
        return f"takes one of {words}"
    first = same[0]
    kind, context = first["type"], first.get("ctx", {})
    if kind in TYPES:
        types = dict.fromkeys(TYPES[one["type"]] for one in same if one["type"] in TYPES)
        text = first["input"]
        exponent = "number" in types and isinstance(text, str) and EXPONENT.fullmatch(text)
        # YAML 1.1 takes 2e-4 for a text.
        return f"takes {' or '.join(types)}" + (f" (write {float(text):.1e})" if exponent else "")
    if kind in BOUNDS:
        words, name = BOUNDS[kind]
        bound = context[name]
        return f"takes {words} {int(bound) if bound == int(bound) else bound}"
    if kind == "string_pattern_mismatch":
        return f"must match {context['pattern']}"
    if kind == "too_short":
        return f"takes at least {context['min_length']} of them"
    if kind == "string_too_short":
        return "takes a text that is not empty"
    return f"is not valid: {first['msg'][:300]}"


def _yaml(word: str) -> str:
    return {"None": "null"}.get(word, word.lower())


def _key(error: ErrorDetails, values: Any) -> str:
    """Return a wrong key as an error writes it, such as `train.lora_r` or `benchmarks[1].kind`."""
    parts = (f"[{one}]" if isinstance(one, int) else f".{one}" for one in _place(error, values))
    return "".join(parts).removeprefix(".")


def _place(error: ErrorDetails, values: Any) -> Place:
    """Return where a wrong key stands in `values`: the keys and numbers that lead to it.

    Between the keys of an error's place pydantic puts the names of the types that it tried; those
    are no keys of what was given.
    """
    place, at = [], values
    *parents, last = error["loc"] or ("",)
    for part in parents:
        try:
            at = at[part]
        except (KeyError, IndexError, TypeError):
            continue  # the name of a type
        place.append(part)
    given = last in at if isinstance(at, Mapping) else isinstance(last, int)
    return (*place, last) if given or error["type"] == "missing" else tuple(place)


def _models(model: Any, place: Place) -> list[type[BaseModel]]:
    """Return the models that the last part of a place may be a key of."""
    at = list(_flat(model))
    for part in place[:-1]:
        below = [one.model_fields[part].annotation for one in at if part in one.model_fields]
        tagged = [one for one in at if part in get_args(_kind(one))]
        at = tagged or [found for annotation in below for found in _flat(annotation)] or at
    return at


def _kind(model: type[BaseModel]) -> Any:
    field = model.model_fields.get("kind")
    return field.annotation if field else None


def _flat(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models that an annotation is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _flat(part)
