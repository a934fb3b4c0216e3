"""Snakemake, imported once and forked for each question: to import it takes as long as to answer.

Reads lines of JSON, [arguments, environment, file for what it prints], and writes for each its exit
status. The imports of our scripts, which the rules ask for, are found once as well.
"""

import gc
import importlib
import json
import os
import sys
from pathlib import Path

from snakemake.cli import main

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from butler.imports import SCRIPTS, code_of

# What Snakemake imports when it is asked.
LATER = ("jsonschema", "pandas", "smart_open", "yte", "snakemake.report.html_reporter")


def answer(arguments: list[str], environment: dict[str, str], output: str) -> None:
    """Be `snakemake`, and end."""
    files = [os.open(os.devnull, os.O_RDONLY), os.open(output, os.O_WRONLY | os.O_APPEND)]
    for stream, file in enumerate((*files, files[1])):
        os.dup2(file, stream)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    sys.argv[1:] = arguments
    main(arguments)
    sys.exit()


def serve() -> None:
    """Answer each line."""
    for name in LATER:
        importlib.import_module(name)
    for script in SCRIPTS.glob("*.py"):
        code_of(script.name)
    gc.freeze()  # else each fork copies all of it to collect its own
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            answer(*json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
