"""Serve a workspace over an OpenAI-compatible API, as a chat in the terminal or as a web page.

With `--engine reference` this is our own engine on the CPU, the API alone. With `--engine
lmdeploy` it runs LMDeploy's `serve api_server`, `chat` or `serve gradio` with the settings of the
folder; a folder of a release without workspaces is served just so.
"""

import argparse
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

from butler.arguments import positive, thread_count
from butler.devices import ENGINES, resolve_engine
from butler.errors import ButlerError, run_cli
from butler.files import atomic_write_text
from butler.lmdeploy import guards
from butler.lmdeploy.commands import Request, command, environment
from butler.lmdeploy.release import FACES, check_installed, installed_version
from butler.lmdeploy.served_folder import check_there, is_workspace, read_folder
from butler.manifest import check_unchanged
from butler.process import dies_with_us, stop
from butler.reference.cache import KINDS
from butler.reference.workspace_reader import Workspace
from butler.serve.address import DIRECT, KEY_VARIABLE, listen, port_number

READY_TIMEOUT_S = 1800
STOP_TIMEOUT_S = 10.0
ANSWERS_AT = {"api": "/v1/models", "gradio": "/"}  # once it is up


def main() -> None:
    """Run the command line."""
    args = parse_args()
    name = args.model_name or args.workspace.resolve().name
    if resolve_engine(args.engine) == "lmdeploy":
        run_lmdeploy(args, name)
    else:
        # First, since all that follows may take minutes.
        with listen(args.host, args.port) as sock:
            serve_reference(args, open_workspace(args), name, sock)


def parse_args() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="to serve, e.g. workspaces/w4kv8")
    # As the scripts of the workflow's stages name theirs.
    parser.add_argument("--workspace", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--engine", choices=ENGINES, default="reference")
    parser.add_argument("--as", dest="face", choices=FACES, default="api")
    parser.add_argument("--tp", type=positive, help="GPUs; default: as the folder is split")
    parser.add_argument("--session-len", type=positive, help="tokens; default: the folder's")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=port_number, default=8000, help="0 takes a free one")
    parser.add_argument("--port-file", type=Path, help="gets the port once the server answers")
    parser.add_argument("--model-name", help="name served; default: the workspace's folder name")
    parser.add_argument("--kv", choices=KINDS, help="KV cache; default: the workspace's setting")
    parser.add_argument("--threads", type=thread_count, help="of the CPU; default: what is fastest")
    parser.add_argument("--max-batch", type=positive, default=32, help="answers at once, at most")
    parser.add_argument("--queue", type=positive, help="most answers that run or wait; then 429")
    parser.add_argument("--timeout", type=float, help="seconds of an answer, at most")
    parser.add_argument(
        "--api-key",
        default=os.environ.get(KEY_VARIABLE) or None,
        help=f"key that requests must bring; default: ${KEY_VARIABLE}, else none is asked for",
    )
    parser.add_argument(
        "--allow-origins",
        nargs="+",
        default=[],
        metavar="ORIGIN",
        help="web pages that may ask from a browser, e.g. https://shop.example; * for all; "
        "default: none",
    )
    parser.add_argument(
        "--trust-remote-code",
        action="store_true",
        help="run the tokenizer code in the workspace folder, if it needs any",
    )
    args = parser.parse_args()
    args.workspace = args.folder or args.workspace
    if args.workspace is None:
        parser.error("name the folder to serve, e.g. workspaces/w4kv8")
    if args.api_key == "":  # of a variable that is not set, and the server would ask for none
        parser.error("--api-key is empty; give a key, or leave it out to ask for none")
    if args.timeout is not None and not 0 < args.timeout < float("inf"):
        parser.error("--timeout takes a number of seconds, more than 0")
    return args


def open_workspace(args: argparse.Namespace) -> Workspace:
    """Return the workspace for our engine, with what the command line says otherwise.

    Raises:
        ButlerError: if our engine cannot do what is asked for.
    """
    if args.face != "api":
        raise ButlerError(f"--as {args.face} is LMDeploy's; our engine serves the API alone")
    if args.tp not in (None, 1):
        raise ButlerError(f"--tp {args.tp} is for --engine lmdeploy; our engine runs on the CPU")
    check_there(args.workspace)
    if not is_workspace(args.workspace) and (args.workspace / "config.json").is_file():
        raise ButlerError(
            f"{args.workspace} is a plain model folder, which our engine does not run; serve it "
            "with --engine lmdeploy on a CUDA machine"
        )
    workspace = Workspace(args.workspace)
    if args.session_len:
        if args.session_len > workspace.session_len:
            raise ButlerError(
                f"--session-len {args.session_len} is more than {args.workspace} is made for "
                f"({workspace.session_len}); raise workspace.session_len"
            )
        workspace.session_len = args.session_len
    check_unchanged(args.workspace)
    return workspace


