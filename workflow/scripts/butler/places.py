"""Where the artefacts of a run lie: a plain run's as the rules name them, a scenario's by stage.

A scenario is the workflow's own rules once more, with its settings. What a job makes lies in
`runs/stages/STAGE/`, where STAGE ends in a hash of the settings that the job reads: its rule's
params, and the same of all stages that it takes something from. So jobs that are equal in several
scenarios have one folder, and are one job; and a changed setting is another folder, so that what
other scenarios made is never touched. Of changed files and code Snakemake's own triggers tell, as
in a plain run: they are no part of the hash.
"""

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from snakemake.common import get_function_params
from snakemake.io import apply_wildcards, is_callable, regex_from_filepattern
from snakemake.iocontainers import Wildcards
from snakemake.path_modifier import PathModifier
from snakemake.rules import Rule

from butler.scenario_folders import FOLDER, STAGE_FOLDER

PREFIX = f"{STAGE_FOLDER}{{stage}}"  # of a scenario's module
DIGITS = 12  # of a hash: of 10,000 stages two are alike once in 5 million workflows
DERIVED = {"input", "output", "resources", "threads"}  # what Snakemake does not compare


class Places:
    """A plain run: everything lies where the rules say."""

    scenario = ""  # its name; a plain run is none
    rules = ""  # how the names of its rules begin
    links: str | tuple[()] = ()  # what says that `folder` is as it should be; nothing needs to

    def of(self, path: str) -> str:
        """Return where an artefact lies."""
        return path

    def folder(self, path: str) -> str:
        """Return where a folder with all of the run's artefacts of that folder is."""
        return path


class Job(NamedTuple):
    """A job of a scenario: its rule as a plain run names it, and its wildcards but the stage."""

    rule: str
    wildcards: tuple[tuple[str, str], ...]


