"""Evaluate one variant on one benchmark: serve it, let OpenCompass ask, prove it, keep the rows.

The server and OpenCompass start at once, and whichever fails ends both. With --against it asks in
rounds and stops when it is settled whether the variant loses more than it may.
Writes the results CSV and the evaluation check only if all that was asked was answered and scored;
per-question details stay in `--work-dir`/details.jsonl, with the logs; a failed one leaves all.
"""

import argparse
import json
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from butler.arguments import positive, thread_count
from butler.benchmarks.base import Benchmark, BenchmarkSettings
from butler.benchmarks.opencompass.asking import ANSWERED, LOG, MODEL_LOG, SCORES, Asker
from butler.benchmarks.opencompass.proof import cut_share, rows, to_csv, verify
from butler.benchmarks.question_sheet import QuestionSheet, read_sheet
from butler.benchmarks.registry import read_benchmark
from butler.checks import conclude
from butler.comparisons import common, looks_of
from butler.devices import ENGINES
from butler.errors import ButlerError, run_cli
from butler.files import atomic_write_text
from butler.manifest import check_unchanged
from butler.progress import say
from butler.question_rounds import planned_rounds, read_records, up_to_round
from butler.rounds import Looks, Rounds
from butler.serve.model_server import ServerPlan, StartingServer, starting_server
from butler.verdicts import Outcome, settled

KEPT = ("details.jsonl", SCORES, LOG, "server.log", MODEL_LOG)


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
    add("--engine", default="auto", choices=ENGINES)
    add("--tp", type=positive, help="GPUs; default: what the workspace is split for")
    add("--trust-remote-code", action="store_true", help="run code that the folder brings")
    add("--session-len", type=int, required=True, help="tokens of a prompt and its answer")
    add("--threads", type=thread_count, required=True)
    add("--max-blank-share", type=float, required=True, help="answers that may be without text")
    many = parser.add_mutually_exclusive_group()
    many.add_argument("--first-only", action="store_true", help="ask the first round alone")
    many.add_argument(
        "--against",
        type=Path,
        help="details.jsonl of the baseline: ask round by round until the change is settled",
    )
    add("--limit", type=float, help="points that may be lost against it")
    add("--error", type=float, help="chance to settle it wrongly")
    add("--variants", type=int, help="how many are compared with it; they share the error")
    add("--benchmarks", type=int, help="on how many each is")
    add("--work-dir", required=True, type=Path)
    add("--out", required=True, type=Path)
    add("--check", required=True, type=Path)
    arguments = parser.parse_args()
    needed = "server_python" if arguments.workspace else "transformers_python"
    if getattr(arguments, needed) is None:
        parser.error(f"--{needed.replace('_', '-')} is missing")
    rule = ("limit", "error", "variants", "benchmarks")
    if arguments.against and (missing := [one for one in rule if getattr(arguments, one) is None]):
        parser.error(f"--against needs --{missing[0]}")
    return arguments


def main() -> None:
    """Run the evaluation; whatever goes wrong leaves a failed check and no CSV."""
    arguments = parse_arguments()
    signal.signal(signal.SIGTERM, _terminate)
    arguments.out.unlink(missing_ok=True)
    kind, settings = read_benchmark(arguments.benchmark)
    name = f"evaluation_{settings.name}_{arguments.variant}"
    limits = {"max_blank_share": arguments.max_blank_share}
    work = arguments.work_dir.resolve()
    try:
        _check_folders(arguments)
        # Here too, though the server does it: OpenCompass reads the tokenizer beside it.
        manifests = check_unchanged(arguments.workspace or arguments.model)
        sheet = read_sheet(arguments.questions, settings.name)
        asked, measured = evaluate(sheet, kind, settings, arguments, work)
    except ButlerError as error:
        conclude(arguments.check, name, False, str(error), {}, limits)
        raise
    details = asked.details
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
    many = f"all {sheet.total}" if asked.whole else f"{len(details)} of {sheet.total}"
    sentence = (
        f"{many} questions of {settings.name} asked, answered and scored{asked.why}"
        if passed
        else f"{blank:.0%} of the answers are without text; see {arguments.work_dir}/details.jsonl"
    )
    if passed:
        atomic_write_text(arguments.out, to_csv(asked.table))
    wrote = [arguments.out, work / "details.jsonl"] if passed else []
    conclude(arguments.check, name, passed, sentence, measured, limits, wrote, manifests)
    average = asked.table[-1]
    print(f"{name}: {average['metric']} {average['score']} over {len(details)} questions")


