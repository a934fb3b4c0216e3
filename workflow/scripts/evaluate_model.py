"""Evaluate one variant on one benchmark: serve it, let OpenCompass ask, prove it, keep the rows.

The server and OpenCompass start at once, and whichever fails ends both.
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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from butler.benchmarks.base import CONCURRENCY
from butler.benchmarks.opencompass.proof import cut_share, rows, to_csv, verify
from butler.benchmarks.question_sheet import QuestionSheet, read_sheet
from butler.benchmarks.registry import read_benchmark
from butler.checks import conclude
from butler.errors import ButlerError, run_cli
from butler.files import atomic_write_json, atomic_write_text
from butler.manifest import check_unchanged
from butler.process import last_lines, running_process
from butler.progress import counted, progress
from butler.serve.model_server import RunningServer, ServerPlan, StartingServer, starting_server
from butler.tools import OFFLINE

SCRIPTS = Path(__file__).resolve().parent
ANSWERED = "answered.jsonl"  # a line for each answer, written by OpenCompass's process
URL = "server.url"  # of the server, once it answers
MODEL_LOG = "transformers.log"
KEPT = ("details.jsonl", "scores.json", "opencompass.log", "server.log", MODEL_LOG)
RUN_CONFIG = SCRIPTS / "butler" / "benchmarks" / "opencompass" / "run_config.py"
ANSWERS_SCRIPT = SCRIPTS / "hf_answers.py"


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--benchmark", required=True, help="an entry of the configuration's benchmarks, as JSON")
    add("--questions", required=True, type=Path, help="its question sheet (questions.py)")
    add("--repository", required=True, type=Path, help="where relative paths start")
    add("--variant", required=True, help="name in the results, also the served model's id")
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--workspace", type=Path, help="a folder that serve.py serves")
    model.add_argument("--model", type=Path, help="a Hugging Face model, answered by transformers")
    add("--server-python", type=Path, help="python of the lmdeploy environment, for --workspace")
    add("--transformers-python", type=Path, help="python that loads the model, for --model")
    add("--opencompass-python", required=True, type=Path)
    add("--engine", default="auto", choices=("auto", "reference", "turbomind"))
    add("--tp", type=int, help="GPUs; default: what the workspace is split for")
    add("--trust-remote-code", action="store_true", help="run code that the folder brings")
    add("--session-len", type=int, required=True, help="tokens of a prompt and its answer")
    add("--threads", type=int, required=True)
    add("--max-blank-share", type=float, required=True, help="answers that may be without text")
    add("--work-dir", required=True, type=Path)
    add("--out", required=True, type=Path)
    add("--check", required=True, type=Path)
    arguments = parser.parse_args()
    needed = "server_python" if arguments.workspace else "transformers_python"
    if getattr(arguments, needed) is None:
        parser.error(f"--{needed.replace('_', '-')} is missing")
    return arguments


def main() -> None:
    """Run the evaluation; whatever goes wrong leaves a failed check and no CSV."""
    arguments = parse_arguments()
    signal.signal(signal.SIGTERM, _terminate)
    arguments.out.unlink(missing_ok=True)
    kind, settings = read_benchmark(arguments.benchmark)
    name = f"evaluation_{settings.name}_{arguments.variant}"
    limits = {"max_blank_share": arguments.max_blank_share}
    try:
        _check_folders(arguments)
        # Here too, though the server does it: OpenCompass reads the tokenizer beside it.
        manifests = check_unchanged(arguments.workspace or arguments.model)
        sheet = read_sheet(arguments.questions, settings.name)
        work = arguments.work_dir.resolve()
        measured = evaluate(sheet, arguments, work)
        details = verify(
            sheet, kind, settings, arguments.variant, _run_folder(work), work / ANSWERED
        )
        scores = json.loads((work / "scores.json").read_text(encoding="utf-8"))
        table = rows(sheet, kind, settings, arguments.variant, scores, details)
    except ButlerError as error:
        conclude(arguments.check, name, False, str(error), {}, limits)
        raise
    lines = [json.dumps(record, ensure_ascii=False) for record in details]
    atomic_write_text(work / "details.jsonl", "\n".join(lines) + "\n")
    tidy(work)
    blank = sum(not record["prediction"].strip() for record in details) / len(details)
    shots = [record["shots"] for record in details if "shots" in record]
    measured |= {
        "blank_share": blank,
        "cut_share": cut_share(details) / 100,
        "fewest_examples_in_a_prompt": min(shots, default=0),
    }
    passed = blank <= arguments.max_blank_share
    sentence = (
        f"all {sheet.total} questions of {settings.name} asked, answered and scored"
        if passed
        else f"{blank:.0%} of the answers are without text; see {arguments.work_dir}/details.jsonl"
    )
    if passed:
        atomic_write_text(arguments.out, to_csv(table))
    wrote = [arguments.out, work / "details.jsonl"] if passed else []
    conclude(arguments.check, name, passed, sentence, measured, limits, wrote, manifests)
    average = table[-1]
    print(f"{name}: {average['metric']} {average['score']} over {sheet.total} questions")


def _check_folders(arguments: argparse.Namespace) -> None:
    """Look for what is started and what is served, before anything is."""
    folder = arguments.workspace or arguments.model
    if not folder.is_dir():
        raise ButlerError(f"{'workspace' if arguments.workspace else 'model'} {folder} is missing")
    python = arguments.server_python if arguments.workspace else arguments.transformers_python
    for each in (python, arguments.opencompass_python):
        if not each.exists():
            raise ButlerError(f"{each} is missing; build the tool environments first")


def evaluate(sheet: QuestionSheet, arguments: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Serve and ask; return what the check records of it."""
    # OpenCompass takes up predictions by file name, whichever model made them.
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    started = time.monotonic()
    with _starting(arguments, work) as starting:
        server, ready, first = ask(sheet, arguments, starting, work)
    seconds = {"server_start_s": ready, "first_answer_s": first, "evaluation_s": time.monotonic()}
    return {
        "questions": sheet.total,
        "engine": server.engine if server else "transformers",
    } | {name: round(at - started, 2) for name, at in seconds.items() if at is not None}


