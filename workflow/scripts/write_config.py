"""Write config/config.yaml, config/schema.yaml and docs/settings.md from the typed settings.

The first is every setting (butler/settings) with its default and what it means; the second is the
same as JSON Schema, for editors; the third is made of that, for people. None is edited by hand: a
test fails when one is not what this makes.
"""

import argparse
from io import StringIO
from pathlib import Path
from typing import Any

import butler.interpreter  # noqa: F401

import yaml
from pydantic import BaseModel
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from butler.errors import run_cli
from butler.files import atomic_open
from butler.settings.page import settings_page
from butler.settings.run import Settings

ROOT = Path(__file__).resolve().parents[2]
COLUMN = 24  # where the comments begin, if the value leaves room


def documented(settings: BaseModel, shown: set[str] | None = None) -> CommentedMap:
    """Return settings as YAML's mapping, each key with its description as comment.

    `shown` are the keys to write; None writes all.
    """
    values = CommentedMap()
    for name, field in type(settings).model_fields.items():
        if shown is not None and name not in shown:
            continue
        value = getattr(settings, name)
        values[name] = _plain(value)
        if isinstance(value, BaseModel):
            # A section is told by its own docstring, unless the key says more.
            text = field.description or type(value).__doc__
        else:
            text = field.description
        if text:
            values.yaml_add_eol_comment(" ".join(text.split()), name, column=COLUMN)
    return values


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return documented(value)
    if isinstance(value, list) and value and isinstance(value[0], BaseModel):
        # Of an entry only what differs from its kind's defaults.
        return CommentedSeq([documented(one, one.model_fields_set) for one in value])
    if isinstance(value, list | dict):
        inline = CommentedSeq(value) if isinstance(value, list) else CommentedMap(value)
        inline.fa.set_flow_style()
        return inline
    return value


def config_text() -> str:
    """Return config.yaml: the defaults, which are the demo."""
    writer = YAML()
    writer.width = 1000
    writer.indent(mapping=2, sequence=4, offset=2)
    writer.representer.add_representer(
        type(None), lambda dumper, _: dumper.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    stream = StringIO()
    values = documented(Settings())
    for name, value in values.items():
        if isinstance(value, CommentedMap) or name == "variants":
            values.yaml_set_comment_before_after_key(name, before="\n")
    writer.dump(values, stream)
    lines = [f"# {line.strip()}".rstrip() for line in (Settings.__doc__ or "").strip().split("\n")]
    made = "# Made by workflow/scripts/write_config.py of workflow/scripts/butler/settings."
    return "\n".join([*lines, made, "", stream.getvalue()])


def schema_text() -> str:
    """Return schema.yaml: JSON Schema of the configuration."""
    made = "# Made by workflow/scripts/write_config.py of workflow/scripts/butler/settings.\n"
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    schema |= Settings.model_json_schema()
    return made + yaml.safe_dump(schema, allow_unicode=True, sort_keys=False, width=100)


def page_text() -> str:
    """Return settings.md: the schema as tables."""
    return settings_page(Settings.model_json_schema())


FILES = {
    "config/config.yaml": config_text,
    "config/schema.yaml": schema_text,
    "docs/settings.md": page_text,
}


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, default=ROOT, help="repository (%(default)s)")
    args = parser.parse_args()
    for name, make in FILES.items():
        with atomic_open(args.into / name) as stream:
            stream.write(make())


if __name__ == "__main__":
    run_cli(main)
