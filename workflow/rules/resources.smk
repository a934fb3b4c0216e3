# What jobs ask of a machine, and whether this one has it.
#
# Needs what common.smk has; makes nothing.

from collections import Counter

from butler.plan.fit import check_fit, of_waiting, peaks
from butler.plan.host_memory import BOUND, BY_SIZE, Task, asked_mb, fixed_bytes, host_bytes
from butler.plan.machine import host_memory, this_machine
from butler.plan.measured import MB, USED_BY_JOBS
from butler.plan.model_size import base_size, hub_size
from butler.plan.stage_needs import needs, raw_bytes, read_texts
from butler.settings.cross_checks import check_clock, check_device

from snakemake_interface_storage_plugins.exceptions import FileOrDirectoryNotFoundError


def memory(stage):
    """Return a rule's mem_mb: what its stage holds at its peak, by the bytes of the base.

    The sizes of a hub's base are known when it is fetched: Snakemake shows <TBD> until then, and
    asks again before it starts a job.
    """
    if stage not in BY_SIZE:
        raw = raw_bytes(settings.corpus, ROOT) if stage == "corpus" else 0
        return asked_mb(fixed_bytes(stage, raw))

    def asked(wildcards):
        base = Path(places.of("build/base"))
        size = raised(base_size, settings.base, ROOT, base.parent)
        if size is not None:
            return asked_mb(host_bytes(stage, Task(settings, size, GPUS > 0)))
        if stage == "base_model":
            return asked_mb(BOUND)
        raise FileOrDirectoryNotFoundError(base)

    return asked


def check_start(waiting):
    """Check that this machine has what those of the waiting jobs need that are of this run."""
    waiting = [job for job in waiting if job.rule.name.startswith(places.rules)]
    if any(job.resources.get("gpu") for job in waiting):
        told(check_device, settings, gpu_present())
    if not workflow.touch:
        check_plan(Counter(job.rule.name.removeprefix(places.rules) for job in waiting))


def check_plan(waiting):
    """Print what the jobs that wait need of this machine, in a line; stop if they do not fit.

    `waiting` counts them by rule.
    """
    if not waiting.keys() & BY_SIZE.keys():
        return
    local = (ROOT / settings.base.model).is_dir()
    build = Path(places.of("build/base")).parent
    try:
        # Of a hub's base that is to be fetched, build/base may be another's.
        fetch = not local and "base_model" in waiting
        size = hub_size(settings.base) if fetch else base_size(settings.base, ROOT, build)
    except ButlerError as error:
        print(f"plan: not checked, {error}", file=sys.stderr)
        return
    if size is None:
        return  # build/base is broken, which its jobs report
    task, machine = Task(settings, size, GPUS > 0), this_machine(Path(), GPUS > 0)
    rows = needs(task, read_texts(task, ROOT), local, len(TOOLS), machine)
    if rows := of_waiting(rows, waiting):
        told(check_fit, rows, task, machine)
        print(peaks(rows), file=sys.stderr)


def training_resources():
    """Return what a training asks for beside memory; Slurm's own names where nodes share it.

    `mpi` says that the job starts the processes on its nodes itself: the rule runs once.
    """
    nodes, gpus = settings.train.nodes, GPUS * settings.train.processes
    if nodes == 1:
        return {"gpu": gpus}
    several = {"nodes": nodes, "tasks": nodes, "mpi": "srun", "tasks_per_gpu": 0}
    return several | ({"gres": f"gpu:{gpus}"} if gpus else {})


def dated_files():
    """Return what Snakemake compares by date: what is given, our own files, and what was made."""
    given = [*corpus_files(), *base_files(), *PROTECTED]
    ours = [
        path for folder in ("config", "envs", "workflow") for path in (ROOT / folder).rglob("*")
    ]
    made = [
        path
        for folder in (Path("build"), *Path(FOLDER).glob(f"{STAGES}/*/build"))
        for form in ("*/*", "*/*/.snakemake_timestamp")
        for path in folder.glob(form)
    ]
    return [*map(Path, given), *ours, *made]


told(check_clock, dated_files())
# Jobs beside each other must fit into this machine, unless --resources or a profile says what may be
# used. On a cluster (it counts jobs as nodes) they are elsewhere, and a cap would cut what they ask.
if workflow.resource_settings.nodes is None and "mem_mb" not in workflow.global_resources:
    workflow.register_resource("mem_mb", int(USED_BY_JOBS * host_memory() / MB))
