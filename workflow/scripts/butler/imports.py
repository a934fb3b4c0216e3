"""Which of our own files a script runs, so that a changed one reruns its stage and no other."""

import ast
from functools import cache
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[1]


def _names(path: Path) -> set[str]:
    """Return the dotted names that a file may import, `a.b.c` for `from a.b import c` too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def _file_of(name: str, root: Path) -> Path | None:
    path = root.joinpath(*name.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


@cache
def _imported(path: Path, root: Path) -> tuple[Path, ...]:
    """Return the files of ours that a file imports itself; the rules ask for most of them often."""
    found = (_file_of(name, root) for name in sorted(_names(path)))
    return tuple(path for path in found if path is not None)


def code_of(script: str, root: Path = SCRIPTS) -> list[Path]:
    """Return the script and every file of ours that it imports, directly or not, the script first.

    What a script starts as a process of its own is named where it is wired.
    """
    first = root / script
    found, waiting = [first], [first]
    while waiting:
        for path in _imported(waiting.pop(), root):
            if path not in found:
                found.append(path)
                waiting.append(path)
    return [first, *sorted(found[1:])]
