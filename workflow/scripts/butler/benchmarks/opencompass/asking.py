"""Asking a model through OpenCompass, once or in rounds (runs in the workflow's environment).

OpenCompass runs anew for each round, over all that is asked by then, so that it scores and sums up
all of it together. What the model answered before it is not asked again (chat_models.py).
"""

import os
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

from butler.benchmarks.base import CONCURRENCY
from butler.benchmarks.question_sheet import QuestionSheet, write_sheet
from butler.errors import ButlerError
from butler.files import atomic_write_json, atomic_write_text
from butler.process import last_lines, running_process
from butler.progress import counted, progress
from butler.serve.model_server import RunningServer, StartingServer
from butler.tools import OFFLINE

HERE = Path(__file__).resolve().parent
SCRIPTS = HERE.parents[2]
RUN_CONFIG = HERE / "run_config.py"
ANSWERS_SCRIPT = SCRIPTS / "hf_answers.py"
ANSWERED = "answered.jsonl"  # a line for each answer, written by OpenCompass's process
KNOWN = "known.jsonl"  # that of the round before
SCORES = "scores.json"
LOG = "opencompass.log"
URL = "server.url"  # of the server, once it answers
MODEL_LOG = "transformers.log"


class Asker:
    """OpenCompass, which asks the server or the Hugging Face model of a command line.

    `server` is there once it answers; `ready` and `first` are the monotonic times at which it did
    and at which the first question was answered.
    """

    def __init__(self, arguments: Namespace, starting: StartingServer | None, work: Path) -> None:
        self.arguments, self.starting, self.work = arguments, starting, work
        self.server: RunningServer | None = None
        self.ready: float | None = None
        self.first: float | None = None
        self._runs = 0
        # Only the package: beside the scripts, `import evaluate` would find one of them.
        (work / "python").mkdir()
        (work / "python" / "butler").symlink_to(SCRIPTS / "butler", target_is_directory=True)
        (work / "cwd").mkdir()  # OpenCompass leaves tmp/ and caches where it runs

    def ask(self, sheet: QuestionSheet) -> Path:
        """Let OpenCompass ask what a sheet holds; return the folder that it leaves.

        It starts while the server does, and waits for it with its first question.

        Raises:
            ButlerError: if either of the two ends before its time, or there are no complete scores.
        """
        self._runs += 1
        answered, scores = self.work / ANSWERED, self.work / SCORES
        scores.unlink(missing_ok=True)
        if answered.exists():
            answered.replace(self.work / KNOWN)
        settings, runs = self.work / "settings.json", self.work / "runs" / str(self._runs)
        atomic_write_json(settings, self._settings(sheet))
        log, arguments = self.work / LOG, self.arguments
        python = arguments.opencompass_python.absolute()
        command = [python, "-m", "opencompass.cli.main", RUN_CONFIG, "--work-dir", runs]
        command += ["--debug"]  # one process, failures are fatal
        environment = self._environment(settings)
        begun = time.monotonic()

        def status() -> str:
            if self.starting and not self.server:
                return "the server and OpenCompass are starting"
            done = answered.read_bytes().count(b"\n") if answered.exists() else 0
            return counted(done, sheet.total, "questions answered", self.first or begun)

        with (
            running_process(command, log, environment, self.work / "cwd") as process,
            progress(f"evaluate {sheet.benchmark} {arguments.variant}", status),
        ):
            while process.poll() is None:
                self._watch(answered)
                time.sleep(0.1)
        if self.server:
            self.server.check_alive()
        if process.returncode != 0 or not scores.exists():
            raise ButlerError(
                f"OpenCompass ended with code {process.returncode} and no complete scores; "
                f"its log {log} ends: {last_lines(log)}"
            )
        return _run_folder(runs)

    def _watch(self, answered: Path) -> None:
        """See whether the server is there, and still is, and whether a question was answered."""
        if self.server:
            self.server.check_alive()
        elif self.starting and (server := self.starting.poll()):
            self.server, self.ready = server, time.monotonic()
            atomic_write_text(self.work / URL, f"{server.url}/v1")
        if self.first is None and answered.exists():
            self.first = time.monotonic()

    def _settings(self, sheet: QuestionSheet) -> dict[str, Any]:
        """Write the sheet and return what build.py reads."""
        arguments, work = self.arguments, self.work
        questions = work / "asked.jsonl"
        write_sheet(questions, (one for of_set in sheet.data_sets.values() for one in of_set))
        folder = (arguments.workspace or arguments.model).resolve()
        settings = {
            "benchmark": arguments.benchmark,
            "repository": str(arguments.repository.resolve()),
            "questions": str(questions),
            "variant": arguments.variant,
            "url_file": str(work / URL) if arguments.workspace else None,
            "tokenizer": str(folder),
            "session_len": arguments.session_len,
            "concurrency": CONCURRENCY,
            "trust_remote_code": arguments.trust_remote_code,
            "scores": str(work / SCORES),
            "answered": str(work / ANSWERED),
            "known": str(work / KNOWN),
        }
        if arguments.workspace is None:
            python = str(arguments.transformers_python.absolute())
            flags = ["--trust-remote-code"] if arguments.trust_remote_code else []
            settings["command"] = [python, str(ANSWERS_SCRIPT), "--model", str(folder), *flags]
            settings["log"] = str(work / MODEL_LOG)
        return settings

    def _environment(self, settings: Path) -> dict[str, str]:
        """The environment of OpenCompass and what it starts: no network, caches in `work`."""
        work, threads = self.work, self.arguments.threads if self.starting is None else 1
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


def _run_folder(runs: Path) -> Path:
    """Return the one folder, named by the time, that OpenCompass made in a run."""
    folders = sorted(path for path in runs.iterdir() if path.is_dir())
    if len(folders) != 1:
        raise ButlerError(f"OpenCompass left {len(folders)} run folders in {runs}, not 1")
    return folders[0]
