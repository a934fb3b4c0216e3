# What the rule files share. Needs a valid configuration; makes paths, and nothing else.

import json
import os
import signal
import sys
from pathlib import Path
from shlex import quote

ROOT = Path(os.path.relpath(workflow.basedir))
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from butler.config import check_clock, check_config, check_engine, check_inputs
from butler.devices import gpu_present
from butler.errors import ButlerError
from butler.failures import explain
from butler.imports import code_of
from butler.progress import TERMINAL
from butler.signals import handle_in_thread
from butler.tools import check_python, put_python_first
from butler.lmdeploy.release import RELEASES
from butler.variants import BASE, BENCHMARKS, MODELS, SOURCES, TOOLS, TOOLS_ON_DEMAND, VARIANTS

from snakemake.exceptions import WorkflowError

try:
    check_python()
    check_config(config)
    check_inputs(config, ROOT)
    check_engine(config, ROOT, gpu_present())
except ButlerError as error:
    raise WorkflowError(str(error)) from None

ENVIRONMENTS = config["environments"]
# On a cluster the GPU is where the jobs run, and `device: cuda` says so.
GPUS = int(config["device"] == "cuda" or (config["device"] == "auto" and gpu_present()))
# What serves and evaluates; it also names the environment that does. The one of 0.7.3 always
# calibrates and quantises.
RELEASE = RELEASES[config["lmdeploy"]]
USED_TOOLS = list(dict.fromkeys([*TOOLS, RELEASE.tool]))
put_python_first()
# A stage's output goes to its log; here it also reaches Snakemake's own, for its progress.
shell.prefix(f"set -euo pipefail; exec 3>&2; export {TERMINAL}=3; ")


wildcard_constraints:
    tool="|".join([*TOOLS, *TOOLS_ON_DEMAND]),
    weights="|".join(SOURCES),
    variant="|".join(VARIANTS),
    model="|".join(MODELS),
    benchmark="|".join(BENCHMARKS),


def repository(path):
    """Return a configured input path: relative ones start at the repository."""
    return str(ROOT / path)


def code(*scripts):
    """Return the scripts, first the one that the rule calls, and what of ours they import."""
    files = [path for script in scripts for path in code_of(script)]
    return list(dict.fromkeys(os.path.relpath(path) for path in files))


def locks(name):
    """Return the lock of tool `name`, and that of its torch, which has no hashes."""
    return [repository(f"envs/{name}.lock"), repository(f"envs/{name}.torch.lock")]


def tool(name, *scripts):
    """Return the inputs of a rule that runs `scripts` in the environment of tool `name`.

    The environment is no ancient() input: with one that is stale, Snakemake 9.27 then rebuilds it
    and takes the run for finished, whatever else is missing.
    """
    return {
        "code": code(*scripts),
        "locks": locks(name),
        "environment": f"{ENVIRONMENTS}/{name}.json",
    }


def stand_ins(name):
    """Return the files that stand in for a package which tool `name` imports and never uses."""
    folder = ROOT / "envs" / "torchvision"
    return sorted(str(path) for path in folder.rglob("*.py")) if name == "xtuner" else []


def python(name):
    """Return the interpreter of tool `name`."""
    return f"{ENVIRONMENTS}/{name}/bin/python"


def base_files():
    """Return the files of a local base model; one from a hub is pinned by its revision."""
    folder = ROOT / config["base"]["model"]
    return sorted(str(path) for path in folder.glob("*") if path.is_file())


def flag(name, value):
    """Return a command line's flag if `value` is true."""
    return name if value else ""


def option(name, value):
    """Return a command line's option and its value, or nothing if there is none."""
    return f"{name} {quote(str(value))}" if value else ""


def training_resources():
    """Return what a training asks for beside memory; Slurm's own names where nodes share it.

    `mpi` says that the job starts the processes on its nodes itself: the rule runs once.
    """
    nodes, gpus = config["train"]["nodes"], GPUS * config["train"]["processes"]
    if nodes == 1:
        return {"gpu": gpus}
    several = {"nodes": nodes, "tasks": nodes, "mpi": "srun", "tasks_per_gpu": 0}
    return several | ({"gres": f"gpu:{gpus}"} if gpus else {})


def served_from(weights):
    """Return the folder whose files are served for these weights: a workspace or a model."""
    return f"build/workspace/{weights}" if RELEASE.workspaces else f"build/{SOURCES[weights][0]}"


def checks(model):
    """Return the checks that a model must have passed before it is evaluated."""
    # These two read the workspace in the reference engine; a model folder has no such reading.
    found = [f"workspace_{MODELS[model].weights}"] if RELEASE.workspaces else []
    if model in VARIANTS:
        found += ["training", "merge", "template"]
        found += ["awq"] if MODELS[model].weights == "w4" else []
        found += [model] if MODELS[model].kv8 and RELEASE.workspaces else []
    return [f"results/checks/{name}.json" for name in found]


def corpus_files():
    """Return the raw records' file, or all files of their folder."""
    path = ROOT / config["corpus"]["path"]
    return sorted(str(file) for file in path.rglob("*") if file.is_file()) or [str(path)]


def protected_questions():
    """Return all files of the benchmark, also of subjects that are not asked: another choice of
    subjects then needs no other corpus."""
    folder = ROOT / config["benchmarks"]["ceval"]["path"]
    return sorted(str(path) for path in folder.glob("*/*.csv"))


def question_forms():
    """Return the endings of questions and their weights, as the script takes them."""
    return [f"{form}={weight}" for form, weight in config["corpus"]["question_forms"].items()]


def benchmark_data(wildcards):
    """Return the files that hold a benchmark's questions."""
    if wildcards.benchmark == "recipe":
        return ["build/corpus/test.jsonl"]
    ceval = config["benchmarks"]["ceval"]
    return expand(
        "{path}/{split}/{subject}_{split}.csv",
        path=repository(ceval["path"]),
        split=["dev", "val", "test"],
        subject=ceval["subjects"],
    )


def benchmark_options(wildcards):
    """Return the part of the command line that differs between the benchmarks."""
    chosen = config["benchmarks"][wildcards.benchmark]
    if wildcards.benchmark == "recipe":
        return f"--data build/corpus/test.jsonl --questions {chosen['questions']}"
    return (
        f"--data {quote(repository(chosen['path']))} --split {chosen['split']} "
        f"--subjects {quote(','.join(chosen['subjects']))}"
    )


def dated_files():
    """Return what Snakemake compares by date: what is given, our own files, and what was made."""
    given = [*corpus_files(), *base_files(), *protected_questions()]
    ours = [
        path for folder in ("config", "envs", "workflow") for path in (ROOT / folder).rglob("*")
    ]
    made = [
        path for form in ("*/*", "*/*/.snakemake_timestamp") for path in Path("build").glob(form)
    ]
    return [*map(Path, given), *ours, *made]


try:
    check_clock(dated_files())
except ButlerError as error:
    raise WorkflowError(str(error)) from None