class ScenarioPlaces(Places):
    """The artefacts of one scenario."""

    def __init__(self, scenario: str, workflow: Path) -> None:
        """Take a scenario's name and the folder of our own code, which is no setting."""
        self.scenario = scenario
        self.rules = f"{scenario}_"
        self.links = f"{FOLDER}/{scenario}/links.txt"
        self._code = f"{workflow.as_posix()}/"
        self._storage = ""
        self._rules: dict[str, Rule] = {}
        self._inputs: dict[str, list[tuple[str | None, Any]]] = {}
        self._outputs: list[tuple[str, re.Pattern[str]]] = []
        self._producers: dict[str, Job | None] = {}
        self._needs: dict[Job, list[str]] = {}
        self._stages: dict[Job, str] = {}

    def take(self, rules: Collection[Rule], modifier: PathModifier) -> None:
        """Take the rules of the scenario's module, and lead their inputs to where stages make them.

        Args:
            rules: all of them; the prefix of their paths is PREFIX.
            modifier: what Snakemake does with paths that are in no module.
        """
        prefix = modifier.workflow.storage_settings.default_storage_prefix
        self._storage = f"{prefix.rstrip('/')}/" if prefix else ""
        for rule in rules:
            name = rule.name.removeprefix(self.rules)
            self._rules[name] = rule
            self._inputs[name] = list(rule.input._allitems())
            patterns = [regex_from_filepattern(self._told(output)) for output in rule.output]
            self._outputs += [(name, re.compile(pattern)) for pattern in patterns]
            rule.input_modifier = modifier
            rule.dependencies.clear()
            rule._input = type(rule.input)()
            items = [(key, self._leading(item)) for key, item in self._inputs[name]]
            rule.set_input(
                *(item for key, item in items if key is None),
                **{key: item for key, item in items if key is not None},
            )

    def jobs(self, targets: Iterable[str]) -> dict[str, Job]:
        """Return all jobs behind targets, as a plain run names these, by stage.

        Raises:
            KeyError: if no stage makes a target; a fault of ours.
        """
        found: dict[str, Job] = {}
        waiting = []
        for target in targets:
            waiting.append(self._producer(target))
            if waiting[-1] is None:
                raise KeyError(f"no stage of scenario {self.scenario} makes {target}")
        while waiting:
            job = waiting.pop()
            if job is not None and self._stage(job) not in found:
                found[self._stage(job)] = job
                waiting += map(self._producer, self._needed(job))
        return found

    def claim(self, stages: Mapping[str, Job]) -> None:
        """Let the scenario's rules make these stages alone, so that each job has one rule."""
        for name, rule in self._rules.items():
            own = [re.escape(stage) for stage, job in stages.items() if job.rule == name]
            rule.set_wildcard_constraints(stage="|".join(own) or "(?!)")
            rule.update_wildcard_constraints()

    def of(self, path: str) -> str:
        """Return where an artefact of the scenario lies; a path that no stage makes is itself."""
        job = self._producer(path)
        return path if job is None else f"{PREFIX.format(stage=self._stage(job))}/{path}"

    def folder(self, path: str) -> str:
        """Return the folder in which links show the scenario's artefacts of a folder."""
        return f"{FOLDER}/{self.scenario}/{path}"

    def products(self, targets: Iterable[str]) -> list[str]:
        """Return all that the jobs behind `targets` make, logs among it, and where it lies."""
        return [
            apply_wildcards(str(product), {**dict(job.wildcards), "stage": stage})
            for stage, job in self.jobs(targets).items()
            for product in self._rules[job.rule].products()
        ]

    def _leading(self, item: Any) -> Any:
        """Return an input as a function of wildcards that says where it is made."""

        def where(wildcards: Wildcards) -> str | list[str]:
            found = self._plain(item, wildcards)
            return self.of(found) if isinstance(found, str) else [self.of(one) for one in found]

        return where

    def _needed(self, job: Job) -> list[str]:
        """Return a job's inputs as a plain run names them."""
        if job not in self._needs:
            wildcards = Wildcards(fromdict=dict(job.wildcards))
            items = [item for _, item in self._inputs[job.rule]]
            self._needs[job] = _flat(self._plain(item, wildcards) for item in items)
        return self._needs[job]

    def _plain(self, item: Any, wildcards: Wildcards) -> str | list[str]:
        """Return an input of a rule with these wildcards, as a plain run names it."""
        if is_callable(item):
            found = item(wildcards)
            return found if isinstance(found, str) else _flat(found)
        if isinstance(item, str):
            return apply_wildcards(self._told(item).removeprefix(f"{PREFIX}/"), wildcards)
        return _flat(self._plain(one, wildcards) for one in item)

    def _told(self, path: str) -> str:
        """Return a path or pattern of a rule without what a default storage puts before it."""
        stored = getattr(path, "storage_object", None)
        if stored is None:
            return str(path)
        # The pattern has its wildcards' constraints, unlike the name that the storage asks for.
        _, prefix, rest = str(path).partition(STAGE_FOLDER)
        return f"{prefix}{rest}" or str(stored.query).removeprefix(self._storage)

    def _producer(self, path: str) -> Job | None:
        """Return the job that makes an artefact, None if it is made by no stage of the scenario."""
        if path not in self._producers:
            self._producers[path] = self._find_producer(path)
        return self._producers[path]

    def _find_producer(self, path: str) -> Job | None:
        # Its wildcards do not depend on the stage, so any will do.
        made = f"{PREFIX.format(stage='any')}/{path}"
        for name, output in self._outputs:
            if match := output.fullmatch(made):
                found = match.groupdict()
                del found["stage"]
                return Job(name, tuple(sorted(found.items())))
        return None

    def _stage(self, job: Job) -> str:
        """Return a job's stage: its rule, its wildcards, and the hash of the settings it reads."""
        if job not in self._stages:
            wildcards = Wildcards(fromdict=dict(job.wildcards))
            # Files of ours are as they are for every scenario, and may come and go.
            read = [self.of(one) for one in self._needed(job) if not one.startswith(self._code)]
            params = list(_compared(self._rules[job.rule], wildcards))
            text = json.dumps([job, params, sorted(read)], ensure_ascii=False)
            digest = hashlib.sha256(text.encode()).hexdigest()[:DIGITS]
            self._stages[job] = "-".join([job.rule, *dict(job.wildcards).values(), digest])
        return self._stages[job]


def _compared(rule: Rule, wildcards: Wildcards) -> Iterator[tuple[str, Any]]:
    """Yield the params of a job that Snakemake compares with those of an earlier run."""
    for name, value in rule.params._allitems():
        if not callable(value):
            yield name, value
        elif not DERIVED & set(get_function_params(value)):
            yield name, value(wildcards)


def _flat(items: Iterable[str | list[str]]) -> list[str]:
    return list(chain.from_iterable([one] if isinstance(one, str) else _flat(one) for one in items))
