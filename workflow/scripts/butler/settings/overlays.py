"""The files that say what differs from config/config.yaml, read by us.

Snakemake's own --configfile ends in a traceback where a file is missing, and names neither file nor
line where one is no YAML.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from butler.errors import ButlerError
from butler.yaml_files import read_yaml

KEY = "overlays"


def joined(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Return mappings as one, later values first; mappings within them are joined the same way."""
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
            result[key] = joined(result[key], value) if both else value
    return result


def configuration(
    repository: Path, named: Any = None, more: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the repository's configuration with overlays and single keys; later values count.

    Args:
        named: the overlays, as `read_overlays` takes them, here or in the repository.
        more: keys that count most.

    Raises:
        ButlerError: one sentence that names the file, and its line if it is no YAML.
    """
    overlays = read_overlays(named, [Path(), repository])
    return joined(read_yaml(repository / "config" / "config.yaml"), overlays, more or {})


def read_overlays(
    named: Any, folders: Sequence[Path], above: tuple[Path, ...] = ()
) -> dict[str, Any]:
    """Return the overlays that `--config overlays=A,B` names, joined in that order.

    An overlay may itself name others that it builds on, relative to its own folder.

    Args:
        named: their names with commas between, or a list of them; None names none.
        folders: where a relative name may start, the first that has it counts.
        above: the overlays that name these.

    Raises:
        ButlerError: one sentence that names the file, and its line if it is no YAML.
    """
    names = named.split(",") if isinstance(named, str) else named or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ButlerError(f"{KEY} takes names of YAML files with commas between, found {named!r}")
    return joined(*(_overlay(name.strip(), folders, above) for name in names if name.strip()))


def _overlay(name: str, folders: Sequence[Path], above: tuple[Path, ...]) -> dict[str, Any]:
    found = [folder / name for folder in folders if (folder / name).is_file()]
    if not found:
        raise ButlerError(
            f"overlay {name} is no file; give names of YAML files: "
            f"snakemake all --config {KEY}=config/mine.yaml"
        )
    values = read_yaml(found[0]) or {}
    if not isinstance(values, dict):
        raise ButlerError(f"overlay {name} is no mapping of keys to values; see config/config.yaml")
    path = found[0].resolve()
    if path in above:
        raise ButlerError(f"overlay {name} builds on itself; take it out of its own {KEY}")
    below = read_overlays(values.pop(KEY, None), [path.parent], (*above, path))
    return joined(below, values)