def _check_folders(arguments: argparse.Namespace) -> None:
    """Look for what is started and what is served, before anything is."""
    folder = arguments.workspace or arguments.model
    if not folder.is_dir():
        raise ButlerError(f"{'workspace' if arguments.workspace else 'model'} {folder} is missing")
    python = arguments.server_python if arguments.workspace else arguments.transformers_python
    for each in (python, arguments.opencompass_python):
        if not each.exists():
            raise ButlerError(f"{each} is missing; build the tool environments first")


@dataclass(frozen=True)
class Asked:
    """What was asked by the end of a round: the records and the table's rows of proof.py.

    `outcome` is what it shows of the change against the baseline, None if there is nothing to
    compare with, and `why` says so in words, or why no more was asked; `whole` says that there is
    no more.
    """

    details: list[dict[str, Any]]
    table: list[dict[str, Any]]
    outcome: Outcome | None
    why: str
    whole: bool


def evaluate(
    sheet: QuestionSheet,
    kind: type[Benchmark],
    settings: BenchmarkSettings,
    arguments: argparse.Namespace,
    work: Path,
) -> tuple[Asked, dict[str, Any]]:
    """Serve once and ask; return what was asked, and what the check records of it.

    Raises:
        ButlerError: if a process ends before its time, or an answer is not proven.
    """
    # OpenCompass takes up predictions by file name, whichever model made them.
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    started = time.monotonic()
    with _starting(arguments, work) as starting:
        asker = Asker(arguments, starting, work)
        asked = ask_in_rounds(asker, sheet, kind, settings, arguments)
    seconds = {"server_start_s": asker.ready, "first_answer_s": asker.first}
    seconds |= {"evaluation_s": time.monotonic()}
    found = {
        "questions": len(asked.details),
        "planned_rounds": planned_rounds(sheet),
        "engine": asker.server.engine if asker.server else "transformers",
    }
    found |= {"settled": asked.outcome} if asked.outcome else {}
    taken = {name: round(at - started, 2) for name, at in seconds.items() if at is not None}
    return asked, found | taken


def ask_in_rounds(
    asker: Asker,
    sheet: QuestionSheet,
    kind: type[Benchmark],
    settings: BenchmarkSettings,
    arguments: argparse.Namespace,
) -> Asked:
    """Ask a round after another, each proven, until the change against the baseline is settled.

    Without a baseline all is asked at once, or with --first-only the first round.
    """
    planned, work = planned_rounds(sheet), asker.work
    baseline = read_records(arguments.against) if arguments.against else None
    last = 1 if arguments.first_only else len(planned)
    for number in range(last if baseline is None else 1, last + 1):
        part = up_to_round(sheet, number)
        run = asker.ask(part)
        details = verify(part, kind, settings, arguments.variant, run, work / ANSWERED)
        scores = json.loads((work / SCORES).read_text(encoding="utf-8"))
        table = rows(part, kind, settings, arguments.variant, scores, details)
        whole = number == len(planned)
        outcome, why = None, "" if whole else ", the first round alone"
        if baseline is not None:
            outcome, why = _judge(looks_of(common(details, baseline), Rounds(planned)), arguments)
            goes_on = ", going on" if outcome is Outcome.UNDECIDED and not whole else ""
            say(
                f"evaluate {settings.name} {arguments.variant}",
                f"round {number} of {len(planned)}: {len(details)} questions{why}{goes_on}",
            )
        asked = Asked(details, table, outcome, why, whole)
        if outcome in (Outcome.WITHIN, Outcome.OVER):
            break
    return asked


def _judge(looks: Looks, arguments: argparse.Namespace) -> tuple[Outcome, str]:
    """Return what the rounds so far show of a change, and that in words."""
    limit, error = arguments.limit, arguments.error
    variants, benchmarks = arguments.variants, arguments.benchmarks
    outcome = settled(looks, limit, error, variants, benchmarks)
    low, high = looks.bounds(error / variants, error / benchmarks)
    words = "not settled" if outcome is Outcome.UNDECIDED else f"{outcome} the limit of {limit:g}"
    found = [f"{value:+.1f}".replace("-", "−") for value in (looks.last.mean, low, high)]
    return outcome, f", change {found[0]} points [{found[1]}, {found[2]}]: {words}"


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
