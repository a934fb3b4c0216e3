# What the rule files share. Needs a valid configuration; makes paths, and nothing else.

import os
import re
import signal
import sys
from functools import cache
from pathlib import Path
from shlex import quote

ROOT = Path(os.path.relpath(workflow.basedir))
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from butler.benchmarks.registry import KINDS
from butler.corpus.inputs import input_files
from butler.devices import gpu_present
from butler.errors import ButlerError
from butler.failures import explain
from butler.families import TRAINERS
from butler.imports import code_of
from butler.lmdeploy.release import RELEASES
from butler.orphans import RUN_FOLDER, check_no_orphans
from butler.outcome import outcome
from butler.places import PREFIX, Places, ScenarioPlaces
from butler.progress import TERMINAL
from butler.protected_texts import question_digest
from butler.schemes import BASE, BASE_MODEL, BASELINE, VARIANTS, W8A8, WEIGHTS
from butler.scenario_folders import FOLDER, STAGES
from butler.settings.cross_checks import (
    check_run,
    check_scenarios,
    check_temporary_folders,
    check_variant,
)
from butler.settings.overlays import KEY as OVERLAYS, configuration
from butler.settings.run import read_settings
from butler.settings.scenarios import (
    KEY as SCENARIOS,
    keep_scenarios,
    no_scenarios,
    read_scenarios,
)
from butler.settings.trainer import trainer_of
from butler.signals import handle_in_thread
from butler.targets import check_targets
from butler.tools import find_python, put_python_first

from snakemake.exceptions import WorkflowError


def told(function, *arguments):
    """Return what a function of ours returns; what it finds wrong ends Snakemake as one sentence.

    To raise it would have Snakemake put our own files and lines around it.
    """
    try:
        return function(*arguments)
    except (ButlerError, OSError) as error:
        sys.exit(f"error: {error}")


def raised(function, *arguments):
    """Return what a function returns to one that Snakemake calls, which knows its own errors only."""
    try:
        return function(*arguments)
    except (ButlerError, OSError) as error:
        raise WorkflowError(str(error)) from None


def run_configuration():
    """Return the configuration of this run: later values count, and Snakemake's own options most."""
    given = {key: value for key, value in config.items() if key not in (OVERLAYS, SCENARIOS)}
    called = " or ".join([*map(str, workflow.configfiles), "--config"])
    return configuration(ROOT, config.get(OVERLAYS), given, called)


told(find_python)
# Where what is made lies; rules/scenarios.smk gives its own.
places = config.pop("places") if isinstance(config.get("places"), Places) else Places()
runs = {}  # by scenario, what the rule files have of it; rules/scenario_runs.smk finds them
settings = told(read_settings, told(run_configuration), (OVERLAYS, SCENARIOS))
told(check_run, settings, ROOT, gpu_present())
ENVIRONMENTS = settings.environments
# On a cluster the GPU is where the jobs run, and `device: cuda` says so.
GPUS = int(settings.on_gpu(gpu_present()))
# Whether all that is served here is served without a GPU, so that no speed is measured.
ON_REFERENCE = settings.serving_engine(gpu_present()) == "reference"
ENGINE = settings.engine_for_jobs()  # as their `--engine` has it
# What serves and evaluates; it also names the environment that does. The converter's always
# calibrates and quantises.
RELEASE = RELEASES[settings.lmdeploy]
TRAINER = told(trainer_of, settings.base, ROOT)
TOOLS = told(settings.tools, ROOT)
STAMPS = [f"{ENVIRONMENTS}/{name}.json" for name in TOOLS]
put_python_first()
# A stage's output goes to its log; here it also reaches Snakemake's own, for its progress.
JOB = f"export {TERMINAL}=3 {RUN_FOLDER}={quote(str(Path().resolve()))}"
shell.prefix(f"set -euo pipefail; exec 3>&2; {JOB.replace('{', '{{').replace('}', '}}')}; ")

