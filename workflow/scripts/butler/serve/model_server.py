"""A model server for the length of a `with` block: started, waited for, always stopped."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from butler.errors import ButlerError
from butler.lmdeploy.served_folder import read_folder
from butler.process import last_lines, running_process
from butler.serve.address import DIRECT, KEY_VARIABLE, OUR_SERVER
from butler.tools import OFFLINE

SERVE_SCRIPT = Path(__file__).resolve().parents[2] / "serve.py"
HOST = "127.0.0.1"
ANSWER_SECONDS = 86_400  # an evaluation waits for its answers; a 7B on a CPU is slow


@dataclass(frozen=True)
class ServerPlan:
    """What to serve and how.

    `python` is that of the lmdeploy environment, `engine` auto, reference or lmdeploy; `tp` is
    GPUs, None what the folder is split for; `threads` None lets the server find the fastest.
    """

    python: Path
    workspace: Path
    model_name: str
    engine: str
    threads: int | None
    trust_remote_code: bool = False
    start_seconds: float = 900.0
    tp: int | None = None


@dataclass(frozen=True)
class RunningServer:
    """Where a started server is reached, and its process and log."""

    url: str
    engine: str
    process: subprocess.Popen[bytes]
    log: Path

    def check_alive(self) -> None:
        """Raise ButlerError, quoting the log's last lines, if the server has ended."""
        code = self.process.poll()
        if code is not None:
            raise ButlerError(
                f"the model server ended with code {code} while it was needed; its log "
                f"{self.log} ends: {last_lines(self.log)}"
            )


@dataclass(frozen=True)
class StartingServer:
    """A server that has been started and may not answer yet; `deadline` is a monotonic time."""

    plan: ServerPlan
    process: subprocess.Popen[bytes]
    log: Path
    port_file: Path
    deadline: float

    def poll(self) -> RunningServer | None:
        """Return the server if it answers by now.

        Raises:
            ButlerError: if it has ended, or its time to start is over.
        """
        workspace, code = self.plan.workspace, self.process.poll()
        if code is not None:
            raise ButlerError(
                f"the model server for {workspace} ended with code {code} before it was ready; "
                f"its log {self.log} ends: {last_lines(self.log)}"
            )
        port = self.port_file.read_text().strip() if self.port_file.exists() else ""
        url = f"http://{HOST}:{port}"
        owner = _owner(url, self.plan.model_name) if port else None
        if owner is not None:
            engine = "reference" if owner == OUR_SERVER else read_folder(workspace).backend
            return RunningServer(url, engine, self.process, self.log)
        if time.monotonic() > self.deadline:
            raise ButlerError(
                f"the model server for {workspace} was not ready after "
                f"{self.plan.start_seconds:.0f} s; its log {self.log} ends: {last_lines(self.log)}"
            )
        return None


@contextmanager
def starting_server(plan: ServerPlan, folder: Path) -> Iterator[StartingServer]:
    """Start to serve a workspace, and stop with the block; log and port file lie in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    log, port_file = folder / "server.log", folder / "server.port"
    port_file.unlink(missing_ok=True)
    deadline = time.monotonic() + plan.start_seconds
    command = _command(plan, port_file)
    with running_process(command, log, _server_environment(plan.threads)) as process:
        yield StartingServer(plan, process, log, port_file, deadline)


@contextmanager
def running_server(plan: ServerPlan, folder: Path) -> Iterator[RunningServer]:
    """Serve a workspace; its log and port file lie in `folder`.

    Raises:
        ButlerError: if it does not answer within `plan.start_seconds` or ends before.
    """
    with starting_server(plan, folder) as starting:
        while (server := starting.poll()) is None:
            time.sleep(0.1)
        yield server


def _server_environment(threads: int | None) -> dict[str, str]:
    limit = {"OMP_NUM_THREADS": str(threads)} if threads else {}
    # No key is asked for, whatever the user's environment says.
    return os.environ | limit | OFFLINE | {"PYTHONUNBUFFERED": "1", KEY_VARIABLE: ""}


def _command(plan: ServerPlan, port_file: Path) -> list[str]:
    options = {
        "--workspace": plan.workspace,
        "--engine": plan.engine,
        "--model-name": plan.model_name,
        "--host": HOST,
        "--port": 0,
        "--port-file": port_file.resolve(),
        "--timeout": ANSWER_SECONDS,
    }
    words = [str(word) for option in options.items() for word in option]
    words += ["--threads", str(plan.threads)] if plan.threads else []
    words += ["--tp", str(plan.tp)] if plan.tp else []
    words += ["--trust-remote-code"] if plan.trust_remote_code else []
    return [str(plan.python), str(SERVE_SCRIPT), *words]


def _owner(url: str, model_name: str) -> str | None:
    """Return who owns this model on a healthy server; None if it is not up or has it not."""
    try:
        with DIRECT.open(f"{url}/health", timeout=5) as answer:
            answer.read()
        with DIRECT.open(f"{url}/v1/models", timeout=5) as answer:
            models = json.load(answer)["data"]
    except OSError:
        return None
    owners = [model.get("owned_by", "") for model in models if model["id"] == model_name]
    return owners[0] if owners else None
