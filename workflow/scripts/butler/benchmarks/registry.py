"""The kinds of benchmark that there are: every module or package beside this one that has one."""

import pkgutil
from importlib import import_module
from pathlib import Path

from butler.benchmarks.base import Benchmark

HERE = Path(__file__).parent


def _found() -> dict[str, type[Benchmark]]:
    """Return the kinds by name, in the order of their names."""
    kinds: dict[str, type[Benchmark]] = {}
    for module in pkgutil.iter_modules([str(HERE)]):
        loaded = import_module(f"butler.benchmarks.{module.name}")
        for one in vars(loaded).values():
            if isinstance(one, type) and issubclass(one, Benchmark) and "kind" in vars(one):
                kinds[one.kind] = one
    return dict(sorted(kinds.items()))


KINDS = _found()
