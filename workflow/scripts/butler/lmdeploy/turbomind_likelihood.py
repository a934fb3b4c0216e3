"""How likely TurboMind of LMDeploy 0.7.3 finds whole sequences; needs a CUDA GPU.

Run as a module, in a process of its own, by `ask`: the GPU is then free again, and an
engine that falls while it is taken down takes nothing with it.
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from butler.errors import ButlerError, run_cli
from butler.lmdeploy.guards import check_gpus
from butler.lmdeploy.release import CONVERTER, check_installed, installed_version
from butler.reference.workspace_reader import Workspace
from butler.tools import run_tool, tool_environment

# Of the GPU memory that the weights leave. Room for one sequence is enough, and logits take more.
CACHE_SHARE = 0.2


@contextmanager
def turbomind(path: Path, **options: Any) -> Iterator[Any]:
    """Yield LMDeploy's pipeline on a workspace; `options` are TurbomindEngineConfig's."""
    from lmdeploy import TurbomindEngineConfig, pipeline

    config = TurbomindEngineConfig(**options)
    pipe = pipeline(str(path), backend_config=config, log_level="ERROR")
    try:
        yield pipe
    finally:
        pipe.close()


def mean_losses(pipe: Any, sequences: Sequence[Sequence[int]]) -> list[float]:
    """Return the mean negative log-likelihood per token of each sequence, in nats.

    One at a time: get_ppl counts room for logits by the longest of a batch.
    """
    return [pipe.get_ppl(list(tokens))[0] for tokens in sequences]


def likelihoods(
    workspace: Workspace, sequences: Sequence[Sequence[int]], policy: int, threads: int
) -> list[float]:
    """Return the mean NLL per token of each sequence, in nats, through TurboMind.

    Args:
        workspace: what is served.
        sequences: token ids, each of 2 or more and no longer than a session.
        policy: TurboMind's `quant_policy`, how the KV cache is held.
        threads: of the process that asks it.

    Raises:
        ButlerError: if there is no GPU, LMDeploy is another version, or the engine fails.
    """
    return ask("butler.lmdeploy.turbomind_likelihood", workspace, sequences, policy, threads)


def ask(
    module: str,
    workspace: Workspace,
    sequences: Sequence[Sequence[int]],
    policy: int,
    threads: int,
    **more: Any,
) -> Any:
    """Return what a module's `main` answers about sequences, from a process of its own.

    Args:
        module: run with the names of two files: the request, JSON that holds `path` of the
            workspace, the engine's `options`, `sequences` and `more`; and the answer, JSON too.
        workspace, sequences, policy, threads: as `likelihoods` has them.
        more: what the module takes beside them.

    Raises:
        ButlerError: if there is no GPU, LMDeploy is another version, or the engine fails.
    """
    import torch

    check_installed(CONVERTER, installed_version())
    check_gpus(workspace.config.tp, torch.cuda.device_count())
    request = more | {
        "path": str(workspace.path.resolve()),
        "sequences": [list(tokens) for tokens in sequences],
        "options": {
            "tp": workspace.config.tp,
            "session_len": max(len(tokens) for tokens in sequences) + 1,
            "quant_policy": policy,
            "cache_max_entry_count": CACHE_SHARE,
            "max_batch_size": 1,
        },
    }
    with tempfile.TemporaryDirectory() as scratch:
        asked, answered = Path(scratch) / "request.json", Path(scratch) / "answer.json"
        asked.write_text(json.dumps(request), encoding="utf-8")
        command = [sys.executable, "-m", module, str(asked), str(answered)]
        environment = tool_environment(Path(scratch) / "cache", threads)
        try:
            run_tool(command, environment)
        except ButlerError:
            raise ButlerError(
                f"TurboMind failed on {workspace.path}; the lines above say why"
            ) from None
        return json.loads(answered.read_text(encoding="utf-8"))


def answer(reply: Callable[[Any, dict[str, Any]], Any]) -> None:
    """Write what `reply` makes of the pipeline and the request that the command line names."""
    asked, answered = (Path(word) for word in sys.argv[1:])
    request = json.loads(asked.read_text(encoding="utf-8"))
    with turbomind(Path(request["path"]), **request["options"]) as pipe:
        answered.write_text(json.dumps(reply(pipe, request)), encoding="utf-8")
        sys.stdout.flush()
        os._exit(0)  # 0.7.3 may abort while it is taken down


def main() -> None:
    """Answer one request, as JSON."""
    answer(lambda pipe, request: mean_losses(pipe, request["sequences"]))


if __name__ == "__main__":
    run_cli(main)
