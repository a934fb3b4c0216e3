"""Kill a run at random moments in every stage, go on, and compare with a run left alone.

    python tests/faults.py --stages all --kills 5 --seed 1 --work DIR --out faults.json

A small demo chain runs to its end undisturbed. Each stage then gets a copy of its folder without
that stage's outputs; the job is started, killed when a random share of its usual time has passed,
looked over (processes left, partial outputs, locks), and started again; at last it may finish, and
its outputs are compared. `--stages chain` instead kills a whole run from nothing, again and again.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import yaml

from faults_compare import differences
from real_tools import ENVIRONMENTS
from workflow_state import ROOT, demo_benchmarks

# The same chain, with less of everything that takes time.
SMALL = {
    "corpus": {"test_size": 30},
    "train": {"max_steps": 12, "max_length": 256, "checkpoint_interval": 3, "log_interval": 1},
    "calibration": {"samples": 4, "length": 128},
    "benchmarks": demo_benchmarks(
        ceval={"parts": ["ceval-middle_school_history"]},
        recipe={"questions": 4, "max_new_tokens": 64},
    ),
    "efficiency": {"prompt_tokens": 64, "new_tokens": 8, "concurrency": [1]},
    "checks": {"kv_nll": {"int8": 0.2}, "blank_answers": 1.0, "cut_samples": 1.0},
    "environments": str(ENVIRONMENTS),
}
# Signal, and whether the whole process group gets it: the terminal's Ctrl-C, a service manager's or
# a cluster's end, the kernel's or a user's kill; and `kill PID`, which Snakemake alone gets.
FAULTS = {
    "SIGKILL": (signal.SIGKILL, True),
    "SIGTERM": (signal.SIGTERM, True),
    "SIGINT": (signal.SIGINT, True),
    "SIGTERM to Snakemake alone": (signal.SIGTERM, False),
}
DISK_FULL = "disk full"
SNAKEMAKES = 400_000  # bytes that Snakemake itself writes before a job
MARK = "RECIPE_BUTLER_FAULT"  # in the environment of all that a run starts
END_S = 120.0  # for Snakemake to end after a signal, beside the job's usual time
ORPHAN_S = 15.0  # for what it started
# Where a stage is not chosen by name, the long and dangerous ones come first.
FIRST = ("corpus", "train", "adapter", "merge", "awq", "workspace", "evaluate", "variant")


@dataclass(frozen=True)
class Job:
    """One job of the workflow: its outputs and log, and how long it takes undisturbed."""

    rule: str
    outputs: tuple[str, ...]
    log: str
    seconds: float


@dataclass
class Strike:
    """One fault and what was found after it."""

    stage: str
    fault: str
    at_s: float
    orphans: list[str] = field(default_factory=list)
    partial: list[str] = field(default_factory=list)
    locked: bool = False
    hit: bool = True  # false: the job was over before

    @property
    def survived(self) -> bool:
        """Whether nothing was left running, half made, or locked where Snakemake could unlock."""
        return not (self.orphans or self.partial or (self.locked and self.fault != "SIGKILL"))


def snakemake(folder: Path, *arguments: str) -> list[str]:
    """Return Snakemake's command line for a run in `folder`."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--directory", str(folder), "--cores", "2"]
    return [*command, "--configfile", str(folder.parent / "overlay.yaml"), *arguments]


def finish(folder: Path, *targets: str) -> None:
    """Run Snakemake to its end.

    Raises:
        RuntimeError: with what it said last, if it failed.
    """
    line = snakemake(folder, "--", *targets)
    done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT)
    if done.returncode != 0:
        raise RuntimeError((done.stdout + done.stderr)[-6000:])


def jobs_of(folder: Path, targets: list[str]) -> dict[str, list[Job]]:
    """Return the jobs of a finished run by rule, those of the environments left out."""
    line = snakemake(folder, "--detailed-summary", "--", *targets)
    done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT, check=True)
    rows = [row.split("\t") for row in done.stdout.splitlines() if row.count("\t") >= 7]
    outputs: dict[tuple[str, str], list[str]] = {}
    for row in rows[1:]:
        if row[2] != "environment":
            outputs.setdefault((row[2], row[3]), []).append(row[0])
    found: dict[str, list[Job]] = {}
    for (rule, log), names in outputs.items():
        measured = (folder / log).with_suffix(".tsv").read_text().splitlines()[1]
        job = Job(rule, tuple(names), log, float(measured.split("\t")[0]))
        found.setdefault(rule, []).append(job)
    return found


def living(mark: str) -> Iterator[tuple[int, str]]:
    """Yield pid and command line of every process whose environment has the mark."""
    wanted = f"{MARK}={mark}".encode()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (path / "environ").read_bytes().split(b"\0"):
                words = (path / "cmdline").read_bytes().replace(b"\0", b" ")
                yield int(path.name), words.decode(errors="replace")[:200]
        except OSError:  # it has ended, or is another user's
            continue


