"""The model server that an evaluation starts: waited for, quoted when it ends, always stopped."""

from dataclasses import replace
from pathlib import Path

import pytest

from butler.errors import ButlerError
from butler.serve.model_server import ServerPlan, _command, running_server
from test_evaluate_run import alive


def server_plan(python: Path, workspace: Path, seconds: float = 20.0) -> ServerPlan:
    return ServerPlan(python, workspace, "fp16", "reference", 1, start_seconds=seconds)


def test_the_server_is_asked_for_as_many_gpus_as_are_planned(tmp_path: Path) -> None:
    plan = server_plan(tmp_path / "python", tmp_path)
    assert "--tp" not in _command(plan, tmp_path / "port")
    words = _command(replace(plan, tp=2), tmp_path / "port")
    assert words[words.index("--tp") + 1] == "2"


def test_server_is_stopped_when_the_block_fails(tmp_path: Path, server_python: Path) -> None:
    with pytest.raises(KeyError), running_server(server_plan(server_python, tmp_path), tmp_path):
        pid = int((tmp_path / "requests.pid").read_text())
        assert alive(pid)
        raise KeyError
    assert not alive(pid)


def test_server_that_ends_before_it_is_ready_is_quoted(
    tmp_path: Path, server_python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUTLER_TEST_MODE", "crash")
    with (
        pytest.raises(ButlerError, match=r"code 3 .* weights are missing"),
        running_server(server_plan(server_python, tmp_path), tmp_path),
    ):
        pass


def test_server_that_never_answers_runs_into_the_time_limit(tmp_path: Path) -> None:
    idle = tmp_path / "python"
    idle.write_text("#!/bin/sh\necho loading >&2\nexec sleep 60\n")
    idle.chmod(0o755)
    with (
        pytest.raises(ButlerError, match=r"not ready after 1 s; .*loading"),
        running_server(server_plan(idle, tmp_path, seconds=1), tmp_path),
    ):
        pass