@contextmanager
def _starting(arguments: argparse.Namespace, work: Path) -> Iterator[StartingServer | None]:
    """Start to serve the workspace for the block; a Hugging Face model needs no server."""
    if arguments.workspace is None:
        yield None
        return
    plan = ServerPlan(
        python=arguments.server_python.absolute(),
        workspace=arguments.workspace,
        model_name=arguments.variant,
        engine=arguments.engine,
        threads=arguments.threads,
        trust_remote_code=arguments.trust_remote_code,
        tp=arguments.tp,
    )
    with starting_server(plan, work) as starting:
        yield starting


def ask(
    sheet: QuestionSheet, arguments: argparse.Namespace, starting: StartingServer | None, work: Path
) -> tuple[RunningServer | None, float | None, float | None]:
    """Run OpenCompass against the server or the Hugging Face model, in one process.

    It starts while the server does, and waits for it with its first question.

    Returns:
        The server, and the monotonic times at which it answered and the first question was.

    Raises:
        ButlerError: if either of the two ends before its time, or there are no complete scores.
    """
    settings = work / "settings.json"
    atomic_write_json(settings, _settings(arguments, work))
    # Only the package: beside this script, `import evaluate` would find it and not the library.
    (work / "python").mkdir()
    (work / "python" / "butler").symlink_to(SCRIPTS / "butler", target_is_directory=True)
    cwd = work / "cwd"  # OpenCompass leaves tmp/ and caches where it runs
    cwd.mkdir()
    log = work / "opencompass.log"
    command = [arguments.opencompass_python.absolute(), "-m", "opencompass.cli.main", RUN_CONFIG]
    command += ["--work-dir", work / "runs", "--debug"]  # --debug: one process, failures are fatal
    environment = _environment(work, settings, arguments.threads if starting is None else 1)
    begun, answered = time.monotonic(), work / ANSWERED
    server, ready, first = None, None, None

    def status() -> str:
        if starting and not server:
            return "the server and OpenCompass are starting"
        done = answered.read_bytes().count(b"\n") if answered.exists() else 0
        return counted(done, sheet.total, "questions answered", first or begun)

    with (
        running_process(command, log, environment, cwd) as process,
        progress(f"evaluate {sheet.benchmark} {arguments.variant}", status),
    ):
        while process.poll() is None:
            if server:
                server.check_alive()
            elif starting and (server := starting.poll()):
                ready = time.monotonic()
                atomic_write_text(work / URL, f"{server.url}/v1")
            if first is None and answered.exists():
                first = time.monotonic()
            time.sleep(0.1)
    if server:
        server.check_alive()
    if process.returncode != 0 or not (work / "scores.json").exists():
        raise ButlerError(
            f"OpenCompass ended with code {process.returncode} and no complete scores; "
            f"its log {log} ends: {last_lines(log)}"
        )
    return server, ready, first


def _settings(arguments: argparse.Namespace, work: Path) -> dict[str, Any]:
    """What butler/benchmarks/opencompass/build.py reads."""
    folder = (arguments.workspace or arguments.model).resolve()
    settings = {
        "benchmark": arguments.benchmark,
        "repository": str(arguments.repository.resolve()),
        "questions": str(arguments.questions.resolve()),
        "variant": arguments.variant,
        "url_file": str(work / URL) if arguments.workspace else None,
        "tokenizer": str(folder),
        "session_len": arguments.session_len,
        "concurrency": CONCURRENCY,
        "trust_remote_code": arguments.trust_remote_code,
        "scores": str(work / "scores.json"),
        "answered": str(work / ANSWERED),
    }
    if arguments.workspace is None:
        python = str(arguments.transformers_python.absolute())
        flags = ["--trust-remote-code"] if arguments.trust_remote_code else []
        settings["command"] = [python, str(ANSWERS_SCRIPT), "--model", str(folder), *flags]
        settings["log"] = str(work / MODEL_LOG)
    return settings


def _environment(work: Path, settings: Path, threads: int) -> dict[str, str]:
    """The environment of OpenCompass and what it starts: no network, caches in the work folder."""
    keep = {name: value for name, value in os.environ.items() if name != "DATASET_SOURCE"}
    return keep | {
        **OFFLINE,
        "BUTLER_EVALUATION": str(settings),
        "PYTHONPATH": str(work / "python"),
        "HF_HOME": str(work / "cache" / "huggingface"),
        "COMPASS_DATA_CACHE": str(work / "cache"),
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": str(threads),
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
