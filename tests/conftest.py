"""How many tests run at a time, on how many cores each, and what several of them serve."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

import workflow_state
from butler.plan.machine import host_memory

if TYPE_CHECKING:
    from butler.reference.generate import Engine
    from hostile import Server

DEMO = "test_e2e_demo"
MEMORY_OF_A_RUN = 10 * 2**30
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def runs_real_tools(config: pytest.Config) -> bool:
    """Say whether the marked tests run: their tools take all cores and the memory."""
    return config.option.markexpr.partition(" ")[0] in ("e2e", "long", "gpu")


def pytest_configure(config: pytest.Config) -> None:
    """Keep a unit test's small arithmetic on one core: to spread it takes longer beside others."""
    if not runs_real_tools(config):
        for name in THREADS:
            os.environ.setdefault(name, "1")
        # As the engine does, before torch is imported.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """As many as there are cores; for the real tools as many as the memory holds, two at most.

    Most of a tool's time is its start, on one core: beside another's the two cores are used.
    """
    if not runs_real_tools(config):
        return None
    if "gpu" in config.option.markexpr:
        return 0
    workers = min(os.cpu_count() or 1, host_memory() // MEMORY_OF_A_RUN, 2)
    return workers if workers > 1 else 0


class ByFile(LoadFileScheduling):
    """Keeps a file's tests on one worker, and those of the demo's files, which share its run."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return DEMO if Path(file).name.startswith(DEMO) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    return ByFile(config, log)


def pytest_unconfigure() -> None:
    """End what the tests share."""
    workflow_state.end_forks()


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole run of the demo; of the one that BUTLER_RUN names, where it does."""
    from real_tools import run_chain

    given = os.environ.get("BUTLER_RUN")
    folder = Path(given).resolve() if given else tmp_path_factory.mktemp("demo")
    run_chain(folder, "all")
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace of a tiny model that the reference engine serves; no test changes it."""
    from tiny_workspace import Tiny

    return Tiny().build(tmp_path_factory.mktemp("tiny") / "ws")


@pytest.fixture(scope="session")
def engine(tiny: Path) -> "Engine":
    """The reference engine on `tiny`."""
    from butler.reference.generate import Engine

    return Engine.load(tiny, threads=1, max_batch=4)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Server]":
    """A real server, for tests that mean it harm."""
    from hostile import served

    with served(tmp_path_factory.mktemp("hostile")) as made:
        yield made


@pytest.fixture
def stages(tmp_path: Path) -> Path:
    """A folder with what all stages leave for the report, the numbers made up."""
    from report_stages import make_stages

    return make_stages(tmp_path)


@pytest.fixture
def server_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `python` that runs tests/scripted_server.py in place of serve.py."""
    wrapper = tmp_path / "python"
    script = Path(__file__).with_name("scripted_server.py")
    wrapper.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("BUTLER_TEST_REQUESTS", str(tmp_path / "requests.jsonl"))
    return wrapper


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put an nvidia-smi on PATH that answers as told; no kernel module is beside it."""
    from butler import driver
    from made_machine import put_command

    monkeypatch.setattr(driver, "KERNEL_MODULE", tmp_path / "version")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")

    def write(version: str = "", *cards: str, says: str = "", code: int = 0) -> None:
        lines = [f"{version}, {card}" for card in cards] or [says]
        text = "\n".join(f"echo '{line}'" for line in lines)
        put_command(tmp_path / "bin" / "nvidia-smi", f"{text}\nexit {code}")

    return write


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A folder with what evaluation reads of a workspace: a byte-level tokenizer and template."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    from butler.chat_template import ChatTemplate
    from butler.manifest import write_manifest

    folder = tmp_path / "workspace"
    folder.mkdir()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "chat_template": ChatTemplate.load("internlm2_chat").to_jinja(),
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    write_manifest(folder)
    return folder
