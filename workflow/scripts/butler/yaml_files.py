"""YAML that others wrote, as plain values or as one sentence."""

from pathlib import Path
from typing import Any

import yaml

from butler.errors import ButlerError

MOST_VALUES = 100_000


class _OneOfEachKey(yaml.SafeLoader):
    """Refuses a key that stands twice in a mapping; PyYAML keeps the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key {key.value} stands twice", problem_mark=key.start_mark
                )
            if isinstance(key, yaml.ScalarNode):
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def parse_yaml(content: bytes, name: str) -> Any:
    """Return the value in `content`; `name` is what an error calls it.

    Raises:
        ButlerError: if it is no YAML, or holds a value that PyYAML cannot make.
    """
    try:
        value = yaml.load(content.decode("utf-8-sig"), _OneOfEachKey)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        said = " ".join(str(error.problem or error.context).split())[:200]
        raise ButlerError(f"{name} is not YAML: {where}{said}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ButlerError(f"{name} is not YAML: {' '.join(str(error).split())[:300]}") from error
    # A tagged or date-like value that is none (`!!float x`, 2001-99-99), or brackets too deep.
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ButlerError(f"{name} holds a value that is none of its type: {error}") from error
    except RecursionError as error:
        raise ButlerError(f"{name} is nested too deep to be read") from error
    check_size(value, name)
    return value


def check_size(value: Any, name: str) -> None:
    """Refuse a value that a page of YAML blows up: aliases of aliases, or a list within itself.

    Raises:
        ButlerError: if there are more than MOST_VALUES in it.
    """
    found, left = 0, [value]
    while left:
        found += 1
        if found > MOST_VALUES:
            raise ButlerError(f"{name} holds more than {MOST_VALUES} values; it is no such file")
        one = left.pop()
        if isinstance(one, dict):
            left += one.values()
        elif isinstance(one, list):
            left += one


def read_yaml(path: Path) -> Any:
    """Return the value in a YAML file.

    Raises:
        ButlerError: if it is no YAML, naming the file.
    """
    return parse_yaml(path.read_bytes(), str(path))
