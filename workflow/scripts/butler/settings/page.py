"""The reference of settings for people, docs/settings.md, made of the JSON Schema.

The converters that were looked at (jsonschema2md, jsonschema-markdown) write a section for each
definition under its class's name; here keys stand under the names that an overlay gives them.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]

HEAD = """# Settings

Every key that a run reads, what it takes and its default. The defaults are the demo's and stand in
[config/config.yaml](../config/config.yaml); give what differs as
[an overlay](your_own.md#overlays). A key that is unknown or a value that is out of bounds stops a
run before its first job.

(Made of config/schema.yaml by `workflow/scripts/write_config.py`; not edited by hand.)
"""
COLUMNS = ["| key | takes | default | meaning |", "| --- | --- | --- | --- |"]
BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def settings_page(schema: Schema) -> str:
    """Return the page in Markdown; `schema` is Settings.model_json_schema()."""
    properties: dict[str, Schema] = schema["properties"]
    sections = {name: one for name, one in properties.items() if "$ref" in one}
    plain = {name: one for name, one in properties.items() if name not in sections}
    parts = [HEAD, "## Keys outside sections\n", *COLUMNS, *_rows(schema, plain), ""]
    for name, one in sections.items():
        parts += _section(schema, name, _resolved(schema, one))
    for one in properties["benchmarks"]["items"]["oneOf"]:
        kind = _resolved(schema, one)
        label = kind["properties"]["kind"]["const"]
        parts += _section(schema, f"benchmarks, kind {label}", kind)
    return "\n".join(parts).rstrip() + "\n"


def _section(schema: Schema, title: str, section: Schema) -> list[str]:
    text = " ".join(section["description"].split())
    return [
        f"## {title}\n",
        _linked(text) + "\n",
        *COLUMNS,
        *_rows(schema, section["properties"]),
        "",
    ]


def _rows(schema: Schema, properties: dict[str, Schema], before: str = "") -> Iterator[str]:
    """Yield a row for each key; those of a mapping follow it, as `mapping.key`."""
    for name, one in properties.items():
        whole = _resolved(schema, one)
        inner = [_resolved(schema, part) for part in (whole, *whole.get("anyOf", []))]
        deeper = next((part for part in inner if "properties" in part), {})
        text = " ".join((one.get("description") or deeper.get("description", "")).split())
        # config.yaml has no other place for the choices; here they stand in their own column.
        text = re.sub(r"^\w[\w.]*( \| \w+)+(: |$)", "", text)
        default = f"`{json.dumps(one['default'], ensure_ascii=False)}`" if "default" in one else ""
        cells = [f"`{before}{name}`", _takes(schema, whole), default, _linked(text)]
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
        yield from _rows(schema, deeper.get("properties", {}), f"{before}{name}.")


def _takes(schema: Schema, one: Schema) -> str:
    """Return in words what a key takes."""
    one = _resolved(schema, one)
    if "anyOf" in one:
        return " or ".join(_takes(schema, part) for part in one["anyOf"])
    if values := one.get("enum", [one["const"]] if "const" in one else []):
        return ", ".join(f"`{json.dumps(v) if isinstance(v, bool) else v}`" for v in values)
    if one.get("type") == "array":
        items = one.get("items", {})
        return "list" if "oneOf" in items else f"list of {_takes(schema, items)}"
    names = {"object": "mapping", "string": "text", "boolean": "`true`, `false`", "null": "`null`"}
    kind = names.get(one.get("type", ""), one.get("type", "any"))
    bounds = ", ".join(f"{sign} {one[key]}" for key, sign in BOUNDS.items() if key in one)
    return f"{kind} {bounds}".rstrip()


def _resolved(schema: Schema, one: Schema) -> Schema:
    return schema["$defs"][one["$ref"].rsplit("/", 1)[1]] if "$ref" in one else one


def _linked(text: str) -> str:
    return re.sub(r"docs/(\w+\.md)", r"[\1](\1)", text)