def serve_reference(
    args: argparse.Namespace, workspace: Workspace, name: str, sock: socket.socket
) -> None:
    """Serve with our engine on a bound socket until SIGTERM or SIGINT."""
    import torch
    import uvicorn

    from butler.chat_tokenizer import ChatTokenizer
    from butler.reference.generate import Engine
    from butler.reference.threads import set_fastest_threads
    from butler.serve.connections import allow_files, server_options
    from butler.serve.front import ServerLimits
    from butler.serve.server import create_app

    class Server(uvicorn.Server):
        """Tells the port once connections are answered."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if args.port_file and not self.should_exit:
                atomic_write_text(args.port_file, f"{port}\n")

    port = sock.getsockname()[1]
    tokenizer = ChatTokenizer(workspace.path, args.trust_remote_code)
    files = allow_files(ServerLimits.connections)
    given = {"chats": args.queue, "answer_seconds": args.timeout, "api_key": args.api_key}
    given = {name: value for name, value in given.items() if value is not None}
    limits = ServerLimits(**given, connections=files)
    engine = Engine(workspace, args.kv, args.max_batch)
    if args.threads:
        torch.set_num_threads(args.threads)
    else:
        set_fastest_threads(engine, os.cpu_count() or 1)
    app = create_app(engine, tokenizer, name, limits, args.allow_origins)
    # The loop that sends answers must not make the engine's thread wait for the default 5 ms.
    sys.setswitchinterval(0.0005)
    config = uvicorn.Config(app, log_level="warning", **server_options(limits))
    # uvicorn raises the signal again when it has shut down; that is a clean end.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    print(f"serving {name} on http://{args.host}:{port}/v1", file=sys.stderr, flush=True)
    try:
        Server(config).run(sockets=[sock])
    finally:
        if args.port_file:
            args.port_file.unlink(missing_ok=True)


def lmdeploy_command(args: argparse.Namespace, name: str, port: int) -> list[str]:
    """Return LMDeploy's command line, when all that can be known beforehand is in order.

    Raises:
        ButlerError: if the folder, the installed LMDeploy or this machine is not fit for it.
    """
    if args.kv:
        raise ButlerError("--kv is for the reference engine; TurboMind follows quant_policy")
    folder = read_folder(args.workspace)
    check_installed(folder.release, installed_version())
    tp = guards.resolve_tp(folder, args.tp)
    session_len = guards.resolve_session_len(folder, args.session_len, args.face)
    request = Request(
        face=args.face,
        name=name,
        host=args.host,
        port=port,
        tp=tp,
        session_len=session_len,
        max_batch=args.max_batch,
        trust_remote_code=args.trust_remote_code,
        api_key=args.api_key,
        allow_origins=tuple(args.allow_origins),
    )
    words = command(folder, request)
    guards.check_machine(folder, tp, session_len)
    check_unchanged(args.workspace)
    return words


def run_lmdeploy(args: argparse.Namespace, name: str) -> NoReturn:
    """Run LMDeploy and end as it does; the port file is written once a server answers.

    It is a process of its own, and gets none of our open files: we have asked CUDA's driver for
    GPUs and memory, and in a process that goes on from there (by exec) CUDA fails to start.
    """
    for option in ("queue", "timeout", "threads"):
        if getattr(args, option) is not None:
            print(f"note: LMDeploy has no --{option} and serves without", file=sys.stderr)
    port = args.port
    if args.face != "chat":
        with listen(args.host, port) as sock:
            port = sock.getsockname()[1]
    words = lmdeploy_command(args, name, port)
    ended: list[int] = []
    # Set before there is a process: LMDeploy must not stay behind with the GPU.
    signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    process = subprocess.Popen(
        words, env=os.environ | environment(args.face), preexec_fn=dies_with_us()
    )
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    if ended:
        process.terminate()
    # Ctrl-C reaches LMDeploy from the terminal; what it makes of it is what we end with.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        if args.face in ANSWERS_AT:
            url = f"http://{f'[{args.host}]' if ':' in args.host else args.host}:{port}"
            print(f"LMDeploy is to answer on {url}", file=sys.stderr, flush=True)
            if args.port_file and answers(process, url + ANSWERS_AT[args.face]):
                atomic_write_text(args.port_file, f"{port}\n")
        code = process.wait()
    finally:
        stop(process, STOP_TIMEOUT_S)
        if args.port_file:
            args.port_file.unlink(missing_ok=True)
    sys.exit(code if code >= 0 else 128 - code)


def answers(process: subprocess.Popen[bytes], url: str) -> bool:
    """Wait for the server to answer; say whether it did before the process ended.

    Raises:
        ButlerError: if it does neither in READY_TIMEOUT_S.
    """
    end = time.monotonic() + READY_TIMEOUT_S
    while process.poll() is None:
        if time.monotonic() > end:
            raise ButlerError(
                f"LMDeploy does not answer on {url} after {READY_TIMEOUT_S} s and is ended; what "
                "it printed before this says how far it came"
            )
        try:
            with DIRECT.open(url, timeout=5):
                return True
        except (OSError, http.client.HTTPException):
            time.sleep(0.5)
    return False


if __name__ == "__main__":
    run_cli(main)