# What is judged: the variants of this run, and the model that they all come from.
MODELS = {BASE: BASE_MODEL} | settings.chosen()
BENCHMARKS = {one.name: one for one in settings.benchmarks}
# What may be asked for by name, chosen for this run or not.
KNOWN = {BASE: BASE_MODEL} | VARIANTS
WEIGHT_SCHEMES = {BASE_MODEL.weights.name: BASE_MODEL.weights} | WEIGHTS
LOCKED = [path.stem for path in sorted((ROOT / "envs").glob("*.in"))]


wildcard_constraints:
    tool="|".join(LOCKED),
    weights="|".join(WEIGHT_SCHEMES),
    variant="|".join(KNOWN),
    benchmark="|".join(re.escape(name) for name in BENCHMARKS),


def repository(path):
    """Return a configured input path: relative ones start at the repository."""
    return str(ROOT / path)


@cache
def code(*scripts):
    """Return the scripts, first the one that the rule calls, and what of ours they import."""
    files = [path for script in scripts for path in code_of(script)]
    return list(dict.fromkeys(os.path.relpath(path) for path in files))


def locks(name):
    """Return the locks of tool `name`: its own, that of its torch, and of CUDA's if it needs it."""
    found = [f"envs/{name}.lock", f"envs/{name}.torch.lock", f"envs/{name}.cuda.lock"]
    return [repository(path) for path in found if (ROOT / path).is_file()]


def tool(name, *scripts):
    """Return the inputs of a rule that runs `scripts` in the environment of tool `name`.

    A rule whose scripts depend on its wildcards names them itself.

    The environment is no ancient() input: with one that is stale, Snakemake 9.27 then rebuilds it
    and takes the run for finished, whatever else is missing.
    """
    needed = {"locks": locks(name), "environment": f"{ENVIRONMENTS}/{name}.json"}
    return {"code": code(*scripts)} | needed if scripts else needed


def stand_ins(name):
    """Return the files that stand in for a package which tool `name` imports and never uses."""
    folder = ROOT / "envs" / "torchvision"
    return sorted(str(path) for path in folder.rglob("*.py")) if name in TRAINERS else []


def python(name):
    """Return the interpreter of tool `name`."""
    return f"{ENVIRONMENTS}/{name}/bin/python"


def base_files():
    """Return the files of a local base but hidden ones; a hub pins its own by a revision."""
    folder = ROOT / settings.base.model
    files = (path for path in folder.glob("*") if path.is_file())
    return sorted(str(path) for path in files if not path.name.startswith("."))


def asked_server():
    """Return what tells a check of the LMDeploy that will serve, where it is asked."""
    remote_code = flag("--trust-remote-code", settings.base.remote_code)
    served = f"--server-python {quote(python(RELEASE.tool))} --tp {settings.workspace.tp}"
    return f"--lmdeploy {RELEASE.name} {served} {remote_code}"


def flag(name, value):
    """Return a command line's flag if `value` is true."""
    return name if value else ""


def option(name, value):
    """Return a command line's option and its value, or nothing if there is none."""
    return f"{name} {quote(str(value))}" if value else ""


def number_option(name, value):
    """Return a command line's option and its number, which may be 0, or nothing for None."""
    return "" if value is None else f"{name} {value}"


def model_folder(weights):
    """Return the Hugging Face folder that these weights are converted from."""
    return f"build/{WEIGHT_SCHEMES[weights].folder}"


def served_from(weights):
    """Return the folder whose files are served for these weights: a workspace or a model."""
    return f"build/workspace/{weights}" if RELEASE.workspaces else model_folder(weights)


def wanted(variant):
    """Return a variant, or the base, that was asked for; stop the run if it cannot be made.

    Weights are called as the variant of them with the plain KV cache is.
    """
    raised(check_variant, settings, KNOWN[variant], ROOT)
    return KNOWN[variant]


