"""Serve a workspace over an OpenAI-compatible API.

With `--engine reference` this is our own engine on the CPU; with `--engine turbomind` the process
becomes `lmdeploy serve api_server` with the settings of the workspace.
"""

import argparse
import os
import shutil
import signal
import socket
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from butler.engine.cache import KINDS
from butler.engine.workspace import Workspace
from butler.errors import ButlerError, run_cli
from butler.files import atomic_write_text

READY_TIMEOUT_S = 1800


def main() -> None:
    """Run the command line."""
    args = parse_args()
    workspace = Workspace(args.workspace)
    name = args.model_name or args.workspace.resolve().name
    if resolve_engine(args.engine) == "turbomind":
        exec_turbomind(args, workspace, name)
    else:
        serve_reference(args, workspace, name)


def parse_args() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--engine", choices=("auto", "reference", "turbomind"), default="reference")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one")
    parser.add_argument("--port-file", type=Path, help="gets the port once the server answers")
    parser.add_argument("--model-name", help="name served; default: the workspace's folder name")
    parser.add_argument("--kv", choices=KINDS, help="KV cache; default: the workspace's setting")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--max-batch", type=int, default=32, help="most chats that run at once")
    parser.add_argument(
        "--trust-remote-code",
        action="store_true",
        help="run the tokenizer code in the workspace folder, if it needs any",
    )
    args = parser.parse_args()
    if not 0 <= args.port <= 65535:
        parser.error(f"--port {args.port} is not in 0..65535")
    if args.threads < 1 or args.max_batch < 1:
        parser.error("--threads and --max-batch must be 1 or more")
    return args


def resolve_engine(engine: str) -> str:
    """Return `engine`, with `auto` decided: turbomind where torch sees a GPU."""
    if engine != "auto":
        return engine
    import torch

    return "turbomind" if torch.cuda.is_available() else "reference"


def listen(host: str, port: int) -> socket.socket:
    """Return a socket bound to `host`; port 0 takes a free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise ButlerError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    return sock


def serve_reference(args: argparse.Namespace, workspace: Workspace, name: str) -> None:
    """Serve with our engine until SIGTERM or SIGINT."""
    import torch
    import uvicorn

    from butler.engine.generate import Engine
    from butler.engine.server import create_app
    from butler.engine.tokenizer import ChatTokenizer

    class Server(uvicorn.Server):
        """Tells the port once connections are answered."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if args.port_file and not self.should_exit:
                atomic_write_text(args.port_file, f"{port}\n")

    sock = listen(args.host, args.port)
    port = sock.getsockname()[1]
    torch.set_num_threads(args.threads)
    tokenizer = ChatTokenizer(workspace.path, args.trust_remote_code)
    app = create_app(Engine(workspace, args.kv, args.max_batch), tokenizer, name)
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5)
    # uvicorn raises the signal again when it has shut down; that is a clean end.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    print(f"serving {name} on http://{args.host}:{port}/v1", file=sys.stderr, flush=True)
    try:
        Server(config).run(sockets=[sock])
    finally:
        if args.port_file:
            args.port_file.unlink(missing_ok=True)


def turbomind_command(args: Any, workspace: Workspace, name: str, port: int) -> list[str]:
    """Return the `lmdeploy serve api_server` command line for a workspace.

    Raises:
        ButlerError: if lmdeploy or the workspace's chat_template.json is missing.
    """
    template = workspace.path / "chat_template.json"
    if not template.is_file():
        raise ButlerError(f"{template} is missing: TurboMind would guess the chat template")
    beside = Path(sys.executable).with_name("lmdeploy")
    program = str(beside) if beside.is_file() else shutil.which("lmdeploy")
    if program is None:
        raise ButlerError("lmdeploy is not installed here; run in the lmdeploy environment")
    settings = workspace.settings
    options = {
        "--server-name": args.host,
        "--server-port": port,
        "--model-name": name,
        "--backend": "turbomind",
        "--chat-template": template,
        "--quant-policy": settings.quant_policy,
        "--cache-max-entry-count": settings.cache_max_entry_count,
        "--session-len": workspace.session_len,
        "--max-batch-size": args.max_batch,
    }
    flags = [str(word) for option in options.items() for word in option]
    return [program, "serve", "api_server", str(workspace.path), *flags]


def exec_turbomind(args: argparse.Namespace, workspace: Workspace, name: str) -> None:
    """Become LMDeploy's server. A child process writes the port file once it answers."""
    if args.kv:
        raise ButlerError("--kv is for the reference engine; TurboMind follows quant_policy")
    with listen(args.host, args.port) as sock:
        port = sock.getsockname()[1]
    command = turbomind_command(args, workspace, name, port)
    if args.port_file and os.fork() == 0:
        _announce(args.port_file, args.host, port)
        os._exit(0)
    os.execv(command[0], command)


def _announce(port_file: Path, host: str, port: int) -> None:
    """Wait for the server that the parent has become, then write its port."""
    parent, end = os.getppid(), time.monotonic() + READY_TIMEOUT_S
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/v1/models"
    while os.getppid() == parent and time.monotonic() < end:
        try:
            with urllib.request.urlopen(url, timeout=5):
                atomic_write_text(port_file, f"{port}\n")
                return
        except OSError:
            time.sleep(0.5)


if __name__ == "__main__":
    run_cli(main)
