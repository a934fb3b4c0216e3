"""How likely LMDeploy's engine finds whole sequences, of either release; needs a CUDA GPU.

Run as a module, in a process of its own and the interpreter of the release, by `ask`: the GPU is
then free again, and an engine that falls while it is taken down takes nothing with it.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from butler.errors import ButlerError, run_cli
from butler.lmdeploy.guards import check_gpus, check_norms_loaded
from butler.lmdeploy.release import CONVERTER, RELEASES, Release, check_installed, installed_version
from butler.schemes import PYTORCH, TURBOMIND
from butler.tools import run_tool, tool_environment

if TYPE_CHECKING:
    import torch

# Of the GPU memory that the weights leave. Room for one sequence is enough, and logits take more.
CACHE_SHARE = 0.2


@dataclass(frozen=True)
class LmdeployServer:
    """What serves: a release of LMDeploy, its interpreter, on `tp` GPUs."""

    release: Release
    python: str
    tp: int
    trust_remote_code: bool
    threads: int

    @classmethod
    def of(cls, args: argparse.Namespace) -> "LmdeployServer":
        """Return what the options of `add_arguments` say, and --threads."""
        release = RELEASES[args.lmdeploy]
        return cls(release, args.server_python, args.tp, args.trust_remote_code, args.threads)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what serves where LMDeploy is asked."""
    add = parser.add_argument
    add("--lmdeploy", choices=RELEASES, default=CONVERTER.name, help="what serves (%(default)s)")
    add("--server-python", default=sys.executable, help="its interpreter; default: this one")
    add("--tp", type=int, default=1, help="GPUs that share the model (%(default)s)")
    add("--trust-remote-code", action="store_true", help="run the code in a model folder there")


@contextmanager
def lmdeploy_pipeline(
    path: Path, trust: bool = False, backend: str = TURBOMIND, **options: Any
) -> Iterator[Any]:
    """Yield LMDeploy's pipeline on a folder; `options` are those of `engine_options`."""
    from lmdeploy import PytorchEngineConfig, TurbomindEngineConfig, pipeline

    config = (PytorchEngineConfig if backend == PYTORCH else TurbomindEngineConfig)(**options)
    more = {"trust_remote_code": True} if trust else {}  # 0.7.3 has no such option
    pipe = pipeline(str(path), backend_config=config, log_level="ERROR", **more)
    try:
        yield pipe
    finally:
        pipe.close()


def mean_losses(pipe: Any, sequences: Sequence[Sequence[int]]) -> list[float]:
    """Return the mean negative log-likelihood per token of each sequence, in nats.

    One at a time: get_ppl counts room for logits by the longest of a batch.
    """
    return [pipe.get_ppl(list(tokens))[0] for tokens in sequences]


def all_logits(pipe: Any, tokens: Sequence[int]) -> "torch.Tensor":
    """Return the logits after each token of a sequence, [tokens, vocab].

    0.7.3's get_logits has no face of its own; get_ppl makes a mean of what this returns.
    """
    if hasattr(pipe, "async_engine"):  # of a release that serves model folders
        return pipe._run(coro=pipe.async_engine.async_get_logits([list(tokens)])).result()[0]
    found, sessions = pipe._run(coro=pipe._async_get_logits(input_ids=[list(tokens)])).result()
    for session in sessions:
        pipe.end_session(session)
    return found[0]


def likelihoods(
    server: LmdeployServer,
    folder: Path,
    sequences: Sequence[Sequence[int]],
    policy: int,
    backend: str = TURBOMIND,
) -> list[float]:
    """Return the mean NLL per token of each sequence, in nats, through the engine.

    Args:
        server: what serves.
        folder: what is served, a workspace or a model folder as the release takes it.
        sequences: token ids, each of 2 or more and no longer than a session.
        policy: the release's `quant_policy`, how the KV cache is held.
        backend: the engine.

    Raises:
        ButlerError: if there is no GPU, LMDeploy is another version, or the engine fails.
    """
    return ask("butler.lmdeploy.engine_likelihood", server, folder, sequences, policy, backend)


def ask(
    module: str,
    server: LmdeployServer,
    path: Path,
    sequences: Sequence[Sequence[int]],
    policy: int,
    backend: str,
    **more: Any,
) -> Any:
    """Return what a module's `main` answers about sequences, from a process of its own.

    Args:
        module: run with the names of two files: the request, JSON that holds `path` of the
            folder, the engine's `options`, `sequences` and `more`; and the answer, JSON too.
        server, path, sequences, policy, backend: as `likelihoods` has them, `path` as `folder`.
        more: what the module takes beside them.

    Raises:
        ButlerError: if there is no GPU, LMDeploy is another version, the engine would leave out
            norms of the folder, or it fails.
    """
    import torch

    check_norms_loaded(path)
    check_gpus(server.tp, torch.cuda.device_count())
    request = more | {
        "path": str(path.resolve()),
        "lmdeploy": server.release.name,
        "backend": backend,
        # A workspace holds no code.
        "trust": server.trust_remote_code and not server.release.workspaces,
        "sequences": [list(tokens) for tokens in sequences],
        "options": {
            "tp": server.tp,
            "session_len": max(len(tokens) for tokens in sequences) + 1,
            "quant_policy": policy,
            "cache_max_entry_count": CACHE_SHARE,
            "max_batch_size": 1,
        },
    }
    with tempfile.TemporaryDirectory() as scratch:
        asked, answered = Path(scratch) / "request.json", Path(scratch) / "answer.json"
        asked.write_text(json.dumps(request), encoding="utf-8")
        command = [server.python, "-m", module, str(asked), str(answered)]
        environment = tool_environment(Path(scratch) / "cache", server.threads)
        try:
            run_tool(command, environment)
        except ButlerError:
            raise ButlerError(f"LMDeploy failed on {path}; the lines above say why") from None
        return json.loads(answered.read_text(encoding="utf-8"))


def answer(reply: Callable[[Any, dict[str, Any]], Any]) -> None:
    """Write what `reply` makes of the pipeline and the request that the command line names."""
    asked, answered = (Path(word) for word in sys.argv[1:])
    request = json.loads(asked.read_text(encoding="utf-8"))
    check_installed(RELEASES[request["lmdeploy"]], installed_version())
    path, trust, backend = Path(request["path"]), request["trust"], request["backend"]
    with lmdeploy_pipeline(path, trust, backend, **request["options"]) as pipe:
        answered.write_text(json.dumps(reply(pipe, request)), encoding="utf-8")
        sys.stdout.flush()
        os._exit(0)  # 0.7.3 may abort while it is taken down


def main() -> None:
    """Answer one request, as JSON."""
    answer(lambda pipe, request: mean_losses(pipe, request["sequences"]))


if __name__ == "__main__":
    run_cli(main)
