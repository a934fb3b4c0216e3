"""The kinds of benchmark that there are: every module or package beside this one that has one."""

import json
import pkgutil
from importlib import import_module
from pathlib import Path

from butler.benchmarks.base import Benchmark, BenchmarkSettings
from butler.errors import ButlerError

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


def read_benchmark(text: str) -> tuple[type[Benchmark], BenchmarkSettings]:
    """Return the kind and the settings in a command line's --benchmark, a JSON object.

    Raises:
        ButlerError: if it is none, names no kind, or has a wrong key.
    """
    try:
        values = json.loads(text)
        kind = KINDS[values["kind"]]
    except (ValueError, TypeError, KeyError) as error:
        raise ButlerError(
            f"--benchmark takes a JSON object with a kind ({', '.join(KINDS)}), found {text[:80]!r}"
        ) from error
    return kind, kind.Settings.check(values, "--benchmark")
