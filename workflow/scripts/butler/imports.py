"""Which of our own files a script runs, so that a changed one reruns its stage and no other.

Found in the source: imports, also those inside functions; modules that a text names, whole
("butler.xtuner", for `python -m`, or "butler.xtuner.support.FinishHook"); and files that an
expression names from `__file__` or a constant made of it (SCRIPTS / "serve.py"). What a comment, a
docstring or part of a longer text names is not run; a path made while a script runs is not found.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[1]
DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")
DOCSTRING = re.compile(r'"""[\s\S]*?"""')
TEMPLATE = ".py.jinja"  # ends the name of a template that Python code is rendered from


@cache
def code_of(script: str, root: Path = SCRIPTS) -> tuple[Path, ...]:
    """Return the script and every file of ours that it runs, directly or not, the script first.

    Args:
        script: its path below `root`.
        root: the folder that Python imports our files from.
    """
    first = root / script
    found, waiting = {first}, [first]
    while waiting:
        new = set(_named_in(waiting.pop(), root)) - found
        found |= new
        waiting += new
    return first, *sorted(found - {first})


@cache
def _named_in(path: Path, root: Path) -> tuple[Path, ...]:
    """Return the files of ours that a file itself names; the rules ask for most of them often."""
    if path.name.endswith(TEMPLATE):
        text = DOCSTRING.sub("", path.read_text(encoding="utf-8"), count=1)
        return tuple(sorted(_modules(DOTTED.findall(text), root)))
    nodes = list(ast.walk(_parsed(path)))
    found = {file for name in _imported(nodes) for file in _module(name, root)}
    found |= _modules(_texts(nodes), root) | _paths(nodes, path, root)
    return tuple(sorted(found - {path}))


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def _at_the_top(root: Path) -> frozenset[str]:
    """Return the first names of all modules of ours."""
    packages = (path.parent for path in root.glob("*/__init__.py"))
    return frozenset(path.stem for path in (*root.glob("*.py"), *packages))


def _imported(nodes: list[ast.AST]) -> Iterator[str]:
    """Yield the dotted names that a file may import, `a.b.c` for `from a.b import c` too."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _module(name: str, root: Path) -> Iterator[Path]:
    """Yield the file of a module, and those of the packages that it lies in, which run first."""
    parts = name.split(".")
    if parts[0] not in _at_the_top(root):
        return
    for end in range(1, len(parts) + 1):
        path = root.joinpath(*parts[:end])
        for candidate in (path.with_suffix(".py"), path / "__init__.py"):
            if candidate.is_file():
                yield candidate


def _texts(nodes: list[ast.AST]) -> Iterator[str]:
    """Yield the texts that are one dotted name as a whole."""
    # A text that stands alone is documentation, one inside an f-string a piece of another.
    others: set[ast.AST] = set()
    for node in nodes:  # parents first
        if isinstance(node, ast.Expr | ast.JoinedStr):
            others.update(ast.iter_child_nodes(node))
        elif isinstance(node, ast.Constant) and node not in others:
            text = node.value
            if isinstance(text, str) and DOTTED.fullmatch(text):
                yield text


def _modules(names: Iterable[str], root: Path) -> set[Path]:
    """Return the files of the modules below our packages that these names in texts mean."""
    # "train.jsonl" is no name of train.py: a module alone at the top is started by its path.
    ours = [name for name in names if (root / name.split(".")[0]).is_dir()]
    found = {file for name in ours for file in _module(name, root)}
    mains = (root.joinpath(*name.split("."), "__main__.py") for name in ours)
    return found | {path for path in mains if path.is_file()}


def _paths(nodes: list[ast.AST], path: Path, root: Path) -> set[Path]:
    """Return the files of code that expressions name, from `__file__` or constants made of it."""
    known = _constants(path, root)
    values = (_value(node, known) for node in nodes if isinstance(node, ast.BinOp | ast.Call))
    return {
        value
        for value in values
        if isinstance(value, Path)
        and value.name.endswith((".py", TEMPLATE))
        and value.is_relative_to(root.parent)
        and value.is_file()
    }


Value = Path | str | None  # of an expression; None where it is not told


@cache
def _constants(path: Path, root: Path, imported_too: bool = True) -> dict[str, Value]:
    """Return the paths and texts among a file's names: `__file__` and constants."""
    found: dict[str, Value] = {"__file__": path}
    for node in _parsed(path).body:
        match node:
            case ast.ImportFrom(module=str(module), names=aliases) if imported_too:
                for file in list(_module(module, root))[-1:]:  # without the packages around it
                    theirs = _constants(file, root, imported_too=False)
                    found |= {one.asname or one.name: theirs.get(one.name) for one in aliases}
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                found[name] = _value(value, found)
    return found


def _value(node: ast.AST, known: dict[str, Value]) -> Value:
    """Return the path or text that an expression has.

    Told are Path(), resolve(), `/`, joinpath(), with_name(), parent and parents[] of known names.
    """
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.Name(id=name):
            return known.get(name)
        case ast.Call(func=ast.Name(id="Path"), args=[inner]):
            start = _value(inner, known)
            return Path(start) if start else None
        case ast.Call(func=ast.Attribute(value=inner, attr="resolve")):
            return _value(inner, known)
        case ast.Attribute(value=inner, attr="parent"):
            return _above(inner, 0, known)
        case ast.Subscript(
            value=ast.Attribute(value=inner, attr="parents"), slice=ast.Constant(value=int(up))
        ):
            return _above(inner, up, known)
        case ast.BinOp(left=inner, op=ast.Div(), right=name):
            return _joined(_value(inner, known), [name], known)
        case ast.Call(func=ast.Attribute(value=inner, attr="joinpath"), args=names):
            return _joined(_value(inner, known), names, known)
        case ast.Call(func=ast.Attribute(value=inner, attr="with_name"), args=[name]):
            return _joined(_above(inner, 0, known), [name], known)
    return None


def _above(inner: ast.AST, up: int, known: dict[str, Value]) -> Value:
    start = _value(inner, known)
    return start.parents[up] if isinstance(start, Path) and up < len(start.parents) else None


def _joined(start: Value, names: list[ast.expr], known: dict[str, Value]) -> Value:
    parts = [_value(name, known) for name in names]
    if isinstance(start, Path) and all(isinstance(part, str) for part in parts):
        return start.joinpath(*map(str, parts))
    return None
