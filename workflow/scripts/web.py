"""Serve the web page for cooks: ask for a dish, compare variants side by side.

Starts serve.py for each workspace given, or asks APIs that already run (--api). It runs in the
lmdeploy environment, where Gradio, OpenAI's client and the engines are.
"""

import argparse
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from butler.chat_template import trained_system
from butler.errors import ButlerError, run_cli
from butler.lmdeploy.served_folder import check_there
from butler.serve.model_server import ServerPlan, port_number, running_server
from butler.web.ask import Served, served_by

KEY_VARIABLE = "RECIPE_BUTLER_API_KEY"


def parse_args(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the parsed command line, or that of `words`."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("workspaces", nargs="*", type=Path, help="folders to serve, e.g. workspaces/w4kv8")
    add("--api", nargs="+", default=[], metavar="URL", help="APIs that run already")
    add("--api-key", default=os.environ.get(KEY_VARIABLE), help=f"theirs; default: ${KEY_VARIABLE}")
    add("--engine", choices=("auto", "reference", "turbomind"), default="auto")
    add("--tp", type=int, help="GPUs of a workspace; default: what it is split for")
    add("--threads", type=int, help="of a server on the CPU; default: what is fastest")
    add("--trust-remote-code", action="store_true", help="run the workspaces' tokenizer code")
    add("--system", help="system text at first; default: the corpus's, from config/config.yaml")
    add("--host", default="127.0.0.1")
    add("--port", type=port_number, default=7860)
    args = parser.parse_args(words)
    if not args.workspaces and not args.api:
        parser.error("name workspaces to serve, or with --api servers that run")
    return args


def model_names(workspaces: list[Path]) -> dict[str, Path]:
    """Return the workspaces by the names that the page shows.

    Raises:
        ButlerError: if a folder is missing or two have one name.
    """
    names: dict[str, Path] = {}
    for path in workspaces:
        name = path.resolve().name
        check_there(path)
        if name in names:
            raise ButlerError(f"{path} and {names[name]} are both named {name}; rename one")
        names[name] = path
    return names


def start(args: argparse.Namespace, stack: ExitStack) -> list[Served]:
    """Start a server for each workspace and ask the others; return all models.

    Raises:
        ButlerError: if one does not come up.
    """
    # Of a server that does not come up the log stays.
    logs = Path(tempfile.mkdtemp(prefix="recipe-butler-web-"))
    models = []
    for name, path in model_names(args.workspaces).items():
        print(f"starting {name}", file=sys.stderr, flush=True)
        plan = ServerPlan(
            python=Path(sys.executable),
            workspace=path,
            model_name=name,
            engine=args.engine,
            threads=args.threads,
            trust_remote_code=args.trust_remote_code,
            tp=args.tp,
        )
        server = stack.enter_context(running_server(plan, logs / name))
        models.append(Served(name, f"{server.url}/v1"))
    stack.callback(shutil.rmtree, logs)
    for url in args.api:
        models += served_by(url, args.api_key)
    if len({model.name for model in models}) != len(models):
        raise ButlerError("two of the servers serve a model of one name; give --model-name to one")
    return models


def check_port(host: str, port: int) -> None:
    """Check that the page can listen, before models are loaded for it; Gradio asks only then.

    Raises:
        ButlerError: if it cannot.
    """
    try:
        family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
    except OSError as error:
        raise ButlerError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; name another with --port"
        ) from error


def main(words: Sequence[str] | None = None) -> None:
    """Run the page until it is ended."""
    args = parse_args(words)
    check_port(args.host, args.port)
    # Gradio would otherwise ask its makers for news, and itself through a proxy.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    local = ("127.0.0.1", "localhost", os.environ.get("NO_PROXY", ""))
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = ",".join(filter(None, local))
    # So that the servers started here are ended.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    from butler.web.page import build

    system = args.system
    if system is None:
        system = trained_system(args.workspaces[0] if args.workspaces else None)
    with ExitStack() as stack:
        page = build(start(args, stack), system)
        try:
            page.launch(
                server_name=args.host,
                server_port=args.port,
                show_api=False,
                prevent_thread_lock=True,
            )
        except OSError as error:
            raise ButlerError(f"cannot listen on {args.host}:{args.port}: {error}") from error
        stack.callback(page.close)
        page.block_thread()


if __name__ == "__main__":
    run_cli(main)
