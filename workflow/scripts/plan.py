"""Print what a run needs and how long it roughly takes, stage by stage, and what does not fit here.

Of a hub's base only config.json is fetched. Memory and disk are estimates, good to some tenths;
times are rough: their order of magnitude on a machine like those that butler/plan/measured.py has.
"""

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

from butler.devices import gpu_present
from butler.errors import run_cli
from butler.plan.fit import misfits
from butler.plan.host_memory import Task
from butler.plan.machine import Machine, this_machine
from butler.plan.measured import GB, MB, RATES
from butler.plan.model_size import ModelSize, base_size, hub_size
from butler.plan.resolution import resolutions
from butler.plan.stage_needs import StageNeed, needs, read_texts
from butler.settings.cross_checks import check_base, missing_gpu
from butler.settings.overlays import configuration
from butler.settings.run import Settings, read_settings

HEAD = ("stage", "jobs", "host memory", "GPU memory", "disk", "rough time")
# Steps of three, by the most seconds that each stands for.
TIMES = (
    (30, "< 1 min"),
    (100, "1 min"),
    (330, "3 min"),
    (1040, "10 min"),
    (2550, "30 min"),
    (6200, "1 h"),
    (20_000, "3 h"),
    (56_000, "10 h"),
    (150_000, "1 day"),
    (400_000, "3 days"),
)


def rough(seconds: float) -> str:
    """Return a time by its order of magnitude."""
    return next((name for most, name in TIMES if seconds <= most), "> 1 week")


def size(count: float) -> str:
    """Return bytes with two digits or so; a dash where there are none."""
    if count < 0.1 * GB:
        return f"{count / MB:.0f} MB" if count else "–"
    return f"{count / GB:.1f} GB" if count < 9.95 * GB else f"{count / GB:.0f} GB"


def table(rows: list[StageNeed]) -> list[str]:
    """Return the lines of the plan: a stage each, and the peaks and sums."""
    cells = [
        (r.stage, str(r.jobs), size(r.host), size(r.gpu), size(r.disk), rough(r.seconds))
        for r in rows
    ]
    peak = (size(max(r.host for r in rows)), size(max(r.gpu for r in rows)))
    total = (size(sum(r.disk for r in rows)), rough(sum(r.seconds for r in rows)))
    cells = [HEAD, *cells, ("in all", str(sum(r.jobs for r in rows)), *peak, *total)]
    wide = [max(len(row[i]) for row in cells) for i in range(len(HEAD))]
    return [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, wide, strict=True))
        )
        for row in cells
    ]


def of_machine(machine: Machine) -> str:
    """Return what a machine has, in words."""
    if machine.gpus is None:
        cards = "GPU memory that nvidia-smi does not tell"
    else:
        cards = ", ".join(f"GPU {size(free)} free of {size(all_)}" for free, all_ in machine.gpus)
    return (
        f"memory {size(machine.memory)}; {cards or 'no GPU used'}; disk {size(machine.disk)} free"
    )


def size_of(settings: Settings, repository: Path, local: bool) -> ModelSize:
    """Return the size of the base: a hub's as the hub has it, since build/base may be another's.

    Raises:
        ButlerError: if the hub does not tell it.
    """
    found = base_size(settings.base, repository) if local else hub_size(settings.base)
    assert found is not None  # a folder was checked
    return found


def print_plan(settings: Settings, args: argparse.Namespace) -> None:
    """Print one run's plan.

    Raises:
        ButlerError: if the base is not there, or is none that the chain knows.
    """
    on_gpu = settings.on_gpu(gpu_present() or args.gpu_gb is not None)
    local = (args.repository / settings.base.model).is_dir()
    check_base(settings, args.repository)
    base = size_of(settings, args.repository, local)
    task = Task(settings, base, on_gpu)
    texts = read_texts(task, args.repository)
    stamps = [
        Path(settings.environments) / f"{tool}.json" for tool in settings.tools(args.repository)
    ]
    machine = this_machine(Path(), on_gpu and args.gpu_gb is None)
    if args.memory_gb is not None:
        machine = replace(machine, memory=int(args.memory_gb * GB))
    if args.gpu_gb is not None:
        count = max(settings.train.processes, settings.workspace.tp)
        machine = replace(machine, gpus=[(int(args.gpu_gb * GB),) * 2] * count)
    if args.disk_gb is not None:
        machine = replace(machine, disk=int(args.disk_gb * GB))
    tools = sum(not stamp.is_file() for stamp in stamps)
    rows = needs(task, texts, local, tools, None if args.elsewhere else machine)
    print(
        f"{settings.base.model}: {base.parameters / 1e9:.2g} billion weights, "
        f"{size(base.fp16)} in fp16; {'CUDA' if on_gpu else 'CPU'}, "
        f"{'LMDeploy' if task.lmdeploy else 'the reference engine'} serves\n"
    )
    print("\n".join(table(rows)))
    print("\nHost and GPU memory are of one job, the last line their peaks; jobs that wait for one")
    machine_name = RATES[task.device].machine
    print(f"another are counted one after another. Times are rough, those of {machine_name}.")
    if resolved := resolutions(settings, Path("build")):
        print("Of a variant that loses nothing, in 4 of 5 runs (a dish or text counts once):")
        print("\n".join(resolved))
    if args.elsewhere:
        print("The jobs run on other machines, which this one cannot see.")
        return
    print(f"This machine: {of_machine(machine)}.")
    wrong = misfits(rows, task, machine)
    if args.gpu_gb is None and (missing := missing_gpu(settings, gpu_present())):
        wrong.insert(0, missing)
    print("\n".join(f"Does not fit: {sentence}" for sentence in wrong) or "All of it fits.")


def main() -> None:
    """Print the plan of one run, or of each scenario as if it were alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    given = parser.add_mutually_exclusive_group()
    given.add_argument(
        "--config",
        nargs="+",
        type=partial(Settings.from_argument, option="--config"),
        help="the whole configuration as JSON, or a YAML file of it; one for each scenario",
    )
    given.add_argument("--overlays", help="as snakemake --config overlays= takes them")
    parser.add_argument("--scenarios", nargs="+", default=[""], help="the scenarios' names")
    parser.add_argument("--repository", type=Path, default=Path(), help="where inputs start")
    parser.add_argument("--elsewhere", action="store_true", help="the jobs run on other machines")
    parser.add_argument("--memory-gb", type=float, help="as if this machine had so much")
    parser.add_argument("--gpu-gb", type=float, help="as if each GPU had so much free")
    parser.add_argument("--disk-gb", type=float, help="as if so much disk were free")
    args = parser.parse_args()
    runs = args.config or [read_settings(configuration(args.repository, args.overlays))]
    if len(args.scenarios) != len(runs):
        names, given_runs = len(args.scenarios), len(runs)
        parser.error(
            f"--scenarios has {names} names for {given_runs} of --config; give one name for each"
        )
    for name, settings in zip(args.scenarios, runs, strict=True):
        if name:
            print(f"\nScenario {name}, as if it were alone; what is equal in several is made once:")
        print_plan(settings, args)


if __name__ == "__main__":
    run_cli(main)
