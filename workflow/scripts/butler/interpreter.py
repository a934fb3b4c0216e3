"""Which Python runs a script, told where the one that runs it lacks a package.

Imported with the package `butler`. A script that imports others' packages before ours imports this
by name before them (pyproject.toml sorts it so). It needs nothing but Python's own.
"""

import re
import sys
from pathlib import Path
from types import TracebackType

SCRIPTS = Path(__file__).resolve().parents[1]
RULES = SCRIPTS.parent / "rules"
# Of those that a rule runs, the rule says it.
LMDEPLOY, XTUNER = "lmdeploy", "xtuner"
USUAL = {"RELEASE.tool": LMDEPLOY, "TRAINER": XTUNER}  # what a rule's settings choose, if not said
BY_HAND = dict.fromkeys(("chat.py", "serve.py", "web.py", "check_agreement.py"), LMDEPLOY)
BY_HAND |= {"hf_answers.py": XTUNER, "train_tiny_base.py": LMDEPLOY}


def tool_of(script: str) -> str | None:
    """Return the tool whose environment a script runs in; None for that of Snakemake."""
    if script in BY_HAND:
        return BY_HAND[script]
    call = re.compile(rf'tool\(("[\w-]+"|{"|".join(USUAL)}), "{re.escape(script)}"')
    for rules in sorted(RULES.glob("*.smk")):
        if found := call.search(rules.read_text(encoding="utf-8")):
            return USUAL.get(found[1], found[1].strip('"'))
    return None


def lacking(package: str | None, tool: str | None) -> str:
    """Return what to do about a package that this interpreter has not."""
    lacks = f"the package {package} is not in {sys.executable}"
    if tool is None:
        return f"{lacks}; install what Snakemake needs there: pip install -r requirements.txt"
    here = Path(sys.prefix).name
    if here == tool or _is_locked(package, here):
        return f"{lacks}, whose locks have changed; build it anew: snakemake environments"
    return f"{lacks}; run this with .envs/{tool}/bin/python (made by: snakemake environments)"


def _is_locked(package: str | None, tool: str) -> bool:
    """Say whether a tool's lock has a package by the name that it is imported by."""
    lock = SCRIPTS.parents[1] / "envs" / f"{tool}.lock"
    line = f"\n{str(package).replace('_', '-').lower()}=="
    return lock.is_file() and line in lock.read_text(encoding="utf-8").replace("_", "-").lower()


def tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Be sys.excepthook: a package that is missing is one sentence."""
    ours = {path.stem for path in SCRIPTS.iterdir()}
    name = (getattr(error, "name", None) or "").split(".")[0]
    if isinstance(error, ModuleNotFoundError) and name and name not in ours:
        print(f"error: {lacking(name, tool_of(Path(sys.argv[0]).name))}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


if Path(sys.argv[0] or ".").resolve().parent == SCRIPTS:
    sys.excepthook = tell