def kv_limit(kv):
    """Return how much likelihood a quantised KV cache may cost."""
    return settings.checks.kv_nll.get(kv.name, kv.limit)


def static_parameters(variant):
    """Return the folder of static parameters that a variant's KV cache gets, if it gets any."""
    wanted = settings.kv_cache.static_parameters and KNOWN[variant].kv.static
    return "build/static_kv" if wanted and RELEASE.workspaces else []


def cache_share(variant):
    """Return the share of the free GPU memory that a variant's KV cache may take."""
    section = settings.kv_cache if KNOWN[variant].kv.quantised else settings.workspace
    return section.cache_max_entry_count


def checks(variant):
    """Return the checks that a variant, or the base, must have passed before it is evaluated."""
    weights, kv = KNOWN[variant].weights, KNOWN[variant].kv
    found = [f"workspace_{weights.name}"]
    if variant != BASE:
        found += ["training", "merge", "template"]
        found += [weights.check] if weights.check else []
        found += [variant] if kv.quantised else []
    return [f"results/checks/{name}.json" for name in found]


def corpus_files():
    """Return the raw records' file, or those files of their folder that are read."""
    found = told(input_files, ROOT / settings.corpus.path, settings.corpus.format)
    return list(map(str, found))


def benchmark_files(name):
    """Return the files that hold a benchmark's questions; none are of the held-out part."""
    chosen = BENCHMARKS[name]
    return [str(path) for path in KINDS[chosen.kind].files(chosen, ROOT)]


# Of questions the corpus needs the text alone: with a changed answer nothing is trained anew.
PROTECTED = sorted({file for name in BENCHMARKS for file in benchmark_files(name)})


def reading_code(name):
    """Return what of ours reads a benchmark's questions beside what questions.py imports."""
    return KINDS[BENCHMARKS[name].kind].reading_code()


def evaluation_code(name):
    """Return what of ours evaluates a benchmark beside what evaluate_model.py imports."""
    return KINDS[BENCHMARKS[name].kind].code()


def questions_python(name):
    """Return the interpreter that can read a benchmark's questions."""
    needed = KINDS[BENCHMARKS[name].kind].tool
    return python(needed) if needed else "python"


def questions_environment(name):
    """Return the environment's stamp and locks that this interpreter is of, if it is a tool's."""
    needed = KINDS[BENCHMARKS[name].kind].tool
    return [f"{ENVIRONMENTS}/{needed}.json", *locks(needed)] if needed else []


def rounds_options():
    """Return what says which questions are asked and in which rounds, as questions.py takes it."""
    first, most = settings.decision.first_round, settings.decision.most_questions
    if first is None and most is None:
        return ""  # all in one round, whatever the seed
    limits = [option("--first-round", first), option("--most-questions", most)]
    return " ".join([*filter(None, limits), f"--seed {settings.seed}"])


def compared_with(benchmark, variant):
    """Return the baseline's answers and their check, if it is compared with them while asked."""
    if settings.decision.first_round is None or variant in (BASE, BASELINE):
        return []
    done = f"{benchmark}_{BASELINE}"
    return [f"build/evaluate/{done}/details.jsonl", f"results/checks/evaluation_{done}.json"]


def stop_options(benchmark, variant):
    """Return what says when an evaluation asks no more, as evaluate_model.py takes it.

    The base is not judged, so the first round is enough.
    """
    if variant == BASE:
        return "--first-only"
    if not compared_with(benchmark, variant):
        return ""
    decision = settings.decision
    compared = {*settings.variants, variant} - {BASELINE}
    return (
        f"--limit {decision.max_loss} --error {decision.error} "
        f"--variants {len(compared)} --benchmarks {len(settings.benchmarks)}"
    )


def held_out(name):
    """Return the held-out records where a benchmark's questions are drawn from them."""
    chosen = BENCHMARKS[name]
    asked = KINDS[chosen.kind].asks_held_out(chosen)
    return "build/corpus/test.jsonl" if asked else []
