"""Evaluate one variant on one benchmark: serve it, let OpenCompass ask, prove it, keep the rows.

Writes the results CSV and the evaluation check only if every question was asked and scored;
per-question details stay in `--work-dir`/details.jsonl, with the logs; a failed one leaves all.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

from butler.benchmarks.opencompass.plan import BENCHMARKS, Plan, link_ceval, plan_ceval, plan_recipe
from butler.benchmarks.opencompass.verify import rows, to_csv, verify
from butler.checks import conclude
from butler.errors import ButlerError, run_cli
from butler.files import atomic_write_json, atomic_write_text
from butler.progress import counted, progress
from butler.serve.model_server import (
    RunningServer,
    ServerPlan,
    last_lines,
    running_process,
    running_server,
)

SCRIPTS = Path(__file__).resolve().parent
ANSWERED = "answered"  # a byte for each question, written by OpenCompass's process
KEPT = ("details.jsonl", "scores.json", "opencompass.log", "server.log")
RUN_CONFIG = SCRIPTS / "butler" / "opencompass" / "run_config.py"


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--benchmark", required=True, choices=BENCHMARKS)
    add("--variant", required=True, help="name in the results, also the served model's id")
    add("--workspace", required=True, type=Path)
    add("--server-python", required=True, type=Path, help="python of the lmdeploy environment")
    add("--opencompass-python", required=True, type=Path)
    add("--engine", default="auto", choices=("auto", "reference", "turbomind"))
    add("--tp", type=int, help="GPUs; default: what the workspace is split for")
    add("--trust-remote-code", action="store_true", help="run tokenizer code of the workspace")
    add("--data", required=True, type=Path, help="C-Eval folder (dev, val, test) or test.jsonl")
    add("--subjects", default="", help="C-Eval subjects, comma separated")
    add("--split", default="val", choices=("val", "test"))
    add("--questions", type=int, default=0, help="recipes to ask for; 0 asks for all")
    add("--max-new-tokens", type=int, required=True)
    add("--session-len", type=int, required=True, help="tokens of a prompt and its answer")
    add("--threads", type=int, default=2)
    add("--concurrency", type=int, default=16, help="questions asked at a time")
    add("--max-blank-share", type=float, default=0.99, help="answers that may be without text")
    add("--work-dir", required=True, type=Path)
    add("--out", required=True, type=Path)
    add("--check", required=True, type=Path)
    return parser.parse_args()


def main() -> None:
    """Run the evaluation; whatever goes wrong leaves a failed check and no CSV."""
    arguments = parse_arguments()
    signal.signal(signal.SIGTERM, _terminate)
    arguments.out.unlink(missing_ok=True)
    name = f"evaluation_{arguments.benchmark}_{arguments.variant}"
    limits = {"max_blank_share": arguments.max_blank_share}
    try:
        plan = make_plan(arguments)
        table, measured = evaluate(plan, arguments)
    except ButlerError as error:
        conclude(arguments.check, name, False, str(error), {}, limits)
        raise
    blank = measured["blank_share"]
    passed = blank <= arguments.max_blank_share
    sentence = (
        f"all {plan.total} questions of {arguments.benchmark} asked, answered and scored"
        if passed
        else f"{blank:.0%} of the answers are without text; see {arguments.work_dir}/details.jsonl"
    )
    conclude(arguments.check, name, passed, sentence, measured, limits)
    atomic_write_text(arguments.out, to_csv(table))
    average = table[-1]
    print(f"{name}: {average['metric']} {average['score']} over {plan.total} questions")


def make_plan(arguments: argparse.Namespace) -> Plan:
    """Read the questions; bad input stops here, before anything is started."""
    for option in ("max_new_tokens", "threads", "concurrency"):
        if getattr(arguments, option) < 1:
            raise ButlerError(f"--{option.replace('_', '-')} must be at least 1")
    if arguments.session_len <= arguments.max_new_tokens:
        raise ButlerError("--session-len leaves no room for a prompt beside --max-new-tokens")
    if not arguments.workspace.is_dir():
        raise ButlerError(f"workspace {arguments.workspace} is missing")
    for python in (arguments.server_python, arguments.opencompass_python):
        if not python.exists():
            raise ButlerError(f"{python} is missing; build the tool environments first")
    if arguments.benchmark == "recipe":
        return plan_recipe(arguments.data, arguments.questions)
    subjects = [name.strip() for name in arguments.subjects.split(",") if name.strip()]
    return plan_ceval(arguments.data, subjects, arguments.split)


def evaluate(
    plan: Plan, arguments: argparse.Namespace
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Serve, ask, verify; return the CSV rows and what the check records."""
    work = arguments.work_dir.resolve()
    # OpenCompass takes up predictions by file name, whichever model made them.
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    server_plan = ServerPlan(
        python=arguments.server_python.absolute(),
        workspace=arguments.workspace,
        model_name=arguments.variant,
        engine=arguments.engine,
        threads=arguments.threads,
        trust_remote_code=arguments.trust_remote_code,
        tp=arguments.tp,
    )
    started = time.monotonic()
    with running_server(server_plan, work) as server:
        ready = time.monotonic()
        print(f"{plan.total} questions for {arguments.variant} ({server.engine})", file=sys.stderr)
        ask(plan, arguments, server, work)
        asked = time.monotonic()
    details = verify(plan, arguments.variant, _run_folder(work))
    scores = json.loads((work / "scores.json").read_text(encoding="utf-8"))
    table = rows(plan, arguments.variant, scores)
    lines = [json.dumps(record, ensure_ascii=False) for record in details]
    atomic_write_text(work / "details.jsonl", "\n".join(lines) + "\n")
    tidy(work)
    return table, {
        "questions": plan.total,
        "engine": server.engine,
        "blank_share": sum(not d["prediction"].strip() for d in details) / len(details),
        "fewest_examples_in_a_prompt": min(record["shots"] for record in details),
        "server_start_s": round(ready - started, 2),
        "opencompass_s": round(asked - ready, 2),
    }


