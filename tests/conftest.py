"""How many tests run at a time, and on how many cores each."""

import os

import pytest

import workflow_state

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def runs_real_tools(config: pytest.Config) -> bool:
    """Say whether the marked tests run: their tools take all cores and the memory."""
    return config.option.markexpr in ("e2e", "gpu")


def pytest_configure(config: pytest.Config) -> None:
    """Keep a unit test's small arithmetic on one core: to spread it takes longer beside others."""
    if not runs_real_tools(config):
        # Compiled loops look at each index; kept apart from those that the stage itself uses.
        os.environ["NUMBA_BOUNDSCHECK"] = "1"
        os.environ["NUMBA_CACHE_DIR"] = str(config.rootpath / ".pytest_cache/numba")
        for name in THREADS:
            os.environ.setdefault(name, "1")
        # As the engine does, before torch is imported.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """One for the marked tests, else as many as there are cores."""
    return 0 if runs_real_tools(config) else None


def pytest_unconfigure() -> None:
    """End what the tests share."""
    workflow_state.end_forks()
