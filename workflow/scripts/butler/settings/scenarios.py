"""The scenarios of a file: runs side by side, each by what differs from the run's own settings."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import yaml

from butler.errors import ButlerError
from butler.files import atomic_write_text
from butler.scenario_folders import FOLDER, KEPT_COMMON, KEPT_SCENARIOS, STAGES
from butler.settings.overlays import KEY as OVERLAYS
from butler.settings.overlays import Layers, read_overlays
from butler.settings.run import Settings, read_settings
from butler.yaml_files import read_yaml

KEY = "scenarios"
EXAMPLE = "config/scenarios_demo.yaml"
# What holds for all: one rule decides over them, and one machine runs them.
OF_ALL = {
    "decision": "one rule decides over all scenarios",
    "environments": "all scenarios use the same ones",
}
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")


@dataclass(frozen=True)
class Scenario:
    """A run: its name, its whole configuration as it was given, and that as typed settings.

    `where` is what an error calls it: its file and name.
    """

    name: str
    where: str
    values: Mapping[str, Any]
    settings: Settings


def read_scenarios(
    named: Any, folders: Sequence[Path], common: Mapping[str, Any], rules: Iterable[str] = ()
) -> list[Scenario]:
    """Return the scenarios of a file, in its order.

    The file maps names to overlays. An overlay may name overlays that it builds on, relative to
    the file's own folder.

    Args:
        named: the file's name.
        folders: where a relative name may start, the first that has it counts.
        common: the configuration that the scenarios differ from.
        rules: names of the workflow's rules; a scenario's are called NAME_RULE, and may not be
            among them.

    Raises:
        ButlerError: one sentence that names the file, and what is wrong with which scenario.
    """
    found = [folder / str(named) for folder in folders if (folder / str(named)).is_file()]
    if not found:
        raise ButlerError(
            f"scenario file {named} is no file; give one such as {EXAMPLE}: "
            f"snakemake scenarios --config {KEY}={EXAMPLE}"
        )
    content = read_yaml(found[0])
    if not isinstance(content, Mapping) or not content:
        raise ButlerError(
            f"scenario file {named} holds no scenario; it takes a name and what differs, as "
            "`fast: {train: {learning_rate: 1.0e-3}}`"
        )
    scenarios = []
    limit = read_settings(common).checks.cut_samples
    for name, overlay in content.items():
        _check_name(name, str(named), rules)
        where = f"{named}, scenario {name}"
        try:
            values = _values(overlay, found[0].parent, common)
            scenarios.append(Scenario(name, where, values, read_settings(values, (OVERLAYS,))))
            if scenarios[-1].settings.checks.cut_samples != limit:
                raise ButlerError(
                    "checks.cut_samples cannot differ, as scenarios share the stage that it stops; "
                    "set it in the run's own settings"
                )
        except ButlerError as error:
            raise ButlerError(f"{where}: {error}") from None
    _check_names_apart(scenarios, str(named))
    for one, other in combinations(scenarios, 2):
        if one.settings == other.settings:
            raise ButlerError(
                f"{named}: scenarios {one.name} and {other.name} have the same settings; change "
                "one of them or take it out"
            )
    return scenarios


def keep_scenarios(scenarios: Sequence[Scenario], common: Settings) -> None:
    """Keep the configuration of a run with scenarios, in the folder that it runs in."""
    kept = {
        one.name: one.settings.model_dump(mode="json", exclude=set(OF_ALL)) for one in scenarios
    }
    for path, values in ((KEPT_COMMON, common.model_dump(mode="json")), (KEPT_SCENARIOS, kept)):
        atomic_write_text(path, yaml.safe_dump(values, allow_unicode=True, sort_keys=False))


def no_scenarios() -> None:
    """Raise ButlerError, as `scenarios` was asked for without a file of them."""
    raise ButlerError(
        f"`scenarios` takes a file of scenarios: snakemake scenarios --config {KEY}={EXAMPLE}"
    )


def _check_name(name: Any, file: str, rules: Iterable[str]) -> None:
    """Stop unless a name can be that of a folder and the beginning of names of rules."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ButlerError(
            f"{file}: {name!r} cannot name a scenario; take a letter and then at most 39 letters, "
            "digits and underscores"
        )
    if name == STAGES:
        raise ButlerError(
            f"{file}: a scenario cannot be called {name}: {FOLDER}/{name} holds what the stages "
            "of all scenarios made; rename it"
        )
    if taken := [rule for rule in rules if rule.startswith(f"{name}_")]:
        raise ButlerError(
            f"{file}: a scenario cannot be called {name}: its jobs would have names of the "
            f"workflow's own, such as {taken[0]}; rename it"
        )


def _check_names_apart(scenarios: Sequence[Scenario], file: str) -> None:
    """Stop unless no name begins as another's jobs do, or is the same where case is none."""
    for one, other in combinations(sorted(scenario.name for scenario in scenarios), 2):
        if other.startswith(f"{one}_") or one.lower() == other.lower():
            raise ButlerError(f"{file}: {one} and {other} are named too alike; rename one")


def _values(overlay: Any, folder: Path, common: Mapping[str, Any]) -> Layers:
    """Return the whole configuration of a scenario; it knows which overlay has a key."""
    if overlay is not None and not isinstance(overlay, Mapping):
        raise ButlerError(f"takes a mapping of keys to values, found {overlay!r}")
    own = dict(overlay or {})
    below = read_overlays(own.pop(OVERLAYS, None), [folder])
    for key, why in OF_ALL.items():
        if key in below or key in own:
            raise ButlerError(f"{key} cannot differ, as {why}; set it in the run's own settings")
    return Layers([("config", common), *below.layers, ("config", own)])