def ask(plan: Plan, arguments: argparse.Namespace, server: RunningServer, work: Path) -> None:
    """Run OpenCompass against the server, in one process.

    Raises:
        ButlerError: if it fails or the server ends while it runs.
    """
    settings = work / "settings.json"
    atomic_write_json(settings, _settings(plan, arguments, server, work))
    if plan.benchmark == "ceval":
        link_ceval(arguments.data, work / "cache")
    # Only the package: beside this script, `import evaluate` would find it and not the library.
    (work / "python").mkdir()
    (work / "python" / "butler").symlink_to(SCRIPTS / "butler", target_is_directory=True)
    cwd = work / "cwd"  # OpenCompass leaves tmp/ and caches where it runs
    cwd.mkdir()
    log = work / "opencompass.log"
    command = [arguments.opencompass_python.absolute(), "-m", "opencompass.cli.main", RUN_CONFIG]
    command += ["--work-dir", work / "runs", "--debug"]  # --debug: one process, failures are fatal
    started, answered = time.monotonic(), work / ANSWERED

    def status() -> str:
        done = answered.stat().st_size if answered.exists() else 0
        return counted(done, plan.total, "questions answered", started)

    with (
        running_process(command, log, _environment(work, settings), cwd) as process,
        progress(f"evaluate {plan.benchmark} {arguments.variant}", status),
    ):
        while process.poll() is None:
            server.check_alive()
            time.sleep(0.2)
    server.check_alive()
    if process.returncode != 0 or not (work / "scores.json").exists():
        raise ButlerError(
            f"OpenCompass ended with code {process.returncode} and no complete scores; "
            f"its log {log} ends: {last_lines(log)}"
        )


def _settings(
    plan: Plan, arguments: argparse.Namespace, server: RunningServer, work: Path
) -> dict[str, Any]:
    first = next(iter(plan.questions.values()))[0]
    return {
        "benchmark": plan.benchmark,
        "variant": arguments.variant,
        "url": server.url,
        "tokenizer": str(arguments.workspace.resolve()),
        "session_len": arguments.session_len,
        "max_new_tokens": arguments.max_new_tokens,
        "concurrency": arguments.concurrency,
        "trust_remote_code": arguments.trust_remote_code,
        "subjects": list(plan.questions),
        "split": arguments.split,
        "data": str(arguments.data.resolve()),
        "questions": plan.total,
        "system": bool(first.prompt and len(first.prompt) == 2),
        "scores": str(work / "scores.json"),
        "answered": str(work / ANSWERED),
    }


def _environment(work: Path, settings: Path) -> dict[str, str]:
    """The environment of OpenCompass: no network, caches in the work folder."""
    keep = {name: value for name, value in os.environ.items() if name != "DATASET_SOURCE"}
    offline = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE")
    return keep | {
        **dict.fromkeys((*offline, "TRANSFORMERS_OFFLINE"), "1"),
        "BUTLER_EVALUATION": str(settings),
        "PYTHONPATH": str(work / "python"),
        "HF_HOME": str(work / "cache" / "huggingface"),
        "COMPASS_DATA_CACHE": str(work / "cache"),
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": "1",
    }


def _run_folder(work: Path) -> Path:
    """Return the one folder, named by the time, that OpenCompass made in this run."""
    folders = sorted(path for path in (work / "runs").iterdir() if path.is_dir())
    if len(folders) != 1:
        raise ButlerError(f"OpenCompass left {len(folders)} run folders in {work / 'runs'}, not 1")
    return folders[0]


def tidy(work: Path) -> None:
    """Leave of a finished evaluation what tells of it, without the paths of this machine."""
    for path in work.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name not in KEPT:
            path.unlink()
    here = str(Path.cwd())
    for log in work.glob("*.log"):
        text = log.read_text(encoding="utf-8", errors="replace")
        atomic_write_text(log, text.replace(f"{work}/", "").replace(f"{here}/", ""))


def _terminate(signum: int, frame: FrameType | None) -> None:
    """Turn SIGTERM into an exit that unwinds the stack, so that both processes are stopped."""
    sys.exit(128 + signum)


if __name__ == "__main__":
    run_cli(main)