def remove(folder: Path, names: tuple[str, ...]) -> None:
    """Take outputs away, files and folders."""
    for name in names:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def unlock(folder: Path) -> bool:
    """Take Snakemake's lock away, as its documentation says, if one was left; say whether."""
    if not any((folder / ".snakemake" / "locks").glob("*")):
        return False
    subprocess.run(snakemake(folder, "--unlock"), cwd=ROOT, capture_output=True, check=True)
    return True


def start(
    folder: Path, targets: tuple[str, ...], mark: str, log: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start Snakemake in a process group of its own; its output goes to `folder`/run.log."""
    with (log or folder / "run.log").open("ab") as stream:
        return subprocess.Popen(
            snakemake(folder, "--", *targets),
            cwd=ROOT,
            env=os.environ | {MARK: mark},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def end(process: subprocess.Popen[bytes], fault: str, patience: float, mark: str) -> list[str]:
    """Give Snakemake its signal; return the command lines of what is still there long after."""
    number, group = FAULTS[fault]
    (os.killpg if group else os.kill)(process.pid, number)
    late = []
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        late = [f"Snakemake itself, {patience:.0f} s later"]
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    deadline = time.monotonic() + ORPHAN_S
    while (left := list(living(mark))) and time.monotonic() < deadline:
        time.sleep(0.2)
    for pid, _ in left:
        os.kill(pid, signal.SIGKILL)
    return late + [words for _, words in left]


def strike(folder: Path, whole: Path, job: Job, fault: str, rng: random.Random) -> Strike:
    """Start a job, kill it at a random moment, and look at what it leaves."""
    mark = f"{os.getpid()}-{time.monotonic_ns()}"
    log = folder / job.log
    log.unlink(missing_ok=True)
    if all((folder / name).exists() for name in job.outputs):
        remove(folder, job.outputs)  # Snakemake let the job before finish
    process = start(folder, job.outputs, mark)
    deadline = time.monotonic() + END_S
    while not log.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    if not log.exists():
        tail = (folder / "run.log").read_text(errors="replace")[-3000:]
        raise RuntimeError(f"{job.rule} did not start:\n{tail}")
    at = rng.random() * job.seconds
    found = Strike(job.rule, fault, round(at, 2))
    try:
        process.wait(at)
        found.hit = False
    except subprocess.TimeoutExpired:
        found.orphans = end(process, fault, END_S + 3 * job.seconds, mark)
    found.locked = unlock(folder)
    there = tuple(name for name in job.outputs if (folder / name).exists())
    found.partial = differences(whole, folder, there)
    return found


def disturb(work: Path, job: Job, faults: list[str], rng: random.Random) -> tuple[list, list]:
    """Kill one stage once with each of `faults` and let it finish; return strikes, differences."""
    whole, folder = work / "undisturbed", work / f"stage-{job.rule}"
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run(["cp", "-a", str(whole), str(folder)], check=True)
    remove(folder, job.outputs)
    strikes = []
    for fault in faults:
        for _ in range(4):  # a job that was over before its moment is tried again
            found = strike(folder, whole, job, fault, rng)
            if found.hit:
                break
            remove(folder, job.outputs)
        strikes.append(found)
        print(f"{'ok  ' if found.survived else 'FAIL'} {asdict(found)}", flush=True)
    try:
        finish(folder, *job.outputs)
        wrong = differences(whole, folder, job.outputs)
    except RuntimeError as error:
        wrong = [f"did not finish: {error}"]
    print(f"{job.rule}: finished, differences: {wrong or 'none'}", flush=True)
    if not wrong and all(found.survived for found in strikes):
        shutil.rmtree(folder)
    return strikes, wrong


def fill_disk(work: Path, job: Job, rng: random.Random) -> tuple[list, list]:
    """Let the disk be full in the middle of one stage, then free it and let the stage finish.

    The folder is a small file system of its own, in memory; to mount it takes root.
    """
    whole, folder = work / "undisturbed", work / f"stage-{job.rule}"
    folder.mkdir(exist_ok=True)
    size = sum(path.stat().st_size for path in whole.rglob("*") if path.is_file())
    mount = ["mount", "-t", "tmpfs", "-o", f"size={2 * size + 2**27}", "tmpfs", str(folder)]
    subprocess.run(mount, check=True)
    try:
        subprocess.run(["cp", "-a", f"{whole}/.", str(folder)], check=True)
        paths = [p for name in job.outputs for p in [whole / name, *(whole / name).rglob("*")]]
        made = sum(path.stat().st_size for path in paths)
        remove(folder, job.outputs)
        left = int(SNAKEMAKES + rng.uniform(0.1, 0.8) * made)
        ballast, state = folder / "ballast", os.statvfs(folder)
        with ballast.open("wb") as stream:
            os.posix_fallocate(stream.fileno(), 0, state.f_bavail * state.f_bsize - left)
        found = Strike(job.rule, DISK_FULL, left)
        mark = f"{os.getpid()}-{time.monotonic_ns()}"
        process = start(folder, job.outputs, mark, log=work / f"disk-{job.rule}.log")
        found.hit = process.wait() != 0
        found.orphans = [words for _, words in living(mark)]
        found.locked = unlock(folder)
        there = tuple(name for name in job.outputs if (folder / name).exists())
        found.partial = differences(whole, folder, there)
        ballast.unlink()
        finish(folder, *job.outputs)
        wrong = differences(whole, folder, job.outputs)
    except RuntimeError as error:
        wrong = [f"did not finish: {error}"]
    finally:
        subprocess.run(["umount", str(folder)], check=True)
    folder.rmdir()
    print(f"{'ok  ' if found.survived else 'FAIL'} {asdict(found)} {wrong}", flush=True)
    return [found], wrong


def disturb_chain(
    work: Path, jobs: list[Job], faults: list[str], rng: random.Random
) -> tuple[list, list]:
    """Kill a run from nothing once with each of `faults`, let it finish, compare everything."""
    whole, folder = work / "undisturbed", work / "stage-chain"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    outputs = tuple(name for job in jobs for name in job.outputs)
    usual = sum(job.seconds for job in jobs) / len(faults)  # two jobs run at a time
    strikes = []
    for fault in faults:
        mark = f"{os.getpid()}-{time.monotonic_ns()}"
        process = start(folder, ("all",), mark)
        at = 5 + rng.random() * usual
        found = Strike("chain", fault, round(at, 2))
        try:
            process.wait(at)
            found.hit = False
        except subprocess.TimeoutExpired:
            found.orphans = end(process, fault, END_S, mark)
        found.locked = unlock(folder)
        strikes.append(found)
        print(f"{'ok  ' if found.survived else 'FAIL'} {asdict(found)}", flush=True)
    try:
        finish(folder, "all")
        wrong = differences(whole, folder, outputs)
    except RuntimeError as error:
        wrong = [f"did not finish: {error}"]
    return strikes, wrong


def table(strikes: list[Strike], wrong: dict[str, list[str]]) -> str:
    """Return the outcome by stage as Markdown: survived of tried for each signal."""
    hits = [found for found in strikes if found.hit]
    tried = Counter((found.stage, found.fault) for found in hits)
    good = Counter((found.stage, found.fault) for found in hits if found.survived)
    kinds = [kind for kind in (*FAULTS, DISK_FULL) if any(found.fault == kind for found in hits)]
    lines = [f"| stage | {' | '.join(kinds)} | result |"]
    lines.append("| --- |" + " ---: |" * len(kinds) + " --- |")
    for stage in dict.fromkeys(found.stage for found in strikes):
        cells = [f"{good[stage, name]} of {tried[stage, name]}" for name in kinds]
        result = "differs" if wrong[stage] else "the same"
        lines.append(f"| {stage} | {' | '.join(cells)} | {result} |")
    return "\n".join(lines)


def main() -> int:
    """Disturb the chosen stages and report; 1 if one did not survive."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--stages", nargs="+", default=["all"], help="rules, `all` or `chain`")
    parser.add_argument("--targets", nargs="+", default=["all"], help="of the undisturbed run")
    parser.add_argument("--kills", type=int, default=5, help="of each stage")
    parser.add_argument("--disk-full", action="store_true", help="that, and no kills; needs root")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--out", type=Path, required=True, help="JSON")
    args = parser.parse_args()
    work = args.work.resolve()
    whole = work / "undisturbed"
    whole.mkdir(parents=True, exist_ok=True)
    (work / "overlay.yaml").write_text(yaml.safe_dump(SMALL), encoding="utf-8")
    finish(whole, *args.targets)  # at once, if an earlier call made it
    jobs = jobs_of(whole, args.targets)
    jobs.pop("all", None)
    stages = args.stages
    if stages == ["all"]:
        stages = [name for name in FIRST if name in jobs]
        stages += [name for name in jobs if name not in stages]
    strikes, wrong = [], {}
    for stage in stages:
        rng = random.Random(f"{args.seed} {stage}")
        names = list(FAULTS)
        rng.shuffle(names)
        faults = [names[number % len(names)] for number in range(args.kills)]
        if args.disk_full:
            found, wrong[stage] = fill_disk(work, rng.choice(jobs[stage]), rng)
        elif stage == "chain":
            every = [job for found in jobs.values() for job in found]
            found, wrong[stage] = disturb_chain(work, every, faults, rng)
        else:
            found, wrong[stage] = disturb(work, rng.choice(jobs[stage]), faults, rng)
        strikes += found
        record = {"seed": args.seed, "strikes": [asdict(s) for s in strikes], "differences": wrong}
        args.out.write_text(json.dumps(record, ensure_ascii=False, indent=2) + "\n")
    print(table(strikes, wrong))
    return int(any(wrong.values()) or not all(found.survived for found in strikes))


if __name__ == "__main__":
    sys.exit(main())
