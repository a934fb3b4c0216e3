"""Serve the web page: a chat with one variant, or with two side by side.

Starts serve.py for each workspace given, or asks APIs that already run (--api). It runs in the
lmdeploy environment, where Gradio, OpenAI's client and the engines are.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from butler.arguments import positive, thread_count
from butler.devices import ENGINES
from butler.errors import ButlerError, run_cli
from butler.lmdeploy.served_folder import check_there, is_workspace, read_folder
from butler.serve.address import KEY_VARIABLE, listen, port_number
from butler.serve.model_server import ServerPlan
from butler.trained_corpus import trained_corpus
from butler.web.feedback import check_writable
from butler.web.models import OwnServer, Served, served_by
from butler.web.subject import RECIPE_FORMATS, Subject

TINY_MIB = 100  # of a model that only shows how things work


def parse_args(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the parsed command line, or that of `words`."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("workspaces", nargs="*", type=Path, help="folders to serve, e.g. workspaces/w4kv8")
    add("--api", nargs="+", default=[], metavar="URL", help="APIs that run already")
    add("--api-key", default=os.environ.get(KEY_VARIABLE), help=f"theirs; default: ${KEY_VARIABLE}")
    add("--engine", choices=ENGINES, default="auto")
    add("--tp", type=positive, help="GPUs of a workspace; default: what it is split for")
    add("--threads", type=thread_count, help="of a server on the CPU; default: what is fastest")
    add("--trust-remote-code", action="store_true", help="run the workspaces' tokenizer code")
    trained = "corpus.system in results/config.yaml of the first workspace's run"
    add("--system", help=f"system text at first; default: {trained}, else in config/config.yaml")
    add("--host", default="127.0.0.1")
    add("--port", type=port_number, default=7860)
    add("--feedback", default="feedback.jsonl", help="file of visitors' feedback, or none")
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


def server_python(folder: Path) -> Path:
    """Return the interpreter that serves a folder: this one, or of a model folder its release's.

    Raises:
        ButlerError: if that environment is not beside this one.
    """
    if is_workspace(folder):
        return Path(sys.executable)
    tool = read_folder(folder).release.tool
    python = Path(sys.prefix).parent / tool / "bin" / "python"
    if not python.is_file():
        raise ButlerError(
            f"{folder} is served from the environment {tool}, and {python} is not there; make it "
            f"with: snakemake .envs/{tool}.json"
        )
    return python


def start(args: argparse.Namespace, stack: ExitStack) -> list[Served]:
    """Start a server for each workspace and ask the others; return all models.

    Raises:
        ButlerError: if one does not come up.
    """
    names = model_names(args.workspaces)
    pythons = {name: server_python(path) for name, path in names.items()}
    # Of a server that does not come up the log stays.
    logs = Path(tempfile.mkdtemp(prefix="recipe-butler-web-"))
    models = []
    for name, path in names.items():
        print(f"starting {name}", file=sys.stderr, flush=True)
        plan = ServerPlan(
            python=pythons[name],
            workspace=path,
            model_name=name,
            engine=args.engine,
            threads=args.threads,
            trust_remote_code=args.trust_remote_code,
            tp=args.tp,
        )
        server = OwnServer(plan, logs / name)
        stack.callback(server.close)
        server.url()
        models.append(Served(name, server))
    stack.callback(shutil.rmtree, logs)
    for url in args.api:
        models += served_by(url, args.api_key)
    if len({model.name for model in models}) != len(models):
        raise ButlerError("two of the servers serve a model of one name; give --model-name to one")
    return models


def subject_of(args: argparse.Namespace) -> Subject:
    """Return what the first workspace was trained for, by the configuration of its run."""
    corpus = trained_corpus(args.workspaces[0] if args.workspaces else None)
    forms = corpus.recipes.question_forms if corpus.format in RECIPE_FORMATS else {}
    files = [list(path.rglob("*")) for path in args.workspaces]
    sizes = [sum(file.stat().st_size for file in own) / 2**20 for own in files]
    return Subject(
        system=corpus.system if args.system is None else args.system,
        ending=max(forms, key=forms.__getitem__, default=""),
        tiny=max(sizes) if sizes and max(sizes) < TINY_MIB else None,
    )


def main(words: Sequence[str] | None = None) -> None:
    """Run the page until it is ended."""
    args = parse_args(words)
    feedback = None if args.feedback == "none" else Path(args.feedback).resolve()
    if feedback:
        check_writable(feedback)
    # Gradio would otherwise ask its makers for news.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    # So that the servers started here are ended.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    # Ctrl-C is how the page is meant to end; uvicorn raises the signal again once it has shut down.
    signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
    # Taken before models are loaded for the page.
    with listen(args.host, args.port, at_once=True) as sock, ExitStack() as stack:
        import uvicorn

        from butler.web.page import build
        from butler.web.site import site

        models, subject = start(args, stack), subject_of(args)
        app = site(lambda words, other: build(models, subject, words, other, feedback))
        kept = f"; feedback is kept in {feedback}" if feedback else ""
        print(f"the page is at http://{args.host}:{sock.getsockname()[1]}{kept}", flush=True)
        # An open page is a connection that never ends.
        settings = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
        uvicorn.Server(settings).run(sockets=[sock])


if __name__ == "__main__":
    run_cli(main)
