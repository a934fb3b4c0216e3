"""The files that say what differs from config/config.yaml, read by us.

Snakemake's own --configfile ends in a traceback where a file is missing, and names neither file nor
line where one is no YAML.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from butler.errors import ButlerError
from butler.settings.messages import Place
from butler.yaml_files import read_yaml

KEY = "overlays"
DEFAULTS = "config/config.yaml"
ABSENT = object()


class Layers(dict[str, Any]):
    """Mappings joined, later values first; it knows which of them has a key.

    Args:
        layers: each mapping with its file's name.
    """

    def __init__(self, layers: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        super().__init__(joined(*(values for _, values in layers)))
        self.layers = layers

    def file_of(self, place: Place) -> str:
        """Return the file whose value of a key counts; keys and numbers in lists lead to it.

        It is "config" where no file has the key, or several have a part of its value.
        """
        found = []
        for name, values in self.layers:
            value: Any = values
            for part in place:
                if isinstance(value, Mapping):
                    value = value.get(part, ABSENT)
                elif not isinstance(value, list):  # which is one file's as a whole
                    value = ABSENT
            if value is not ABSENT:
                found.append((name, value))
        parts = [isinstance(value, Mapping) for _, value in found[-2:]]
        return "config" if not found or parts == [True, True] else found[-1][0]


def joined(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Return mappings as one, later values first; mappings within them are joined the same way."""
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
            result[key] = joined(result[key], value) if both else value
    return result


def configuration(
    repository: Path,
    named: Any = None,
    more: Mapping[str, Any] | None = None,
    called: str = "--config",
) -> Layers:
    """Return the repository's configuration with overlays and single keys; later values count.

    Args:
        named: the overlays, as `read_overlays` takes them, here or in the repository.
        more: keys that count most.
        called: what an error calls these.

    Raises:
        ButlerError: one sentence that names the file, and its line if it is no YAML.
    """
    defaults = read_yaml(repository / DEFAULTS)
    overlays = read_overlays(named, [Path(), repository])
    return Layers([(DEFAULTS, defaults), *overlays.layers, (called, more or {})])


def read_overlays(named: Any, folders: Sequence[Path], above: tuple[Path, ...] = ()) -> Layers:
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
    wanted = [name.strip() for name in names if name.strip()]
    return Layers([one for name in wanted for one in _overlay(name, folders, above)])


def _overlay(
    name: str, folders: Sequence[Path], above: tuple[Path, ...]
) -> list[tuple[str, Mapping[str, Any]]]:
    """Return an overlay, and before it those that it builds on, each with its name."""
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
    return [*below.layers, (name, values)]
